"""How an action that was asked of many nodes goes on from wave to wave.

An update goes to one node, then to 5 %, then to 25 %, then to the rest, each wave once the one before has ended
well enough (hazard 32): one bad file must not cost a fleet. Nothing here needs a clock of its own: a heartbeat
that ends an action looks whether the next wave is due, and so does every worker once a minute.
"""

from __future__ import annotations

import logging
import math
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from agent.protocol import ActionType
from app import action_states, node_actions
from app.action_states import EXPIRED, FAILED, IS_OPEN, LIFETIMES
from app.clock import utc_now
from app.database import snapshot, transaction
from app.models import ActionBatch, NodeAction

WAVE_SHARES = (0.05, 0.25)
"""Of all nodes, after the first wave of one; the last wave is the rest."""
BATCHES_A_LOOK = 100

log = logging.getLogger("signalbox.actions")


def wave_sizes(count: int) -> list[int]:
    """How many of *count* nodes each wave of an update has: one, 5 %, 25 %, the rest; none is empty. Pure."""
    sizes, left = [1], count - 1
    for share in WAVE_SHARES:
        size = min(left, max(1, math.floor(count * share)))
        if size:
            sizes.append(size)
            left -= size
    return [*sizes, left] if left else sizes


def advance(batch_id: str) -> None:
    """Release the next wave if the latest has ended, or halt the batch if too much of it went wrong."""
    now = utc_now()

    def look(session: Session) -> bool:
        batch = session.get(ActionBatch, batch_id)
        return batch is not None and _is_next_due(session, batch, now)

    def work(session: Session) -> tuple[list[NodeAction], str]:
        batch = session.get(ActionBatch, batch_id, with_for_update=True, populate_existing=True)
        if batch is None or not _is_next_due(session, batch, now):
            return [], ""
        failed = _unwell(session, batch, now)
        if failed > batch.max_failures:
            batch.halted_at = now
            error = (
                f"Halted: {failed} of the nodes before it failed or said nothing, {batch.max_failures} may."
            )
            action_states.end(
                session, error, now, NodeAction.batch_id == batch_id, NodeAction.expires_at.is_(None)
            )
            log.warning("action batch halted id=%s wave=%d failed=%d", batch_id, batch.wave, failed)
            return [], batch.environment_id
        batch.wave += 1
        released = (NodeAction.batch_id == batch_id, NodeAction.wave == batch.wave, IS_OPEN)
        session.execute(
            update(NodeAction)
            .where(*released)
            .values(expires_at=now + LIFETIMES[ActionType(batch.type)])
            .execution_options(synchronize_session=False)
        )
        log.info("action batch goes on id=%s wave=%d of=%d", batch_id, batch.wave, batch.waves)
        return list(session.scalars(select(NodeAction).where(*released))), batch.environment_id

    # Nearly always there is nothing to do, and finding that out writes nothing.
    if snapshot(look):
        actions, environment_id = transaction(work)
        if actions:
            node_actions.tell(actions, environment_id)


def _is_next_due(session: Session, batch: ActionBatch, now: datetime) -> bool:
    if batch.wave >= batch.waves or batch.halted_at is not None:
        return False
    under_way = select(NodeAction.id).where(
        NodeAction.batch_id == batch.id, NodeAction.wave == batch.wave, IS_OPEN, NodeAction.expires_at > now
    )
    return session.scalar(under_way.limit(1)) is None


def _unwell(session: Session, batch: ActionBatch, now: datetime) -> int:
    """How many nodes of the latest wave have failed or said nothing in time."""
    own = (NodeAction.batch_id == batch.id, NodeAction.wave == batch.wave)
    return sum(
        size
        for (_, status), size in action_states.counts(session, now, *own).items()
        if status in (FAILED, EXPIRED)
    )


def tidy_up() -> None:
    """Write down which actions are overdue, let batches go on that waited for those, forget what is old."""
    now = utc_now()

    def look(session: Session) -> tuple[bool, list[str]]:
        overdue = session.scalar(select(NodeAction.id).where(IS_OPEN, NodeAction.expires_at <= now).limit(1))
        old = session.scalar(select(NodeAction.id).order_by(NodeAction.id).limit(1))
        is_old = old is not None and old < action_states.oldest_kept(now)
        under_way = select(ActionBatch.id).where(
            ActionBatch.wave < ActionBatch.waves, ActionBatch.halted_at.is_(None)
        )
        return overdue is not None or is_old, list(session.scalars(under_way.limit(BATCHES_A_LOOK)))

    has_work, batch_ids = snapshot(look)
    if has_work:
        transaction(lambda session: action_states.expire(session, now) and None)
        transaction(lambda session: action_states.forget_old(session, now))
    for batch_id in batch_ids:
        advance(batch_id)
