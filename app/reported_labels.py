"""The labels that an agent gives itself, written where a heartbeat has others than the node.

After the heartbeat and in a transaction of their own: whether they change what the node must run is judged under
the environment's lock, which comes before the node's, and which no group of heartbeats may wait for.
"""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from agent.protocol import Reason
from app import audit, node_labels, revisions
from app.audit import Actor
from app.database import transaction
from app.heartbeat_body import Heartbeat
from app.models import Node
from app.push import messages
from app.switchboard_process import switchboard


def record(node_id: str, heartbeat: Heartbeat) -> None:
    """Write the labels of *heartbeat*, which is committed, unless a newer one has come since (hazards 28 and 30)."""
    if transaction(lambda session: _write(session, node_id, heartbeat)):
        switchboard().nudge([node_id], messages.config_changed(Reason.LABEL))


def _write(session: Session, node_id: str, heartbeat: Heartbeat) -> bool:
    """Whether the node must run something else now."""
    environment_id = session.scalar(select(Node.environment_id).where(Node.id == node_id))
    if environment_id is None:
        return False
    revisions.lock(session, environment_id)
    node = session.get(Node, node_id, with_for_update={"key_share": True})
    if node is None or node.environment_id != environment_id:
        return False  # deleted or moved just now: its next heartbeat says the same again
    is_latest = (node.boot_id, node.heartbeat_seq) == (heartbeat.boot_id, heartbeat.seq)
    labels = node_labels.bounded(heartbeat.labels or {})
    if not is_latest or labels == node.agent_labels:
        return False
    runs_other = node_labels.gains_or_loses(session, node, agent=labels)
    if runs_other:
        revisions.touch(session, environment_id)
        audit.record(
            session,
            Actor(f"node {node_id}"),
            "node.labels",
            environment_id=environment_id,
            subject_id=node_id,
            node=node.name,
            before={"labels": node.agent_labels},
            after={"labels": labels},
        )
    node.agent_labels = labels
    return runs_other
