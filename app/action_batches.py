"""One action asked of many nodes: who is asked, and who is left out and why.

A restart is asked of all at once, an update in waves: see ``action_waves``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from agent.protocol import ActionType
from app import action_waves, agent_file, assembly, audit, node_actions, selectors
from app.action_wishes import Wish, checked
from app.audit import Actor
from app.clock import utc_now
from app.database import snapshot, transaction
from app.errors import ConflictError, InvalidInputError, NotFoundError
from app.ids import is_id, new_id
from app.models import ActionBatch, Environment, Node, NodeAction, NodePipeline
from app.node_status import FAILED_STATUSES
from app.switchboard_process import switchboard

MAX_NODES = 1000
"""In one batch."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A node that was not asked, and why."""

    node_id: str
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class BatchAsked:
    """What became of a request; ``pushed`` counts nodes of the first wave whose push was taken."""

    batch_id: str
    asked: int
    pushed: int
    push_error: str | None
    skipped: list[Skipped]


@dataclass(frozen=True, slots=True)
class _Asked:
    batch_id: str
    first: list[NodeAction]
    asked: int
    skipped: list[Skipped]


def request(
    environment_id: str,
    wish: Wish,
    actor: Actor,
    *,
    node_ids: Sequence[str] | None = None,
    selector: selectors.Selector | None = None,
    only_failed: bool = False,
    max_failures: int = 0,
) -> BatchAsked:
    """Ask the nodes of *node_ids*, or those that match *selector*; of a pipeline only those that report it.

    :param only_failed: leaves out the nodes on which the pipeline has not failed; of more than ``MAX_NODES``
        the first by name are asked, and the others once those have been.
    :param max_failures: how many nodes of a wave may fail without holding the next one back.
    :raises NotFoundError: there is no such environment.
    :raises InvalidInputError: an unknown node, more than ``MAX_NODES``, or what ``node_actions.request`` refuses.
    :raises ConflictError: no node is left to be asked.
    """
    wish = checked(wish, agent_file.current())
    candidates = _candidates(environment_id, wish, node_ids, selector, only_failed)
    connected = _connected(wish, candidates)

    def work(session: Session) -> _Asked:
        return _write(session, environment_id, wish, actor, candidates, connected, max_failures)

    try:
        done = transaction(work)
    except IntegrityError:
        raise ConflictError(
            "Some of these nodes were asked the same, or deleted, just now; nothing was changed: try again."
        ) from None
    outcome = node_actions.tell(done.first, environment_id)
    return BatchAsked(done.batch_id, done.asked, outcome.pushed, outcome.error, done.skipped)


def left_out(environment_id: str, wish: Wish, node_ids: Sequence[str]) -> list[Skipped]:
    """Those of *node_ids* that ``request`` would leave out now, by name; nothing is asked.

    :raises InvalidInputError: as ``request``.
    """
    return preview(environment_id, wish, node_ids)[1]


def preview(
    environment_id: str,
    wish: Wish,
    node_ids: Sequence[str] | None = None,
    selector: selectors.Selector | None = None,
) -> tuple[list[str], list[Skipped]]:
    """The names of the nodes that ``request`` would ask now, and those that it would leave out; nothing is asked.

    :raises NotFoundError, InvalidInputError: as ``request``.
    """
    wish = checked(wish, agent_file.current())
    candidates = _candidates(environment_id, wish, node_ids, selector, only_failed=False)
    connected = _connected(wish, candidates)
    now = utc_now()

    def work(session: Session) -> list[Skipped]:
        busy = node_actions.busy(session, [node.id for node in candidates], wish, now)
        reasons = ((node, node_actions.refusal(node, wish, connected.get(node.id))) for node in candidates)
        return [
            Skipped(node.id, node.name, reason or busy[node.id])
            for node, reason in reasons
            if reason is not None or node.id in busy
        ]

    skipped = transaction(work)  # what is overdue is written down on the way
    out = {each.node_id for each in skipped}
    return [node.name for node in candidates if node.id not in out], skipped


def _connected(wish: Wish, candidates: Sequence[Any]) -> dict[str, bool | None]:
    """Who is connected, where that matters."""
    if wish.action != ActionType.SELF_UPDATE:
        return {}
    presence = switchboard().presence([node.id for node in candidates])
    return {node_id: each.connected for node_id, each in presence.items()}


def _candidates(
    environment_id: str,
    wish: Wish,
    node_ids: Sequence[str] | None,
    selector: selectors.Selector | None,
    only_failed: bool,
) -> list[Any]:
    query = (
        select(
            Node.id,
            Node.name,
            Node.operator_labels,
            Node.agent_labels,
            Node.agent_version,
            Node.deployment_mode,
            Node.revoked_at,
        )
        .where(Node.environment_id == environment_id)
        .order_by(Node.name, Node.id)
    )
    if node_ids is not None:
        if len(node_ids) > MAX_NODES:
            raise _too_many(len(node_ids))
        query = query.where(Node.id.in_(node_ids))
    else:
        query = query.where(Node.revoked_at.is_(None))
    if wish.pipeline_id is not None and (node_ids is None or only_failed):
        runs = NodePipeline.pipeline_id == wish.pipeline_id
        query = query.join(NodePipeline, (NodePipeline.node_id == Node.id) & runs)
        if only_failed:
            query = query.where(has_failed())

    def read(session: Session) -> tuple[Environment | None, Sequence[Any]]:
        environment = session.get(Environment, environment_id) if is_id(environment_id) else None
        return environment, session.execute(query).all()

    environment, nodes = snapshot(read)
    if environment is None:
        raise NotFoundError("There is no such environment.")
    if node_ids is not None and not only_failed:
        unknown = sorted(set(node_ids) - {node.id for node in nodes})
        if unknown:
            message = f"the environment has no node {unknown[0]}"
            raise InvalidInputError(
                f'The field "nodeIds" is not valid: {message}.', [{"field": "nodeIds", "message": message}]
            )
    if selector is not None:
        allowed = environment.selectable_agent_labels
        nodes = [
            node
            for node in nodes
            if selector.matches(assembly.selectable_labels(node.operator_labels, node.agent_labels, allowed))
        ]
    if len(nodes) > MAX_NODES and not only_failed:
        raise _too_many(len(nodes))
    return list(nodes[:MAX_NODES])


def has_failed() -> Any:
    """Whether a pipeline on a node has died, or could not be brought to its wanted version."""
    return NodePipeline.status.in_(FAILED_STATUSES) | NodePipeline.failed_version.is_not(None)


def _too_many(count: int) -> InvalidInputError:
    return InvalidInputError(
        f"That would ask {count:,} nodes, and {MAX_NODES:,} can be asked at once: ask some of them first."
    )


def _write(
    session: Session,
    environment_id: str,
    wish: Wish,
    actor: Actor,
    candidates: Sequence[Any],
    connected: dict[str, bool | None],
    max_failures: int,
) -> _Asked:
    now = utc_now()
    pipeline = node_actions.check_pipeline(session, environment_id, wish)
    busy = node_actions.busy(session, [node.id for node in candidates], wish, now)
    chosen, skipped = [], []
    for node in candidates:
        reason = node_actions.refusal(node, wish, connected.get(node.id)) or busy.get(node.id)
        if reason is None:
            chosen.append(node.id)
        else:
            skipped.append(Skipped(node.id, node.name, reason))
    if not chosen:
        why = f": {skipped[0].name}: {skipped[0].reason}" if skipped else ": none matches"
        raise ConflictError(f"No node can be asked to do that{why}.")
    sizes = action_waves.wave_sizes(len(chosen)) if wish.action == ActionType.SELF_UPDATE else [len(chosen)]
    batch = ActionBatch(
        id=new_id(),
        environment_id=environment_id,
        type=wish.action,
        pipeline_id=wish.pipeline_id,
        target_version=wish.target_version,
        waves=len(sizes),
        wave=1,
        max_failures=max_failures,
        created_by=actor.name,
        created_at=now,
    )
    session.add(batch)
    session.flush()
    waves = [number for number, size in enumerate(sizes, start=1) for _ in range(size)]
    actions = [
        node_actions.make(node_id, wish, actor, now, batch.id, wave)
        for node_id, wave in zip(chosen, waves, strict=True)
    ]
    session.add_all(actions)
    audit.record(
        session,
        actor,
        f"nodes.{wish.action}",
        environment_id=environment_id,
        subject_id=batch.id,
        nodes=len(chosen),
        pipeline=pipeline,
        target_version=wish.target_version,
        max_failures=max_failures,
    )
    return _Asked(batch.id, [action for action in actions if action.wave == 1], len(chosen), skipped)


def count_failed(pipeline_id: str) -> int:
    """On how many nodes that are not revoked the pipeline has failed."""
    query = (
        select(NodePipeline.node_id)
        .join(Node, Node.id == NodePipeline.node_id)
        .where(NodePipeline.pipeline_id == pipeline_id, Node.revoked_at.is_(None), has_failed())
    )
    return len(snapshot(lambda session: session.scalars(query).all()))
