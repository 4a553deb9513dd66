"""What operators do to many nodes at once without asking them: maintenance, and deleting those that are revoked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from agent.protocol import REVOKED, CloseCode, Reason
from app import audit, enrollment, revisions
from app.audit import Actor
from app.database import snapshot, transaction
from app.models import Node
from app.push import messages
from app.switchboard_process import switchboard

CHUNK = 500
"""Ids in one query."""
SPREAD_MS_PER_NODE = 1


def of_environments(node_ids: Sequence[str]) -> dict[str, list[Any]]:
    """The nodes that exist, by environment and name: rows of id, name, revoked_at and maintenance_mode."""
    found: dict[str, list[Any]] = {}

    def read(session: Session) -> None:
        for start in range(0, len(node_ids), CHUNK):
            query = select(
                Node.environment_id, Node.id, Node.name, Node.revoked_at, Node.maintenance_mode
            ).where(Node.id.in_(node_ids[start : start + CHUNK]))
            for row in session.execute(query):
                found.setdefault(row.environment_id, []).append(row)

    snapshot(read)
    return {each: sorted(rows, key=lambda row: (row.name, row.id)) for each, rows in sorted(found.items())}


def set_maintenance(environment_id: str, node_ids: Sequence[str], mode: bool, actor: Actor) -> list[str]:
    """Let nodes of one environment run nothing, or again what they should; the ids of those that changed.

    A revoked one is left as it is. Whoever is connected is nudged.

    :raises NotFoundError: there is no such environment.
    """
    is_meant = (
        Node.environment_id == environment_id,
        Node.revoked_at.is_(None),
        Node.maintenance_mode.is_not(mode),
    )

    def work(session: Session) -> list[str]:
        revisions.touch(session, environment_id)
        changed = _locked(session, node_ids, is_meant, key_share=True)
        told = {"before": {"maintenance_mode": not mode}, "after": {"maintenance_mode": mode}}
        for start in range(0, len(changed), CHUNK):
            session.execute(
                update(Node)
                .where(Node.id.in_(changed[start : start + CHUNK]))
                .values(maintenance_mode=mode)
                .execution_options(synchronize_session=False)
            )
        _record(session, actor, "nodes.maintenance", environment_id, changed, **told)
        return changed

    changed = transaction(work)
    if changed:
        spread_ms = len(changed) * SPREAD_MS_PER_NODE
        switchboard().nudge(changed, messages.config_changed(Reason.MAINTENANCE, spread_ms=spread_ms))
        switchboard().publish_fleet_changed(environment_id, changed)
    return changed


def forget_revoked(environment_id: str, node_ids: Sequence[str], actor: Actor) -> list[str]:
    """Delete those of the nodes that are revoked; their ids.

    :raises NotFoundError: there is no such environment.
    """
    is_meant = (Node.environment_id == environment_id, Node.revoked_at.is_not(None))

    def work(session: Session) -> list[str]:
        revisions.touch(session, environment_id)
        gone = _locked(session, node_ids, is_meant)
        for start in range(0, len(gone), CHUNK):
            enrollment.delete_nodes(session, gone[start : start + CHUNK])
        _record(session, actor, "nodes.delete", environment_id, gone)
        return gone

    gone = transaction(work)
    if gone:
        switchboard().close(gone, CloseCode.POLICY, REVOKED)
        switchboard().publish_fleet_changed(environment_id, gone)
    return gone


def _locked(
    session: Session, node_ids: Sequence[str], is_meant: Sequence[Any], *, key_share: bool = False
) -> list[str]:
    """Those of the nodes that are meant, locked in one order, so that two people do not wait for each other.

    With *key_share* not their keys: whoever makes a deploy's rows refers to these, maybe while holding other nodes.
    """
    wanted = sorted(node_ids)
    found: list[str] = []
    for start in range(0, len(wanted), CHUNK):
        query = select(Node.id).where(Node.id.in_(wanted[start : start + CHUNK]), *is_meant)
        found += session.scalars(query.order_by(Node.id).with_for_update(key_share=key_share))
    return found


def _record(
    session: Session, actor: Actor, action: str, environment_id: str, node_ids: list[str], **detail: Any
) -> None:
    if node_ids:
        audit.record(
            session,
            actor,
            action,
            environment_id=environment_id,
            nodes=len(node_ids),
            node_ids=node_ids[:100],
            **detail,
        )
