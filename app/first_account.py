"""The first account, which whoever has the setup code makes on a page (``flask admin create`` needs no code)."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Sequence

from flask import Flask, current_app
from sqlalchemy import select

from app import accounts, setup_code
from app.audit import Actor
from app.clock import rfc3339, utc_now
from app.config import Settings
from app.database import snapshot
from app.errors import InvalidInputError
from app.failure_limits import FailureLimits
from app.models import Account

LOGGED_AT_MOST_EVERY_SECONDS = 5.0
"""Whoever reloads the page fills no disk."""

log = logging.getLogger("signalbox.setup")


class _NeverGood:
    """No code was good lately: whoever has a good one needs it once."""

    def add(self, digest: str, seconds: float) -> None:
        """Nothing is remembered."""

    def add_all(self, digests: Sequence[str], seconds: float) -> None:
        """Nothing is remembered."""

    def holds(self, digest: str) -> bool:
        """Nothing is known."""
        return False


def init_app(app: Flask) -> None:
    """Count wrong codes by address, apart from agents' bad tokens."""
    app.extensions["setup_limits"] = FailureLimits(_NeverGood())


def is_needed() -> bool:
    """Whether there is no account yet."""
    return snapshot(lambda session: session.scalar(select(Account.id).limit(1))) is None


def current_code() -> str:
    """The code that is good for longest."""
    return setup_code.at(_secret_key(), utc_now())


def log_code() -> None:
    """Write the code to the log, where whoever runs the server finds it."""
    now = time.monotonic()
    if now < current_app.extensions.get("setup_code_logged_until", 0.0):
        return
    current_app.extensions["setup_code_logged_until"] = now + LOGGED_AT_MOST_EVERY_SECONDS
    log.warning(
        "the setup page was opened; the first account needs this code: %s (good until %s)",
        current_code(),
        rfc3339(setup_code.good_until(utc_now())),
    )


def create(email: str, password: str, code: str, address: str | None) -> Account:
    """Make the first account, an admin's. Of two at once one is made.

    :raises InvalidInputError: the code is not the one in the log, or address or password cannot be used.
    :raises TooManyRequestsError: too many wrong codes came from this address.
    :raises ConflictError: there is an account already.
    """
    _check_code(code, address or "")
    if not is_needed():
        raise accounts.first_exists()
    return accounts.create_account(email, password, "admin", Actor("setup page", address), only_first=True)


def _check_code(code: str, address: str) -> None:
    limits: FailureLimits = current_app.extensions["setup_limits"]
    digest = hashlib.sha256(code.encode("utf-8", "surrogatepass")).hexdigest()
    is_known_bad = limits.is_known_bad(digest, address)
    if is_known_bad or not setup_code.is_good(_secret_key(), code, utc_now()):
        limits.failed(digest, address)
        raise InvalidInputError(
            "That is not the setup code, or it has expired: take the newest one from the server's log.",
            [{"field": "code", "message": "it is not the one in the server's log"}],
        )


def _secret_key() -> str:
    settings: Settings = current_app.extensions["settings"]
    return settings.secret_key
