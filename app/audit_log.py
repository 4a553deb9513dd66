"""Reading the audit log."""

from __future__ import annotations

from sqlalchemy import select

from app.database import snapshot
from app.models import AuditEntry
from app.paging import DEFAULT_LIMIT, Page, decode_cursor, encode_cursor


def listing(
    *, environment_id: str | None = None, limit: int = DEFAULT_LIMIT, cursor: str | None = None
) -> Page[AuditEntry]:
    """A page of entries, newest first; of one environment where *environment_id* is given.

    :raises InvalidInputError: the cursor is not one of this list.
    """
    query = select(AuditEntry).order_by(AuditEntry.id.desc()).limit(limit + 1)
    if environment_id is not None:
        query = query.where(AuditEntry.environment_id == environment_id)
    if cursor is not None:
        query = query.where(AuditEntry.id < decode_cursor(cursor, 1)[0])
    entries = list(snapshot(lambda session: session.scalars(query).all()))
    return Page(entries[:limit], encode_cursor(entries[limit - 1].id) if len(entries) > limit else None)
