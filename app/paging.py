"""Pages of lists: opaque cursors that stay right while the list changes, because they name the last row seen."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from app.errors import InvalidInputError
from app.json_body import clean

Row = TypeVar("Row")

DEFAULT_LIMIT = 100
MAX_LIMIT = 500


@dataclass(frozen=True)
class Page(Generic[Row]):
    """Some rows of a list; ``next_cursor`` asks for the rows after them, ``None`` at the end."""

    items: list[Row]
    next_cursor: str | None
    previous_cursor: str | None = None
    """Asks for the rows before them, in lists that can go back."""


def first_of(rows: Sequence[Row], limit: int, key: Callable[[Row], Sequence[str]]) -> Page[Row]:
    """The first *limit* of *rows*, of which one more was asked for, as a page of a list sorted by *key*."""
    more = encode_cursor(*key(rows[limit - 1])) if len(rows) > limit else None
    return Page(list(rows[:limit]), more)


def encode_cursor(*key: str) -> str:
    """The cursor of the row whose sort key is *key*."""
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


def decode_cursor(cursor: str, length: int) -> list[str]:
    """The sort key in *cursor*, of *length* parts.

    :raises InvalidInputError: it is not a cursor of this list.
    """
    try:
        key = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        key = None
    is_key = isinstance(key, list) and len(key) == length and all(isinstance(part, str) for part in key)
    # A name in it may be whatever a machine calls itself; refused is only what no database can hold.
    if not is_key or any(clean(part) != part for part in key):
        raise InvalidInputError(
            "The cursor is not one of this list.",
            [{"field": "cursor", "message": "not a cursor of this list"}],
        )
    return list(key)
