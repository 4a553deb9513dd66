"""Encryption at rest: AES-256-GCM under keys that can be rotated.

Each value is bound to its place (environment, kind, name), so that a row copied to another place cannot be
opened there; and it is stored with the id of its key, so that one look says whether that key is still here.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from flask import Flask, current_app

from app.config import Settings

NONCE_BYTES = 12


class Sealed(NamedTuple):
    """A value that only the key of that id opens, at its own place: nonce, ciphertext and tag in one."""

    key_id: str
    data: bytes


class DecryptionError(Exception):
    """A stored value cannot be opened; the message says why, as the end of a sentence, and holds no value."""


class Keyring:
    """Keys of 32 bytes: the first one seals, all of them open."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._ciphers = {_key_id(key): AESGCM(key) for key in keys}
        self.key_id = _key_id(keys[0])
        """Of the key that seals."""

    def holds(self, key_id: str) -> bool:
        """Whether the key of that id is here."""
        return key_id in self._ciphers

    def seal(self, value: bytes, *place: str) -> Sealed:
        """Encrypt *value* for *place*: environment, kind and name."""
        nonce = os.urandom(NONCE_BYTES)
        return Sealed(self.key_id, nonce + self._ciphers[self.key_id].encrypt(nonce, value, _bound_to(place)))

    def open(self, sealed: Sealed, *place: str) -> bytes:
        """The value that was sealed for *place*.

        :raises DecryptionError: the key is gone, or this was not sealed so, or for another place.
        """
        cipher = self._ciphers.get(sealed.key_id)
        if cipher is None:
            raise DecryptionError("was encrypted with a key that SIGNALBOX_ENCRYPTION_KEY does not hold here")
        try:
            return cipher.decrypt(sealed.data[:NONCE_BYTES], sealed.data[NONCE_BYTES:], _bound_to(place))
        except (InvalidTag, ValueError):
            # Not chained: whatever the cause holds belongs into no log.
            raise DecryptionError("is damaged: what is stored of it cannot be decrypted") from None


def init_app(app: Flask, settings: Settings) -> None:
    """Make the application's two keyrings."""
    app.extensions["keyring"] = Keyring(settings.encryption_keys)
    # Another key, since what is remembered is for the day when that one cannot be used (ADR 14).
    derive = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=b"signalbox last assembled")
    app.extensions["memory_keyring"] = Keyring([derive.derive(settings.secret_key.encode())])


def keyring() -> Keyring:
    """The keys of secrets and certificates, from ``SIGNALBOX_ENCRYPTION_KEY``."""
    keys: Keyring = current_app.extensions["keyring"]
    return keys


def memory_keyring() -> Keyring:
    """The key of what was last assembled, derived from ``SIGNALBOX_SECRET_KEY``."""
    keys: Keyring = current_app.extensions["memory_keyring"]
    return keys


def _key_id(key: bytes) -> str:
    return hashlib.sha256(b"signalbox key id\0" + key).hexdigest()[:16]


def _bound_to(place: Sequence[str]) -> bytes:
    return "\0".join(place).encode()
