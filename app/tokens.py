"""Machine-made secrets: 256 random bits with the owner's id inside, so that they are looked up, not searched.

``sbx_<kind>_<owner id>_<64 hex>``; only the SHA-256 is stored. See ``docs/protocol.md`` (tokens).
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from typing import Literal, NamedTuple

Kind = Literal["node", "enroll", "api", "session", "recover"]

_FOREIGN = re.compile(r"vf_node_[0-9A-Za-z_-]{24,200}")
"""A node token of VectorFlow's; a shorter one could be guessed, and is nobody's."""
_PATTERN = re.compile(r"sbx_(node|enroll|api|session|recover)_([0-9a-z]{1,32})_([0-9a-f]{64})")


class MintedToken(NamedTuple):
    """A new token: ``text`` is shown once, ``digest`` (64 hex) is stored, ``hint`` may be shown again."""

    text: str
    digest: str
    hint: str


def mint(kind: Kind, owner_id: str) -> MintedToken:
    """Make a token of *kind* for *owner_id*."""
    text = f"sbx_{kind}_{owner_id}_{secrets.token_hex(32)}"
    return MintedToken(text, digest(text), f"…{text[-4:]}")


def digest(text: str) -> str:
    """SHA-256 of a token, 64 hexadecimal digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def owner_of(text: str, kind: Kind) -> str | None:
    """The owner's id inside a well-formed token of *kind*, else ``None``."""
    match = _PATTERN.fullmatch(text)
    return match[2] if match and match[1] == kind else None


def is_foreign(text: str | None) -> bool:
    """Whether *text* has the form of another system's node token, which an operator may adopt."""
    return text is not None and _FOREIGN.fullmatch(text) is not None


def matches(text: str, stored_digest: str | None) -> bool:
    """Whether *text* is the token whose digest is stored; takes the same time for every wrong one."""
    return hmac.compare_digest(digest(text), stored_digest or "-" * 64)


def bearer(header: str | None) -> str | None:
    """The token in an ``Authorization: Bearer …`` header, else ``None``."""
    scheme, _, text = (header or "").partition(" ")
    text = text.strip()
    return text if scheme.lower() == "bearer" and 0 < len(text) <= 256 else None
