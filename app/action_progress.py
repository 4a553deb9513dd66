"""How an action that was asked of many nodes stands: in numbers, and node by node."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import case, select
from sqlalchemy.orm import Session

from app import action_states, node_actions
from app.action_states import COMPLETED, EXPIRED, FAILED, IS_OPEN, STATUSES
from app.clock import utc_now
from app.database import snapshot
from app.errors import InvalidInputError, NotFoundError
from app.ids import is_id
from app.models import ActionBatch, Node, NodeAction, Pipeline
from app.node_actions import ActionRow
from app.paging import DEFAULT_LIMIT, Page, decode_cursor, first_of


@dataclass(frozen=True, slots=True)
class BatchRow:
    """A batch, and how far it has come."""

    id: str
    environment_id: str
    action: str
    pipeline_id: str | None
    pipeline_name: str | None
    target_version: str | None
    waves: int
    wave: int
    max_failures: int
    halted_at: datetime | None
    created_by: str
    created_at: datetime
    counts: dict[str, int]
    """Nodes by status, every status present."""
    by_wave: dict[int, dict[str, int]]

    @property
    def total(self) -> int:
        """How many nodes were asked, those of waves to come included."""
        return sum(self.counts.values())

    @property
    def ended(self) -> int:
        """How many have an outcome, whichever."""
        return self.total - self.counts["PENDING"] - self.counts["DELIVERED"]


def get(batch_id: str) -> BatchRow:
    """One batch.

    :raises NotFoundError: there is none of that id.
    """
    found = _rows(ActionBatch.id == batch_id) if is_id(batch_id) else []
    if not found:
        raise NotFoundError("There is no such batch of actions.")
    return found[0]


def listing(environment_id: str, limit: int) -> list[BatchRow]:
    """The environment's latest batches, newest first."""
    return _rows(ActionBatch.environment_id == environment_id, limit=limit)


def actions(
    batch_id: str, *, status: str | None = None, limit: int = DEFAULT_LIMIT, cursor: str | None = None
) -> Page[ActionRow]:
    """A page of the batch's actions, wave by wave; of those in *status* where that is given.

    :raises InvalidInputError: an unknown status, or the cursor is not one of this list.
    """
    if status is not None and status not in STATUSES:
        message = f"it is one of {', '.join(STATUSES)}"
        raise InvalidInputError(
            f"Actions cannot be listed by that status: {message}.", [{"field": "status", "message": message}]
        )
    now = utc_now()
    where: list[Any] = [NodeAction.batch_id == batch_id]
    is_overdue = IS_OPEN & NodeAction.expires_at.is_not(None) & (NodeAction.expires_at <= now)
    if status == EXPIRED:
        where.append((NodeAction.status == EXPIRED) | is_overdue)
    elif status is not None:
        where.append((NodeAction.status == status) & ~is_overdue)
    if cursor is not None:
        where.append(NodeAction.id > decode_cursor(cursor, 1)[0])
    found = node_actions.rows(*where, limit=limit + 1, order=(NodeAction.id,))
    return first_of(found, limit, lambda row: [row.id])


def troubled_first(batch_id: str, limit: int) -> list[ActionRow]:
    """Some of the batch's actions, those first that somebody should look at."""
    urgency = case(
        (NodeAction.status == FAILED, 0),
        (NodeAction.status == EXPIRED, 1),
        (NodeAction.status == COMPLETED, 3),
        else_=2,
    )
    order = (urgency, NodeAction.wave, Node.name, NodeAction.id)
    return node_actions.rows(NodeAction.batch_id == batch_id, limit=limit, order=order)


def _rows(*where: Any, limit: int = 1) -> list[BatchRow]:
    now = utc_now()
    query = (
        select(ActionBatch, Pipeline.name)
        .outerjoin(Pipeline, Pipeline.id == ActionBatch.pipeline_id)
        .where(*where)
        .order_by(ActionBatch.id.desc())
        .limit(limit)
    )

    def read(session: Session) -> list[BatchRow]:
        return [
            _row(batch, name, action_states.counts(session, now, NodeAction.batch_id == batch.id))
            for batch, name in session.execute(query).all()
        ]

    return snapshot(read)


def _row(batch: ActionBatch, pipeline_name: str | None, found: dict[tuple[int, str], int]) -> BatchRow:
    by_wave: dict[int, dict[str, int]] = {
        wave: dict.fromkeys(STATUSES, 0) for wave in range(1, batch.waves + 1)
    }
    for (wave, status), size in found.items():
        by_wave[wave][status] += size
    return BatchRow(
        id=batch.id,
        environment_id=batch.environment_id,
        action=batch.type,
        pipeline_id=batch.pipeline_id,
        pipeline_name=pipeline_name,
        target_version=batch.target_version,
        waves=batch.waves,
        wave=batch.wave,
        max_failures=batch.max_failures,
        halted_at=batch.halted_at,
        created_by=batch.created_by,
        created_at=batch.created_at,
        counts={status: sum(own[status] for own in by_wave.values()) for status in STATUSES},
        by_wave=by_wave,
    )
