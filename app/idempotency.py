"""Requests that are done once, however often they are sent: the key, and what the first of them was answered.

The key is written in the transaction of what the request does, before anything else in it, so a key is there exactly
if the effect is: of ten that come at once nine wait for that transaction, and find the key. The answer is written
down afterwards. A server that dies in between leaves a key without one, and whoever sends the request again is told
that it was done and its answer is lost: it is never done twice. After a refusal, which does nothing, a key is free.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from flask import current_app
from sqlalchemy import delete, func, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.clock import utc_now
from app.database import snapshot, transaction
from app.errors import ConflictError, UnavailableError, UnprocessableError
from app.models import IdempotencyKey

KEPT = timedelta(hours=24)
MOST_KEYS = 10_000
"""Of one token; the oldest make way."""
MAX_KEY_CHARACTERS = 255
IN_WORK = timedelta(seconds=60)
"""So long an answer that is not there may still come."""

log = logging.getLogger("signalbox.idempotency")


class TakenError(Exception):
    """The key is there by now: somebody else has done it, or does it just now."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request with a key."""

    token_id: str
    key: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request was answered."""

    status: int
    media_type: str
    etag: str | None
    body: str | None
    """``None``: it holds what is shown once only."""


def fingerprint(*parts: str | bytes) -> str:
    """Another one for each request; keyed, since what people choose for a password may stand in it."""
    digest = hmac.new(str(current_app.secret_key).encode(), b"idempotency", hashlib.sha256)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


def answered(request: Request) -> Answer | None:
    """What the same request was answered before; ``None``: it was not done yet.

    :raises UnprocessableError: another request has this key.
    :raises ConflictError: the answer is not known yet, is lost, or is not shown again.
    """
    row = snapshot(lambda session: session.get(IdempotencyKey, (request.token_id, request.key)))
    now = utc_now()
    if row is None or row.created_at < now - KEPT:
        return None
    if row.fingerprint != request.fingerprint:
        raise UnprocessableError(
            "This idempotency key came with another request before; use a new one for this."
        )
    if row.status is None and now - row.created_at < IN_WORK:
        raise ConflictError(
            "The same request is being done just now; its answer is not known yet.", retry_after=1
        )
    if row.status is None:
        raise ConflictError(
            "The same request was done before, and its answer was lost with the worker that did it; nothing was done"
            " again. Look at what is there."
        )
    if row.body is None:
        raise ConflictError(
            "The same request was done before; nothing was done again. Its answer held a secret, which is shown once"
            " only: ask for a new one, with a new key."
        )
    return Answer(row.status, row.media_type or "", row.etag, row.body)


def reserve(session: Session, request: Request) -> None:
    """Write the key, first of all in the transaction of what the request does.

    :raises TakenError: it is there; what has it is committed.
    """
    insert: Any = (
        postgresql.insert(IdempotencyKey)
        if session.get_bind().dialect.name == "postgresql"
        else sqlite.insert(IdempotencyKey)
    )
    session.execute(
        delete(IdempotencyKey).where(
            IdempotencyKey.token_id == request.token_id,
            IdempotencyKey.key == request.key,
            IdempotencyKey.created_at < utc_now() - KEPT,
        )
    )
    written = session.scalar(
        insert.values(
            token_id=request.token_id,
            key=request.key,
            fingerprint=request.fingerprint,
            created_at=utc_now(),
        )
        .on_conflict_do_nothing()
        .returning(IdempotencyKey.key)
    )
    if written is None:
        raise TakenError


def complete(request: Request, answer: Answer) -> None:
    """Write down what the request was answered. Never raises: it was done, whatever becomes of this."""

    def work(session: Session) -> None:
        row = session.get(IdempotencyKey, (request.token_id, request.key))
        if row is None:  # it has changed nothing, so there was no transaction to write the key in
            row = IdempotencyKey(
                token_id=request.token_id,
                key=request.key,
                fingerprint=request.fingerprint,
                created_at=utc_now(),
            )
            session.add(row)
        row.status, row.media_type = answer.status, answer.media_type
        row.etag, row.body = answer.etag, answer.body

    try:
        transaction(work)
    except (UnavailableError, SQLAlchemyError) as error:
        log.warning("the answer of a request with a key was not written down: %s", error)


def prune(session: Session, rows: int) -> int:
    """Delete at most *rows* keys that are older than a day, or more than a token may have; how many."""
    old: Sequence[Any] = session.execute(
        select(IdempotencyKey.token_id, IdempotencyKey.key)
        .where(IdempotencyKey.created_at < utc_now() - KEPT)
        .limit(rows)
    ).all()
    if not old:
        busy = session.scalar(
            select(IdempotencyKey.token_id)
            .group_by(IdempotencyKey.token_id)
            .having(func.count() > MOST_KEYS)
            .limit(1)
        )
        old = session.execute(
            select(IdempotencyKey.token_id, IdempotencyKey.key)
            .where(IdempotencyKey.token_id == busy)
            .order_by(IdempotencyKey.created_at.desc())
            .offset(MOST_KEYS)
            .limit(rows)
        ).all()
    if old:
        pairs = [(row.token_id, row.key) for row in old]
        session.execute(
            delete(IdempotencyKey).where(tuple_(IdempotencyKey.token_id, IdempotencyKey.key).in_(pairs))
        )
    return len(old)
