"""How an action goes on: handed over, done, failed, expired, and at last forgotten.

Each step is one conditional UPDATE, so that of two that come at once the first counts, on both databases.
An action that is open and overdue counts as ``EXPIRED`` at once, whether that has been written yet or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, bindparam, delete, func, literal_column, select, update
from sqlalchemy.orm import Session

from agent.protocol import ActionType
from app.clock import utc_now
from app.database import current_engine, transaction
from app.ids import first_id_at
from app.json_body import LongText, ShortText, Wire
from app.many_ids import is_there
from app.models import ActionBatch, Node, NodeAction, NodePipeline

PENDING, DELIVERED = "PENDING", "DELIVERED"
COMPLETED, FAILED, EXPIRED = "COMPLETED", "FAILED", "EXPIRED"
STATUSES = (PENDING, DELIVERED, COMPLETED, FAILED, EXPIRED)

LIFETIMES = {ActionType.RESTART: timedelta(minutes=10), ActionType.SELF_UPDATE: timedelta(hours=1)}
"""After so long without an outcome an action has expired."""
MAX_ATTEMPTS = 3
"""An action is handed over so often; a node that has it and says nothing is not asked for ever."""
AGAIN_AFTER = timedelta(minutes=2)
"""How long a node that was handed an action has for it before it is handed over again."""
KEPT = timedelta(days=90)
ROWS_A_STEP = 1000
OPEN_LOOKED_AT = 100
EXPIRY_ERROR = "The node said nothing of it in time."
UNDELIVERED_ERROR = "The node was not heard from in time, so it never got it."

# Written as text: PostgreSQL uses a partial index only for a condition that it sees.
_PENDING: ColumnElement[str] = literal_column("'PENDING'")
_DELIVERED: ColumnElement[str] = literal_column("'DELIVERED'")
IS_OPEN: ColumnElement[bool] = NodeAction.status.in_((_PENDING, _DELIVERED))


class CompletedAction(Wire):
    """What a heartbeat says of one action."""

    action_id: ShortText
    error: LongText | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What a heartbeat says that an action's outcome can be told by."""

    completed: Sequence[CompletedAction]
    agent_version: str | None
    update_error: str | None
    acknowledges: bool
    """Whether the agent tells of each action how it ended; agents that we did not write do not."""


def status_of(action: NodeAction, now: datetime) -> str:
    """The action's status at *now*."""
    is_overdue = action.expires_at is not None and action.expires_at <= now
    return EXPIRED if is_overdue and action.status in (PENDING, DELIVERED) else action.status


def finish(session: Session, action_id: str, status: str, error: str | None, now: datetime) -> bool:
    """End an action that is open and not overdue; False if it has ended already: the first outcome counts."""
    ended = session.execute(
        update(NodeAction)
        .where(NodeAction.id == action_id, IS_OPEN, NodeAction.expires_at > now)
        .values(status=status, error=error, finished_at=now)
        .execution_options(synchronize_session=False)
    )
    return bool(ended.rowcount)  # type: ignore[attr-defined]


def has_open(now: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether a node, in a query of nodes, has an open action."""
    own = select(NodeAction.id).where(NodeAction.node_id == Node.id, IS_OPEN, NodeAction.expires_at > now)
    return is_there(own, Node.__table__)


def has_undelivered(now: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether a node, in a query of nodes, has an action that was not handed over yet."""
    own = select(NodeAction.id).where(
        NodeAction.node_id == Node.id, IS_OPEN, NodeAction.status == _PENDING, NodeAction.expires_at > now
    )
    return is_there(own, Node.__table__)


_OPEN_OF_NODES = (
    select(NodeAction.node_id)
    .where(
        NodeAction.node_id.in_(bindparam("node_ids", expanding=True)),
        IS_OPEN,
        NodeAction.expires_at > bindparam("now"),
    )
    .order_by(NodeAction.id)
    .with_for_update(key_share=True)
)


def lock_open(session: Session, node_ids: Sequence[str], now: datetime) -> set[str]:
    """Those of the nodes that have open actions, whose rows are locked in the order of ``record_pushed``."""
    return set(session.scalars(_OPEN_OF_NODES, {"node_ids": node_ids, "now": now}))


def settle(session: Session, node_id: str, report: Report, now: datetime) -> set[str]:
    """Compare the node's open actions with what its heartbeat says, in the heartbeat's transaction.

    The ids of the batches in which something has ended.
    """
    told = {done.action_id: done for done in reversed(report.completed)}
    touched: set[str] = set()
    for action in session.scalars(
        select(NodeAction)
        .where(NodeAction.node_id == node_id, IS_OPEN, NodeAction.expires_at > now)
        .order_by(NodeAction.id)
        .limit(OPEN_LOOKED_AT)
    ).all():
        if action.id in told:
            error = told[action.id].error
            status = FAILED if error is not None else COMPLETED
        elif (
            action.type == ActionType.SELF_UPDATE
            and not report.acknowledges  # else it says itself when the new version has proved itself
            and report.agent_version == action.target_version
        ):
            status, error = COMPLETED, None
        elif action.status != DELIVERED:
            continue
        elif action.type == ActionType.SELF_UPDATE and report.update_error:
            # Only after the delivery: older agents repeat the error of an earlier update.
            status, error = FAILED, report.update_error
        elif action.type == ActionType.RESTART and not report.acknowledges:
            if not _has_restarted(session, action, now):
                continue
            status, error = COMPLETED, None
        else:
            continue
        if finish(session, action.id, status, error, now) and action.batch_id is not None:
            touched.add(action.batch_id)
    return touched


def _has_restarted(session: Session, action: NodeAction, now: datetime) -> bool:
    """Whether an agent that acknowledges nothing shows that it has done *action*, a restart that it was handed.

    Without a pipeline such an agent only fetches its configuration again, and its heartbeat comes after that.
    """
    if action.pipeline_id is None:
        return True
    uptime = session.scalar(
        select(NodePipeline.uptime_seconds).where(
            NodePipeline.node_id == action.node_id,
            NodePipeline.pipeline_id == action.pipeline_id,
            NodePipeline.status == "RUNNING",
        )
    )
    assert action.delivered_at is not None
    return uptime is not None and uptime < (now - action.delivered_at).total_seconds()


_ACTION = NodeAction.__table__.c
# Made once and without the ORM: this is part of every agent's every fetch, and there is nearly always none.
_OPEN_OF_NODE = (
    select(NodeAction.__table__)
    .where(
        _ACTION.node_id == bindparam("node_id"),
        _ACTION.status.in_((_PENDING, _DELIVERED)),
        _ACTION.expires_at > bindparam("now"),
    )
    .order_by(_ACTION.id)
    .limit(OPEN_LOOKED_AT)
)


def offer(node_id: str) -> tuple[Any, int] | None:
    """The node's oldest open action and its attempt, for its configuration's answer.

    One that was handed over is in every answer until it ends, and counts as a further attempt only when it is
    handed over again, which is noted here, so that an answer stays unchanged in between. After the last attempt
    it is left out.

    :returns: a row with the columns of ``NodeAction``.
    """
    now = utc_now()
    with current_engine().connect() as connection:
        waiting = connection.execute(_OPEN_OF_NODE, {"node_id": node_id, "now": now}).all()
    for action in waiting:
        if action.delivered_at is not None and action.delivered_at + AGAIN_AFTER > now:
            return action, action.attempts
        if action.attempts < MAX_ATTEMPTS:
            _hand_over(action.id, action.attempts, now)
            return action, action.attempts + 1
    return None


def _hand_over(action_id: str, attempts: int, now: datetime) -> None:
    def work(session: Session) -> None:
        session.execute(
            update(NodeAction)
            .where(NodeAction.id == action_id, IS_OPEN, NodeAction.attempts == attempts)
            .values(status=DELIVERED, attempts=attempts + 1, delivered_at=now)
            .execution_options(synchronize_session=False)
        )

    transaction(work)


def record_pushed(written: Sequence[tuple[str, str, datetime]]) -> None:
    """Note that pushes were written to their sockets; *written* holds (action id, node id, when)."""

    def work(session: Session) -> None:
        for action_id, node_id, when in sorted(written):
            session.execute(
                update(NodeAction)
                .where(
                    NodeAction.id == action_id,
                    NodeAction.node_id == node_id,
                    NodeAction.status == _PENDING,
                )
                .values(status=DELIVERED, attempts=NodeAction.attempts + 1, delivered_at=when)
                .execution_options(synchronize_session=False)
            )

    transaction(work)


def undelivered(session: Session, *where: ColumnElement[bool]) -> set[str]:
    """The nodes of *where* with an action that was not handed over yet."""
    query = (
        select(NodeAction.node_id)
        .join(Node, Node.id == NodeAction.node_id)
        .where(IS_OPEN, NodeAction.status == _PENDING, NodeAction.expires_at > utc_now(), *where)
    )
    return set(session.scalars(query))


def expire(session: Session, now: datetime, *where: ColumnElement[bool]) -> set[str]:
    """Write down which open actions of *where* are overdue; the batches that they belong to.

    :returns: ids; at most ``ROWS_A_STEP`` actions at once, and none that somebody else is just writing.
    """
    overdue = session.execute(
        select(NodeAction.id, NodeAction.batch_id, NodeAction.status)
        .where(IS_OPEN, NodeAction.expires_at <= now, *where)
        .order_by(NodeAction.id)
        .limit(ROWS_A_STEP)
        .with_for_update(skip_locked=True)
    ).all()
    for status, error in ((PENDING, UNDELIVERED_ERROR), (DELIVERED, EXPIRY_ERROR)):
        ids = [row.id for row in overdue if row.status == status]
        if ids:
            session.execute(
                update(NodeAction)
                .where(NodeAction.id.in_(ids), IS_OPEN)
                .values(status=EXPIRED, error=error, finished_at=now)
                .execution_options(synchronize_session=False)
            )
    return {row.batch_id for row in overdue if row.batch_id is not None}


def end(session: Session, error: str, now: datetime, *where: ColumnElement[bool]) -> None:
    """Fail all open actions of *where*: what they ask for can no longer be done."""
    session.execute(
        update(NodeAction)
        .where(IS_OPEN, *where)
        .values(status=FAILED, error=error, finished_at=now)
        .execution_options(synchronize_session=False)
    )


def oldest_kept(now: datetime) -> str:
    """The least id that an action may have to be kept."""
    return first_id_at(now - KEPT)


def forget_old(session: Session, now: datetime) -> int:
    """Delete some actions that are older than ``KEPT``, and such batches of which nothing is left; how many rows."""
    # Ids begin with their time, so this reads no history that stays.
    before = oldest_kept(now)
    old = (
        select(NodeAction.id)
        .where(NodeAction.id < before)
        .order_by(NodeAction.id)
        .limit(ROWS_A_STEP)
        .with_for_update(skip_locked=True)
    )
    ids = list(session.scalars(old))
    if ids:
        session.execute(delete(NodeAction).where(NodeAction.id.in_(ids)))
    empty = select(ActionBatch.id).where(
        ActionBatch.id < before,
        ~select(NodeAction.id).where(NodeAction.batch_id == ActionBatch.id).exists(),
    )
    batches = list(session.scalars(empty.limit(ROWS_A_STEP)))
    if batches:
        session.execute(delete(ActionBatch).where(ActionBatch.id.in_(batches)))
    return len(ids) + len(batches)


def counts(session: Session, now: datetime, *where: ColumnElement[bool]) -> dict[tuple[int, str], int]:
    """How many actions of *where* there are by wave and status."""
    is_overdue = (NodeAction.expires_at <= now) & IS_OPEN
    found: dict[tuple[int, str], int] = {}
    grouped: Any = session.execute(
        select(NodeAction.wave, NodeAction.status, is_overdue.label("is_overdue"), func.count().label("size"))
        .where(*where)
        .group_by(NodeAction.wave, NodeAction.status, is_overdue)
    )
    for wave, status, overdue, size in grouped:
        key = (wave, EXPIRED if overdue else status)
        found[key] = found.get(key, 0) + size
    return found
