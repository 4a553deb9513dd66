"""What operators do to nodes: name, label, move, pause, revoke, delete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from sqlalchemy import delete as delete_rows
from sqlalchemy import or_, select
from sqlalchemy import update as update_rows
from sqlalchemy.orm import Session

from agent.protocol import MAX_HOSTNAME_CHARACTERS, REVOKED, CloseCode, Reason
from app import action_states, audit, enrollment, names, node_labels, preconditions, revisions, selectors
from app.audit import Actor
from app.clock import utc_now
from app.database import snapshot, transaction
from app.errors import ConflictError, InvalidInputError, NotFoundError
from app.ids import is_id
from app.models import DeploymentNode, Node, NodeAction, NodePipeline, Pipeline
from app.push import messages
from app.switchboard_process import switchboard

MOVED = "moved"
"""Why a socket is closed when its node changes its environment."""


def update(
    node_id: str,
    actor: Actor,
    *,
    name: str | None = None,
    labels: Mapping[str, str] | None = None,
    maintenance_mode: bool | None = None,
    environment_id: str | None = None,
) -> None:
    """Change what is given; *labels* replaces the operator's whole set.

    A node that is moved keeps its token and loses its socket. One that must run something else is nudged; labels
    that matter to no deployed pipeline are no reason.

    :raises NotFoundError: there is no such node, or no such environment.
    :raises InvalidInputError: the name or a label cannot be used.
    """
    wanted: dict[str, Any] = {}
    if name is not None:
        wanted["name"] = names.checked(name, MAX_HOSTNAME_CHARACTERS)
    if labels is not None:
        selectors.check_labels(labels)
        wanted["operator_labels"] = dict(labels)
    if maintenance_mode is not None:
        wanted["maintenance_mode"] = maintenance_mode
    if environment_id is not None:
        wanted["environment_id"] = environment_id

    def work(session: Session) -> tuple[set[str], bool, list[str]]:
        node = _get(session, node_id)
        former = node.environment_id
        preconditions.check(edit_revision(node))
        if not _changes(node, wanted):
            return set(), False, []
        concerned = [former]
        if wanted.keys() - {"name"}:
            # In one order everywhere, so that two moves in opposite directions cannot wait for each other.
            concerned = sorted({former, environment_id or former})
            for each in concerned:
                if not is_id(each):
                    raise NotFoundError("There is no such environment.")
                revisions.lock(session, each)
        node = _get(session, node_id, again=True)
        if node.environment_id != former:
            raise ConflictError("The node was moved by somebody else just now; nothing was changed.")
        preconditions.check(edit_revision(node))
        changes = _changes(node, wanted)
        runs_other = not changes.keys().isdisjoint(("environment_id", "maintenance_mode")) or (
            "operator_labels" in changes
            and node_labels.gains_or_loses(session, node, operator=changes["operator_labels"])
        )
        if runs_other:
            for each in concerned:
                revisions.touch(session, each)
        before = {key: getattr(node, key) for key in changes}
        for key, value in changes.items():
            setattr(node, key, value)
        if "environment_id" in changes:
            _forget_former_work(session, node_id)
        audit.record(
            session,
            actor,
            "node.update",
            environment_id=node.environment_id,
            subject_id=node_id,
            node=node.name,
            before=before,
            after=changes,
        )
        return set(changes), runs_other, concerned

    changed, runs_other, environment_ids = transaction(work)
    if "environment_id" in changed:
        switchboard().close([node_id], CloseCode.POLICY, MOVED)
    elif "maintenance_mode" in changed:
        switchboard().nudge([node_id], messages.config_changed(Reason.MAINTENANCE))
    elif runs_other:
        switchboard().nudge([node_id], messages.config_changed(Reason.LABEL))
    for each in environment_ids:
        switchboard().publish_fleet_changed(each, [node_id])


def revoke(node_id: str, actor: Actor) -> None:
    """End the node's token at once and close its socket; the node stays listed.

    :raises NotFoundError: there is no such node.
    """
    environment_id = environment_of(node_id)
    enrollment.revoke(node_id, actor)
    switchboard().publish_fleet_changed(environment_id, [node_id])


def delete(node_id: str, actor: Actor) -> None:
    """Forget the node: its token ends and its socket is closed.

    :raises NotFoundError: there is no such node.
    """

    def work(session: Session) -> str:
        # The environment first, as a deploy does; whoever makes a deploy's rows waits for the node's own lock.
        environment_id = _get(session, node_id).environment_id
        # So also the sweep looks, should the socket not be reached now.
        revisions.touch(session, environment_id)
        node = _get(session, node_id, again=True)
        preconditions.check(edit_revision(node))
        audit.record(
            session,
            actor,
            "node.delete",
            environment_id=node.environment_id,
            subject_id=node_id,
            node=node.name,
        )
        session.flush()
        environment_id = node.environment_id
        enrollment.delete_nodes(session, [node_id])
        return environment_id

    environment_id = transaction(work)
    switchboard().close([node_id], CloseCode.POLICY, REVOKED)
    switchboard().publish_fleet_changed(environment_id, [node_id])


def environment_of(node_id: str) -> str:
    """The id of the node's environment.

    :raises NotFoundError: there is no such node.
    """
    query = select(Node.environment_id).where(Node.id == node_id)
    environment_id = snapshot(lambda session: session.scalar(query)) if is_id(node_id) else None
    if environment_id is None:
        raise NotFoundError("There is no such node.")
    return environment_id


class Edited(Protocol):
    """What people edit of a node."""

    @property
    def name(self) -> str: ...
    @property
    def operator_labels(self) -> dict[str, str]: ...
    @property
    def maintenance_mode(self) -> bool: ...
    @property
    def environment_id(self) -> str: ...


def edit_revision(node: Edited) -> str:
    """Another one for each thing that people can make of the node; what it reports itself does not count."""
    return preconditions.revision_of(
        node.name, node.operator_labels, node.maintenance_mode, node.environment_id
    )


def ids_of(environment_id: str, names: Sequence[str]) -> list[str]:
    """The ids of the environment's nodes of these names or ids; of a name that several have, all of them.

    :raises InvalidInputError: there is none of one of them.
    """
    wanted = set(names)
    query = select(Node.id, Node.name).where(
        Node.environment_id == environment_id, or_(Node.name.in_(wanted), Node.id.in_(wanted))
    )
    found = snapshot(lambda session: session.execute(query).all())
    unknown = sorted(wanted - {row.name for row in found} - {row.id for row in found})
    if unknown:
        message = f'the environment has no node "{unknown[0][:100]}"'
        raise InvalidInputError(
            f"The nodes cannot be told apart: {message}.", [{"field": "nodes", "message": message}]
        )
    return [row.id for row in found]


def recent_logs(node_id: str) -> list[tuple[str, list[str]]]:
    """The last lines that each pipeline's process wrote, as (pipeline name, lines), by name."""
    query = (
        select(Pipeline.name, NodePipeline.recent_logs)
        .join(Pipeline, Pipeline.id == NodePipeline.pipeline_id)
        .where(NodePipeline.node_id == node_id)
        .order_by(Pipeline.name)
    )
    return [(name, lines or []) for name, lines in snapshot(lambda session: session.execute(query).all())]


def _get(session: Session, node_id: str, again: bool = False) -> Node:
    """The node; *again*, after waiting for a lock, reads it once more and locks it."""
    node = None
    if is_id(node_id):
        node = session.get(Node, node_id, populate_existing=again, with_for_update=again or None)
    if node is None:
        raise NotFoundError("There is no such node.")
    return node


def _changes(node: Node, wanted: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in wanted.items() if getattr(node, key) != value}


def _forget_former_work(session: Session, node_id: str) -> None:
    """What the node ran, and was still to run, in the environment that it leaves."""
    session.execute(delete_rows(NodePipeline).where(NodePipeline.node_id == node_id))
    session.execute(
        update_rows(DeploymentNode)
        .where(DeploymentNode.node_id == node_id, DeploymentNode.status == "PENDING")
        .values(status="SUPERSEDED")
    )
    action_states.end(
        session, "The node was moved to another environment.", utc_now(), NodeAction.node_id == node_id
    )
