"""Browsers in which accounts have signed in before: a signed cookie names them.

It lets nobody in. Whoever has it has tries of their own (``sign_in_limits``), however many strangers guess.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from flask import current_app
from itsdangerous import BadData, URLSafeSerializer

COOKIE = "signalbox_device"
COOKIE_SECONDS = 365 * 24 * 3600
MOST_ACCOUNTS = 10
"""Of one browser; the newest stay."""


@dataclass(frozen=True, slots=True)
class Device:
    """One browser, and the accounts that have signed in with it."""

    id: str
    account_ids: Sequence[str] = ()

    def knows(self, account_id: str | None) -> bool:
        """Whether that account has signed in here."""
        return account_id in self.account_ids

    def with_account(self, account_id: str) -> Device:
        """The same browser, after that account has signed in."""
        others = [each for each in self.account_ids if each != account_id]
        return Device(self.id, [account_id, *others][:MOST_ACCOUNTS])

    def to_cookie(self) -> str:
        """What the browser keeps."""
        return str(_serializer().dumps([self.id, list(self.account_ids)]))


def read(cookie: str | None) -> Device:
    """The browser that *cookie* names; a new one where it names none."""
    try:
        id_, account_ids = _serializer().loads(cookie or "")
        return Device(str(id_), [str(each) for each in account_ids])
    except (BadData, TypeError, ValueError):
        return Device(secrets.token_hex(16))


def _serializer() -> URLSafeSerializer:
    return URLSafeSerializer(current_app.extensions["settings"].secret_key, salt="signalbox known device")
