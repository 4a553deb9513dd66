"""Noticing what happens to the fleet while nobody looks, and telling webhooks of it, each change once.

One worker of all machines watches, under a lease that each step looks at again. What it has told of stands in the
table ``notice``, written in the transaction that puts the event into the queues: a worker that is killed in the
middle has done all of a step or nothing.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import and_, delete, exists, func, or_, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app import deploy_requests, deployments, leases, server_settings, webhook_events
from app.clock import rfc3339
from app.database import snapshot, transaction
from app.errors import UnavailableError
from app.leases import Held, LeaseLostError
from app.models import (
    Deployment,
    DeploymentNode,
    Environment,
    Node,
    NodeAction,
    NodePipeline,
    Notice,
    Pipeline,
)
from app.node_status import FAILED_STATUSES, Clock, NodeStatus
from app.switchboard_process import switchboard

LEASE = "watch"
LEASE_SPAN = timedelta(seconds=20)
ROWS_A_STEP = 500
"""Of what has changed; the rest is for the next turn."""
NAMED = 20
"""Nodes that an event names; it says how many there are."""
DEPLOYMENT_WAITS = timedelta(hours=1)
"""Then it counts as finished, whatever nodes that are away will do some day."""
ROWS_DUE_WITHIN = timedelta(seconds=30)
"""Then whoever was to make a deployment's rows does not any more."""
UPDATES_SINCE = timedelta(days=1)
UNREACHABLE, FAILED, UPDATE = "unreachable", "failed", "update"
"""Kinds of notices."""

log = logging.getLogger("signalbox.watch")

Step = Callable[[Held], int]


def watch(holder: str) -> int:
    """One turn, if this worker is the one that watches; how many events were put into queues.

    *holder* is the worker's id.
    """
    held = leases.take(LEASE, holder, LEASE_SPAN)
    if held is None:
        return 0
    told = 0
    for step in STEPS:
        try:
            told += step(held)
        except LeaseLostError:
            log.info("another worker watches now; this one stops")
            return told
    return told


def stop(holder: str) -> None:
    """Let another worker watch at once."""
    held = leases.take(LEASE, holder, LEASE_SPAN)
    if held is not None:
        leases.give_up(held)


def finished_deployments(held: Held) -> int:
    """Deployments of which no node is still to come, or that an hour has passed over."""
    open_ = (
        select(Deployment).where(Deployment.finished_at.is_(None)).order_by(Deployment.id).limit(ROWS_A_STEP)
    )
    pending = (
        select(func.count())
        .where(DeploymentNode.deployment_id == Deployment.id, DeploymentNode.status == "PENDING")
        .correlate(Deployment)
        .scalar_subquery()
    )
    # Of one whose server died before it made the nodes' rows they are made now.
    try:
        deployments.ensure_made(Deployment.created_at < held.now - ROWS_DUE_WITHIN)
    except (SQLAlchemyError, UnavailableError) as error:
        log.warning("rows not made: %s", error)  # the rest of the turn does not hang on them
    is_over = or_(
        and_(pending == 0, Deployment.nodes_due.is_(None)),
        Deployment.created_at < held.now - DEPLOYMENT_WAITS,
    )
    ids = snapshot(lambda session: [row.id for row in session.scalars(open_.where(is_over))])

    def work(session: Session) -> int:
        leases.check(session, held)
        told = 0
        for deployment in session.scalars(
            select(Deployment)
            .where(Deployment.id.in_(ids), Deployment.finished_at.is_(None))
            .order_by(Deployment.id)
            .with_for_update()
        ).all():
            counts: dict[str, int] = dict(
                iter(
                    session.execute(
                        select(DeploymentNode.status, func.count())
                        .where(DeploymentNode.deployment_id == deployment.id)
                        .group_by(DeploymentNode.status)
                    )
                )
            )
            failed = session.scalars(
                select(Node.name)
                .join(DeploymentNode, DeploymentNode.node_id == Node.id)
                .where(DeploymentNode.deployment_id == deployment.id, DeploymentNode.status == "FAILED")
                .order_by(Node.name)
                .limit(NAMED)
            ).all()
            deployment.finished_at = held.now
            told += len(
                webhook_events.emit(
                    session,
                    webhook_events.DEPLOYMENT_FINISHED,
                    deployment.environment_id,
                    held.now,
                    {
                        "environment": _name(session, Environment, deployment.environment_id),
                        "deploymentId": deployment.id,
                        "pipelineId": deployment.pipeline_id,
                        "pipeline": _name(session, Pipeline, deployment.pipeline_id),
                        "kind": deployment.kind,
                        "version": deployment.version,
                        "outcome": _outcome(counts),
                        "targets": deployment.targets,
                        "nodes": {status.lower(): count for status, count in sorted(counts.items())},
                        "failedNodes": list(failed),
                        "createdBy": deployment.created_by,
                        "createdAt": rfc3339(deployment.created_at),
                    },
                )
            )
        return told

    return transaction(work) if ids else 0


def silent_nodes(held: Held) -> int:
    """Nodes that have become unreachable.

    Not before somebody has watched for as long as a node may be silent: after an outage of the server all are.
    """
    clock = Clock(server_settings.intervals(), held.now)
    if held.unbroken_since > min(clock.silent_before(False), clock.silent_before(None)):
        return 0
    told_of = exists().where(Notice.kind == UNREACHABLE, Notice.subject == Node.id)
    query = (
        select(Node.id, Node.revoked_at, Node.last_seen_at, Node.last_heartbeat_at)
        .where(
            Node.last_seen_at < clock.silent_before(False),
            Node.last_heartbeat_at.is_not(None),
            Node.revoked_at.is_(None),
            ~told_of,
        )
        .order_by(Node.id)
        .limit(ROWS_A_STEP)
    )
    rows = snapshot(lambda session: session.execute(query).all())
    presence = switchboard().presence([row.id for row in rows]) if rows else {}
    silent = [row for row in rows if clock.status(row, presence[row.id].connected) is NodeStatus.UNREACHABLE]

    def work(session: Session) -> int:
        leases.check(session, held)
        # One that was heard of meanwhile is not; one that is gone neither.
        seen = {row.id: row.last_seen_at for row in silent}
        nodes = session.execute(
            select(Node.id, Node.name, Node.environment_id, Node.last_seen_at).where(Node.id.in_(seen))
        ).all()
        nodes = [node for node in nodes if node.last_seen_at == seen[node.id]]
        session.add_all(Notice(kind=UNREACHABLE, subject=n.id, node_id=n.id, since=held.now) for n in nodes)
        session.flush()
        return _tell_of_nodes(session, held, webhook_events.NODE_UNREACHABLE, nodes)

    return transaction(work) if silent else 0


def nodes_back(held: Held) -> int:
    """Nodes that were unreachable and are not any more."""
    clock = Clock(server_settings.intervals(), held.now)
    query = (
        select(Node.id, Node.revoked_at, Node.last_seen_at, Node.last_heartbeat_at)
        .join(Notice, and_(Notice.kind == UNREACHABLE, Notice.subject == Node.id))
        .where(or_(Node.last_seen_at > Notice.since, Node.revoked_at.is_not(None)))
        .order_by(Node.id)
        .limit(ROWS_A_STEP)
    )
    rows = snapshot(lambda session: session.execute(query).all())
    presence = switchboard().presence([row.id for row in rows]) if rows else {}
    back = [row.id for row in rows if clock.status(row, presence[row.id].connected) is NodeStatus.HEALTHY]
    revoked = [row.id for row in rows if row.revoked_at is not None]

    def work(session: Session) -> int:
        leases.check(session, held)
        session.execute(delete(Notice).where(Notice.kind == UNREACHABLE, Notice.subject.in_(back + revoked)))
        nodes = session.execute(
            select(Node.id, Node.name, Node.environment_id, Node.last_seen_at).where(
                Node.id.in_(set(back) - set(revoked))
            )
        ).all()
        return _tell_of_nodes(session, held, webhook_events.NODE_BACK, nodes)

    return transaction(work) if back or revoked else 0


def failed_pipelines(held: Held) -> int:
    """Pipelines that have failed on nodes on which they had not; one event for each pipeline."""
    subject = NodePipeline.pipeline_id + ":" + NodePipeline.node_id
    has_failed = or_(NodePipeline.status.in_(FAILED_STATUSES), NodePipeline.failed_version.is_not(None))
    told_of = exists().where(Notice.kind == FAILED, Notice.subject == subject)
    query = (
        select(
            NodePipeline.pipeline_id,
            NodePipeline.node_id,
            NodePipeline.status,
            NodePipeline.version,
            NodePipeline.failed_version,
            Node.name,
        )
        .join(Node, Node.id == NodePipeline.node_id)
        .where(has_failed, ~told_of)
        .order_by(NodePipeline.pipeline_id, Node.name, Node.id)
        .limit(ROWS_A_STEP)
    )
    healthy = (
        select(Notice.subject)
        .outerjoin(NodePipeline, and_(NodePipeline.node_id == Notice.node_id, subject == Notice.subject))
        .where(
            Notice.kind == FAILED,
            or_(
                NodePipeline.node_id.is_(None),
                and_(NodePipeline.status == "RUNNING", NodePipeline.failed_version.is_(None)),
            ),
        )
        .limit(ROWS_A_STEP)
    )

    def read(session: Session) -> tuple[Sequence[Any], list[str]]:
        return session.execute(query).all(), list(session.scalars(healthy))

    rows, recovered = snapshot(read)

    def work(session: Session) -> int:
        leases.check(session, held)
        if recovered:
            session.execute(delete(Notice).where(Notice.kind == FAILED, Notice.subject.in_(recovered)))
        by_pipeline = defaultdict(list)
        for row in session.execute(query).all():
            by_pipeline[row.pipeline_id].append(row)
            session.add(
                Notice(
                    kind=FAILED,
                    subject=f"{row.pipeline_id}:{row.node_id}",
                    node_id=row.node_id,
                    since=held.now,
                )
            )
        session.flush()
        told = 0
        for pipeline_id, failed in sorted(by_pipeline.items()):
            pipeline = session.get(Pipeline, pipeline_id)
            if pipeline is None:
                continue
            told += len(
                webhook_events.emit(
                    session,
                    webhook_events.PIPELINE_FAILED,
                    pipeline.environment_id,
                    held.now,
                    {
                        "environment": _name(session, Environment, pipeline.environment_id),
                        "pipelineId": pipeline_id,
                        "pipeline": pipeline.name,
                        "count": len(failed),
                        "nodes": [
                            {
                                "nodeId": row.node_id,
                                "name": row.name,
                                "status": row.status,
                                "version": row.version,
                                "failedVersion": row.failed_version,
                            }
                            for row in failed[:NAMED]
                        ],
                    },
                )
            )
        return told

    return transaction(work) if rows or recovered else 0


def failed_updates(held: Held) -> int:
    """Self-updates that have failed or expired; one event for each environment."""
    told_of = exists().where(Notice.kind == UPDATE, Notice.subject == NodeAction.id)
    query = (
        select(
            NodeAction.id,
            NodeAction.status,
            NodeAction.target_version,
            Node.id.label("node_id"),
            Node.name,
            Node.environment_id,
        )
        .join(Node, Node.id == NodeAction.node_id)
        .where(
            NodeAction.type == "self_update",
            NodeAction.status.in_(("FAILED", "EXPIRED")),
            NodeAction.finished_at >= held.now - UPDATES_SINCE,
            ~told_of,
        )
        .order_by(NodeAction.id)
        .limit(ROWS_A_STEP)
    )
    old = and_(Notice.kind == UPDATE, Notice.since < held.now - 2 * UPDATES_SINCE)

    def read(session: Session) -> tuple[int, bool]:
        has_old = session.scalar(select(Notice.subject).where(old).limit(1)) is not None
        return len(session.execute(query).all()), has_old

    count, has_old = snapshot(read)

    def work(session: Session) -> int:
        leases.check(session, held)
        session.execute(delete(Notice).where(old))
        by_environment = defaultdict(list)
        for row in session.execute(query).all():
            by_environment[row.environment_id].append(row)
            session.add(Notice(kind=UPDATE, subject=row.id, node_id=row.node_id, since=held.now))
        session.flush()
        told = 0
        for environment_id, failed in sorted(by_environment.items()):
            told += len(
                webhook_events.emit(
                    session,
                    webhook_events.UPDATE_FAILED,
                    environment_id,
                    held.now,
                    {
                        "environment": _name(session, Environment, environment_id),
                        "count": len(failed),
                        "nodes": [
                            {
                                "nodeId": row.node_id,
                                "name": row.name,
                                "actionId": row.id,
                                "status": row.status,
                                "targetVersion": row.target_version,
                            }
                            for row in failed[:NAMED]
                        ],
                    },
                )
            )
        return told

    return transaction(work) if count or has_old else 0


def _tell_of_nodes(session: Session, held: Held, event: str, nodes: Sequence[Any]) -> int:
    """One event for each environment."""
    by_environment = defaultdict(list)
    for node in sorted(nodes, key=lambda node: (node.environment_id, node.name, node.id)):
        by_environment[node.environment_id].append(node)
    return sum(
        len(
            webhook_events.emit(
                session,
                event,
                environment_id,
                held.now,
                {
                    "environment": _name(session, Environment, environment_id),
                    "count": len(own),
                    "nodes": [
                        {"nodeId": node.id, "name": node.name, "lastSeenAt": rfc3339(node.last_seen_at)}
                        for node in own[:NAMED]
                    ],
                },
            )
        )
        for environment_id, own in by_environment.items()
    )


def _name(session: Session, model: type[Environment] | type[Pipeline], own_id: str) -> str | None:
    return session.scalar(select(model.name).where(model.id == own_id))


def _outcome(counts: dict[str, int]) -> str:
    """In one word: the worst that happened."""
    if counts.get("FAILED"):
        return "failed"
    if counts.get("PENDING"):
        return "incomplete"
    return "superseded" if counts.get("SUPERSEDED") else "succeeded"


STEPS: tuple[Step, ...] = (
    finished_deployments,
    silent_nodes,
    nodes_back,
    failed_pipelines,
    failed_updates,
    deploy_requests.expire,
)
