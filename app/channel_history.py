"""The push channels that a node had: when they began and ended, and why. Which one it has is in Redis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from sqlalchemy import Table, select
from sqlalchemy.orm import Session

from app.database import snapshot, transaction
from app.ids import new_id
from app.many_rows import insert_rows
from app.models import ChannelSpan, Node
from app.paging import DEFAULT_LIMIT, Page, decode_cursor, encode_cursor
from app.push.standing import Span

_SPAN = cast(Table, ChannelSpan.__table__)


def record(spans: Sequence[Span]) -> None:
    """Write channels that have ended, in one transaction; those of nodes that are gone are left out."""

    def work(session: Session) -> None:
        ids = {span.node_id for span in spans}
        # Locked as a foreign key does it: a node that is deleted meanwhile must not undo the others' rows.
        here = set(
            session.scalars(
                select(Node.id)
                .where(Node.id.in_(ids))
                .order_by(Node.id)
                .with_for_update(read=True, key_share=True)
            )
        )
        rows = [
            {
                "id": new_id(),
                "node_id": span.node_id,
                "transport": span.transport,
                "opened_at": span.opened_at,
                "ended_at": span.ended_at,
                "reason": span.reason[:200],
                "worker": span.worker[:253],
                "address": span.address[:100],
            }
            for span in spans
            if span.node_id in here
        ]
        insert_rows(session.connection(), _SPAN, rows)

    transaction(work)


def of_node(node_id: str, limit: int = DEFAULT_LIMIT, cursor: str | None = None) -> Page[ChannelSpan]:
    """The node's channels that have ended, the latest first.

    :raises InvalidInputError: the cursor is not one of this list.
    """
    query = select(ChannelSpan).where(ChannelSpan.node_id == node_id)
    if cursor is not None:
        query = query.where(ChannelSpan.id < decode_cursor(cursor, 1)[0])
    query = query.order_by(ChannelSpan.id.desc()).limit(limit + 1)
    found = list(snapshot(lambda session: session.scalars(query).all()))
    more = len(found) > limit
    del found[limit:]
    return Page(found, encode_cursor(found[-1].id) if more else None)
