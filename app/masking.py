"""Takes secret values out of what nodes send for people to see."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from sqlalchemy import select

from app.database import snapshot
from app.encryption import DecryptionError, keyring
from app.materials import SECRET
from app.models import Secret

MASK = "***"
SHORT = 3
"""A value of fewer characters is masked only where it is a whole text: inside of others it is chance."""


class UnmaskableError(Exception):
    """Nobody can tell here what is secret; the message is a sentence for people, without any value."""


def values_of(environment_id: str) -> Iterable[str]:
    """The secret values of an environment.

    :raises UnmaskableError: one of them cannot be decrypted here, and yet nodes may have it.
    """
    query = select(Secret).where(Secret.environment_id == environment_id)
    values = []
    for row in snapshot(lambda session: list(session.scalars(query))):
        try:
            values.append(keyring().open(row.sealed, environment_id, SECRET, row.name).decode())
        except DecryptionError as error:
            raise UnmaskableError(
                f'Nothing can be shown, since nobody could mask the secret "{row.name}": it {error}.'
            ) from None
    return values


class Mask:
    """Replaces each of *secrets*, also where it stands escaped in JSON that is itself a text."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._whole = {secret for secret in secrets if secret}
        forms: set[str] = set()
        for secret in self._whole:
            if len(secret) >= SHORT:
                forms |= _forms(secret)
        # The longest first, so that no rest of one stays because a part of it was replaced.
        self._forms = sorted(forms, key=lambda form: (-len(form), form))

    def text(self, text: str) -> str:
        """*text* with every secret replaced."""
        if text in self._whole:
            return MASK
        for form in self._forms:
            text = text.replace(form, MASK)
        return text

    def json(self, value: Any) -> Any:
        """A JSON value with every secret replaced: in texts and keys at any depth, and as a number."""
        if not self._whole:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(key): self.json(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self.json(each) for each in value]
        if isinstance(value, int | float) and not isinstance(value, bool) and str(value) in self._whole:
            return MASK
        return value


def _forms(secret: str) -> set[str]:
    """A secret as it is, and as it stands in JSON, and in JSON inside of JSON, in each way of writing it."""
    forms, latest = {secret}, {secret}
    for _ in range(2):
        latest = {
            escaped
            for form in latest
            for ascii_only in (True, False)
            for plain in (json.dumps(form, ensure_ascii=ascii_only)[1:-1],)
            for escaped in (plain, plain.replace("/", "\\/"))
        }
        forms |= latest
    return forms
