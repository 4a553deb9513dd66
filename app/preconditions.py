"""What a write asks for before it happens: that somebody still sees, or does not see yet, what he changes.

The condition comes with a request (``If-Match``, ``If-None-Match``), and the use that writes checks it in its
transaction, once it holds the row's lock: of two editors who have read the same, one is refused. Each row has a
*revision*, made of what people edit of it and of nothing that changes by itself, so that a node's heartbeat stands in
nobody's way.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from app.errors import PreconditionError

ANY = "*"
REVISION_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Condition:
    """What must hold; ``None`` asks for nothing."""

    match: frozenset[str] | None = None
    """Revisions, one of which it must have; ``ANY``: it must be there."""
    none_match: frozenset[str] | None = None
    """Revisions, none of which it may have; ``ANY``: it must not be there."""


_condition: ContextVar[Condition | None] = ContextVar("condition", default=None)


@contextmanager
def holding(condition: Condition | None) -> Iterator[None]:
    """Let every use inside, in this greenlet, check *condition*."""
    token = _condition.set(condition)
    try:
        yield
    finally:
        _condition.reset(token)


def check(revision: str | None) -> None:
    """Refuse to go on with a row of this *revision* (``None``: there is none), if that is not what was asked for.

    In the writing transaction, after the row is locked.

    :raises PreconditionError: with the revision that it has.
    """
    wanted = _condition.get()
    if wanted is None:
        return
    if wanted.match is not None:
        if revision is None:
            raise PreconditionError("It does not exist (any more); nothing was changed.")
        if not wanted.match & {ANY, revision}:
            raise PreconditionError(
                "It was changed since you read it; nothing was changed. Read it again, and decide anew.",
                revision,
            )
    if wanted.none_match is not None and revision is not None and wanted.none_match & {ANY, revision}:
        raise PreconditionError("It exists already; nothing was changed.", revision)


def revision_of(*parts: Any) -> str:
    """A short name of what *parts*, which JSON can hold or which are moments, say: the same for the same."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:REVISION_DIGITS]
