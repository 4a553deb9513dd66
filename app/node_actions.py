"""Actions: a node is asked to do something once, by a row that is pushed and polled alike.

Commit, then tell: what is not told is in the node's next configuration answer, and the sweep nudges it there.
How an action goes on stands in ``action_states``, many at once in ``action_batches``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from agent.protocol import ActionType, DeploymentMode
from app import action_states, agent_file, audit
from app.action_states import IS_OPEN, LIFETIMES, PENDING
from app.action_wishes import Wish, checked, require
from app.audit import Actor
from app.clock import utc_now
from app.database import snapshot, transaction
from app.errors import ConflictError, NotFoundError
from app.ids import is_id, new_id
from app.models import Node, NodeAction, Pipeline
from app.paging import DEFAULT_LIMIT, Page, decode_cursor, first_of
from app.push import messages
from app.push.messages import ACTION_SUBJECT
from app.push.switchboard import NudgeOutcome
from app.switchboard_process import switchboard, worker_label

MAX_OPEN = 20
"""Of one node: more would only wait for each other."""
OFFLINE = "the node is not connected, so nobody would see how the update goes"
OFFLINE_UNKNOWN = "Redis is away, so nobody can say whether the node is connected"

log = logging.getLogger("signalbox.actions")


@dataclass(frozen=True, slots=True)
class ActionRow:
    """An action as pages and the operator API show it."""

    id: str
    node_id: str
    node_name: str
    environment_id: str
    batch_id: str | None
    wave: int
    action: str
    pipeline_id: str | None
    pipeline_name: str | None
    target_version: str | None
    status: str
    is_held: bool
    """Its wave was not released yet, so nobody was told."""
    attempts: int
    error: str | None
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    delivered_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Asked:
    """What became of a request: ``pushed`` is 1 if a worker with the node's socket took it."""

    action_id: str
    pushed: int
    push_error: str | None


def request(node_id: str, wish: Wish, actor: Actor) -> Asked:
    """Ask one node.

    :raises NotFoundError: there is no such node.
    :raises InvalidInputError: the wish cannot be understood, or names no pipeline of the node's environment.
    :raises ConflictError: the node cannot do it now; the sentence says why.
    """
    wish = checked(wish, agent_file.current())
    connected = None
    if wish.action == ActionType.SELF_UPDATE:
        connected = switchboard().presence([node_id])[node_id].connected

    def work(session: Session) -> tuple[NodeAction, str]:
        now = utc_now()
        node = session.get(Node, node_id) if is_id(node_id) else None
        if node is None:
            raise NotFoundError("There is no such node.")
        pipeline = check_pipeline(session, node.environment_id, wish)
        problem = refusal(node, wish, connected) or busy(session, [node_id], wish, now).get(node_id)
        if problem is not None:
            raise ConflictError(f'The node "{node.name}" cannot be asked to do that: {problem}.')
        action = make(node_id, wish, actor, now)
        session.add(action)
        audit.record(
            session,
            actor,
            f"node.{wish.action}",
            environment_id=node.environment_id,
            subject_id=node_id,
            node=node.name,
            action_id=action.id,
            pipeline=pipeline,
            target_version=wish.target_version,
        )
        return action, node.environment_id

    try:
        action, environment_id = transaction(work)
    except IntegrityError:
        # The unique index of open updates, or the node was deleted a moment ago.
        raise ConflictError(
            "Somebody else asked the same of the node just now; nothing was changed."
        ) from None
    outcome = tell([action], environment_id)
    return Asked(action.id, outcome.pushed, outcome.error)


def make(
    node_id: str, wish: Wish, actor: Actor, now: datetime, batch_id: str | None = None, wave: int = 1
) -> NodeAction:
    """The row of a new action; beyond the first *wave* it is held until that is released."""
    return NodeAction(
        id=new_id(),
        node_id=node_id,
        batch_id=batch_id,
        wave=wave,
        type=wish.action,
        pipeline_id=wish.pipeline_id,
        target_version=wish.target_version,
        download_url=wish.download_url,
        checksum=wish.checksum,
        signature=wish.signature,
        status=PENDING,
        attempts=0,
        created_by=actor.name,
        created_at=now,
        expires_at=now + LIFETIMES[ActionType(wish.action)] if wave == 1 else None,
    )


def tell(actions: Sequence[NodeAction], environment_id: str) -> NudgeOutcome:
    """Push committed actions to their nodes, and tell open pages."""
    nudges = [
        (
            action.node_id,
            messages.action({"action": action.type, "actionId": action.id, **_wish_of(action).to_wire()}),
            ACTION_SUBJECT + action.id,
        )
        for action in actions
    ]
    outcome = switchboard().nudge_each(nudges)
    switchboard().publish_fleet_changed(environment_id, [action.node_id for action in actions])
    log.info(
        "action asked action=%s nodes=%d pushed=%d id=%s worker=%s",
        actions[0].type,
        len(actions),
        outcome.pushed,
        actions[0].batch_id or actions[0].id,
        worker_label(),
    )
    return outcome


def pending(node_id: str) -> tuple[dict[str, str], str] | None:
    """``pendingAction`` for the node's configuration answer, and what the answer's ETag must cover of it.

    Handing it over is noted here.
    """
    offered = action_states.offer(node_id)
    if offered is None:
        return None
    action, attempt = offered
    fields = {"type": action.type, "actionId": action.id, **_wish_of(action).to_wire()}
    return fields, f"{action.id} {attempt}"


def get(action_id: str) -> ActionRow:
    """One action.

    :raises NotFoundError: there is none of that id.
    """
    found = rows(NodeAction.id == action_id) if is_id(action_id) else []
    if not found:
        raise NotFoundError("There is no such action.")
    return found[0]


def of_node(node_id: str, *, limit: int = DEFAULT_LIMIT, cursor: str | None = None) -> Page[ActionRow]:
    """A page of what the node was asked, newest first.

    :raises InvalidInputError: the cursor is not one of this list.
    """
    where = [NodeAction.node_id == node_id]
    if cursor is not None:
        where.append(NodeAction.id < decode_cursor(cursor, 1)[0])
    found = rows(*where, limit=limit + 1)
    return first_of(found, limit, lambda row: [row.id])


def rows(*where: Any, limit: int = DEFAULT_LIMIT, order: Any = None) -> list[ActionRow]:
    """At most *limit* actions of *where*, newest first unless *order* says otherwise."""
    now = utc_now()
    query = (
        select(NodeAction, Node.name, Node.environment_id, Pipeline.name)
        .join(Node, Node.id == NodeAction.node_id)
        .outerjoin(Pipeline, Pipeline.id == NodeAction.pipeline_id)
        .where(*where)
        .order_by(*(order or (NodeAction.id.desc(),)))
        .limit(limit)
    )
    return [
        ActionRow(
            id=action.id,
            node_id=action.node_id,
            node_name=node_name,
            environment_id=environment_id,
            batch_id=action.batch_id,
            wave=action.wave,
            action=action.type,
            pipeline_id=action.pipeline_id,
            pipeline_name=pipeline_name,
            target_version=action.target_version,
            status=action_states.status_of(action, now),
            is_held=action.status == PENDING and action.expires_at is None,
            attempts=action.attempts,
            error=action.error,
            created_by=action.created_by,
            created_at=action.created_at,
            expires_at=action.expires_at,
            delivered_at=action.delivered_at,
            finished_at=action.finished_at,
        )
        for action, node_name, environment_id, pipeline_name in snapshot(
            lambda session: session.execute(query).all()
        )
    ]


# what both ways of asking check


def check_pipeline(session: Session, environment_id: str, wish: Wish) -> str | None:
    """The name of the pipeline that *wish* is about.

    :raises InvalidInputError: it names one that is not there.
    :raises ConflictError: nobody runs it.
    """
    if wish.pipeline_id is None:
        return None
    pipeline = session.get(Pipeline, wish.pipeline_id)
    is_here = pipeline is not None and pipeline.environment_id == environment_id
    require(is_here, "pipelineId", "there is no such pipeline in the node's environment")
    assert pipeline is not None
    if pipeline.wanted_version is None:
        raise ConflictError(
            f'The pipeline "{pipeline.name}" is not deployed, so there is nothing to restart.'
        )
    return pipeline.name


def refusal(node: Any, wish: Wish, connected: bool | None) -> str | None:
    """Why *node* (a row with its mode, version and revocation) cannot be asked; ``None`` if it can."""
    if node.revoked_at is not None:
        return "it is revoked"
    if wish.action != ActionType.SELF_UPDATE:
        return None
    if node.deployment_mode == DeploymentMode.DOCKER:
        return "it runs in a container, whose image is what has to be updated"
    if node.agent_version == wish.target_version:
        return f"it runs version {wish.target_version} already"
    if connected is None:
        return OFFLINE_UNKNOWN
    return None if connected else OFFLINE


def busy(session: Session, node_ids: Sequence[str], wish: Wish, now: datetime) -> Mapping[str, str]:
    """Those of the nodes that wait for too much already, or for the same, each with the reason."""
    own = NodeAction.node_id.in_(node_ids)
    action_states.expire(session, now, own)
    waiting = dict(
        session.execute(
            select(NodeAction.node_id, func.count()).where(own, IS_OPEN).group_by(NodeAction.node_id)
        ).all()
    )
    reasons = {
        node_id: f"{MAX_OPEN} actions wait for it already"
        for node_id in waiting
        if waiting[node_id] >= MAX_OPEN
    }
    same = select(NodeAction.node_id).where(own, IS_OPEN, NodeAction.type == wish.action)
    if wish.action == ActionType.SELF_UPDATE:
        reason = "an update of it is under way or waits for its turn"
    else:
        # One that was handed over may be asked again: the node may have lost it.
        same = same.where(
            NodeAction.status == PENDING, NodeAction.pipeline_id.is_not_distinct_from(wish.pipeline_id)
        )
        reason = "the same restart waits for it already"
    return {**reasons, **dict.fromkeys(session.scalars(same), reason)}


def _wish_of(action: Any) -> Wish:
    return Wish(
        action.type,
        action.pipeline_id,
        action.target_version,
        action.download_url,
        action.checksum,
        action.signature,
    )
