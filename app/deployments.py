"""How far a deployment has come: nudged, fetched, running, per node."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    FromClause,
    Select,
    bindparam,
    func,
    literal_column,
    select,
    text,
    update,
)
from sqlalchemy.orm import Session

from app.clock import rfc3339
from app.database import db, snapshot, transaction
from app.errors import NotFoundError
from app.heartbeat_body import ReportedPipeline
from app.ids import is_id
from app.many_ids import is_there
from app.models import Deployment, DeploymentNode, Node, Pipeline
from app.paging import decode_cursor, encode_cursor

OVERTAKEN_AT_ONCE = 3
NODES_A_STEP = 500
"""So many rows are written in one transaction where nobody waits for them."""


def report(deployment_id: str, limit: int = 100, cursor: str | None = None) -> dict[str, Any]:
    """The deployment and one page of its nodes, as ``GET /api/v1/deployments/{id}`` answers it.

    :raises NotFoundError: there is no such deployment.
    """
    deployment = db.session.get(Deployment, deployment_id)
    if deployment is None:
        raise NotFoundError("There is no such deployment.")
    last = decode_cursor(cursor, 1)[0] if cursor is not None else ""
    times = db.session.execute(
        select(DeploymentNode.nudged_at, DeploymentNode.fetched_at, DeploymentNode.running_at).where(
            DeploymentNode.deployment_id == deployment_id, DeploymentNode.nudged_at.is_not(None)
        )
    ).all()
    query = (
        select(DeploymentNode)
        .where(DeploymentNode.deployment_id == deployment_id, DeploymentNode.node_id > last)
        .order_by(DeploymentNode.node_id)
        .limit(limit + 1)
    )
    nodes = db.session.scalars(query).all()
    return {
        "id": deployment.id,
        "pipelineId": deployment.pipeline_id,
        "version": deployment.version,
        "createdAt": rfc3339(deployment.created_at),
        "targets": deployment.targets,
        "pushed": deployment.pushed,
        "nudgedToFetchedMs": _percentiles((nudged, fetched) for nudged, fetched, _ in times),
        "nudgedToRunningMs": _percentiles((nudged, running) for nudged, _, running in times),
        "nodes": {
            "items": [
                {
                    "nodeId": node.node_id,
                    "nudgedAt": rfc3339(node.nudged_at),
                    "fetchedAt": rfc3339(node.fetched_at),
                    "runningAt": rfc3339(node.running_at),
                    "status": node.status,
                    "error": node.error,
                }
                for node in nodes[:limit]
            ],
            "nextCursor": encode_cursor(nodes[limit - 1].node_id) if len(nodes) > limit else None,
        },
    }


def environment_of(deployment_id: str) -> str:
    """The id of the environment in which it happened.

    :raises NotFoundError: there is no such deployment.
    """
    query = select(Deployment.environment_id).where(Deployment.id == deployment_id)
    environment_id = snapshot(lambda session: session.scalar(query)) if is_id(deployment_id) else None
    if environment_id is None:
        raise NotFoundError("There is no such deployment.")
    return environment_id


def lock_in_order(session: Session, *where: ColumnElement[bool]) -> None:
    """Lock the rows of ``deployment_node`` that are about to be written, by node and then by deployment.

    Nudges, fetches, heartbeats and deploys write the same rows. All of them take them in this order: PostgreSQL
    would find a ring of waiting transactions only after a second, and fail one of them.
    """
    rows = (
        select(DeploymentNode.node_id)
        .where(*where)
        .order_by(DeploymentNode.node_id, DeploymentNode.deployment_id)
        .with_for_update(key_share=True)
        .subquery()
    )
    session.scalar(select(func.count()).select_from(rows))


def reached_ids(session: Session, where: Sequence[ColumnElement[bool]]) -> list[str]:
    """The ids, in order, of the nodes that *where* holds for; one row, of ten thousand nodes as well as of one."""
    found = session.scalar(select(func.aggregate_strings(Node.id, ",")).where(*where))
    return sorted(found.split(",")) if found else []


def make_due(session: Session, *where: ColumnElement[bool]) -> None:
    """Make the rows that deployments, those for which *where* holds, still owe their nodes (ADR 29).

    Whoever deploys does it once the nodes are told. Whoever would write such a row does it first, so that nothing
    is lost that a node has done before it is there, or because the server died that was to make it.
    """
    due = (
        select(Deployment.id)
        .where(Deployment.nodes_due.is_not(None), *where)
        .order_by(Deployment.id)
        .with_for_update(key_share=True)
    )
    for deployment_id in session.scalars(due).all():
        session.execute(text(_MAKE[session.get_bind().dialect.name]), {"id": deployment_id})
        session.execute(update(Deployment).where(Deployment.id == deployment_id).values(nodes_due=None))


def ensure_made(*where: ColumnElement[bool]) -> None:
    """As ``make_due``, in a transaction of its own if there is anything to be made."""
    is_due = select(Deployment.id).where(Deployment.nodes_due.is_not(None), *where).limit(1)
    if snapshot(lambda session: session.scalar(is_due)) is not None:
        transaction(lambda session: make_due(session, *where))


_MAKE = {
    "sqlite": """
        INSERT INTO deployment_node (deployment_id, node_id, status)
        SELECT deployment.id, node.id, 'PENDING'
        FROM deployment, json_each('["' || replace(deployment.nodes_due, ',', '","') || '"]') AS due
        JOIN node ON node.id = due.value AND node.environment_id = deployment.environment_id
        WHERE deployment.id = :id ORDER BY node.id""",
    "postgresql": """
        INSERT INTO deployment_node (deployment_id, node_id, status)
        SELECT deployment.id, node.id, 'PENDING'
        FROM deployment CROSS JOIN LATERAL unnest(string_to_array(deployment.nodes_due, ',')) AS due (id)
        JOIN node ON node.id = due.id AND node.environment_id = deployment.environment_id
        WHERE deployment.id = :id ORDER BY node.id FOR KEY SHARE OF node""",
}
"""A node that has gone since, or has moved to another environment, is waited for no more. One that is just about to
is waited for here, and looked at again: the foreign key would only find that it is gone, and fail."""


def has_due(environment_id: ColumnElement[str], around: FromClause) -> ColumnElement[bool]:
    """Whether a deployment in *environment_id*, in a query of the table *around*, still owes nodes their rows."""
    return is_there(
        select(Deployment.id).where(
            Deployment.environment_id == environment_id, Deployment.nodes_due.is_not(None)
        ),
        around,
    )


def latest_of(pipeline_id: str) -> Select[str]:
    """A query of the pipeline's latest deployments, with commas between them: nodes wait on behalf of none older.

    One would be enough, were it not for servers that have died before they came to ``overtake``.
    """
    query = select(Deployment.id).where(Deployment.pipeline_id == pipeline_id)
    latest = query.order_by(Deployment.id.desc()).limit(OVERTAKEN_AT_ONCE).subquery()
    return select(func.aggregate_strings(latest.c.id, ","))


def overtake(deployment_ids: Sequence[str]) -> None:
    """Wait for no node any more on behalf of these: their pipeline has a newer deployment.

    It is done once everybody has been told, and in steps between which others get on: for ten thousand nodes it
    takes as long as telling them.
    """
    still_waiting = (
        select(DeploymentNode.node_id)
        .where(DeploymentNode.deployment_id == Deployment.id, DeploymentNode.status == "PENDING")
        .exists()
    )
    is_due = Deployment.nodes_due.is_not(None)
    concerned = select(Deployment.id).where(Deployment.id.in_(deployment_ids), still_waiting | is_due)
    for deployment_id in snapshot(lambda session: session.scalars(concerned).all()):
        last: str | None = ""
        while last is not None:
            last = transaction(partial(_overtake_some, deployment_id, last))
            time.sleep(0)


def _overtake_some(deployment_id: str, after: str, session: Session) -> str | None:
    """Of the nodes behind the id *after* the first that are waited for; the last one's id if there may be more."""
    make_due(session, Deployment.id == deployment_id)
    pending = (DeploymentNode.deployment_id == deployment_id, DeploymentNode.status == "PENDING")
    chosen = select(DeploymentNode.node_id).where(*pending, DeploymentNode.node_id > after)
    first = chosen.order_by(DeploymentNode.node_id).limit(NODES_A_STEP).with_for_update(key_share=True)
    node_ids = session.scalars(first).all()
    if node_ids:
        within = DeploymentNode.node_id.between(node_ids[0], node_ids[-1])
        statement = update(DeploymentNode).where(*pending, within).values(status="SUPERSEDED")
        session.connection().execute(statement)
    return node_ids[-1] if len(node_ids) == NODES_A_STEP else None


def record_nudged(written: Sequence[tuple[str, str, datetime]]) -> None:
    """Note when nudges were written to their sockets; *written* holds (deployment id, node id, when).

    In the order of nodes, see ``lock_in_order``; in steps between which the worker serves its sockets.
    """
    ensure_made(Deployment.id.in_({deployment_id for deployment_id, _, _ in written}))
    ordered = sorted(written, key=lambda item: (item[1], item[0]))
    for start in range(0, len(ordered), NODES_A_STEP):
        told = json.dumps(
            [
                (deployment_id, node_id, when.astimezone(UTC).strftime(MOMENT))
                for deployment_id, node_id, when in ordered[start : start + NODES_A_STEP]
            ]
        )
        transaction(partial(_record_nudged, told))
        time.sleep(0)


MOMENT = "%Y-%m-%d %H:%M:%S.%f"
"""In UTC; as SQLAlchemy writes it in SQLite."""
_TOLD = {
    "sqlite": """
        UPDATE deployment_node SET nudged_at = told.at
        FROM (SELECT json_extract(value, '$[0]') AS deployment_id, json_extract(value, '$[1]') AS node_id,
                     json_extract(value, '$[2]') AS at
              FROM json_each(:told)) AS told
        WHERE deployment_node.deployment_id = told.deployment_id AND deployment_node.node_id = told.node_id
          AND deployment_node.nudged_at IS NULL""",
    "postgresql": """
        WITH told AS (
            SELECT value->>0 AS deployment_id, value->>1 AS node_id,
                   CAST(value->>2 || '+00' AS timestamptz) AS at
            FROM jsonb_array_elements(CAST(:told AS jsonb))
        ), held AS (
            SELECT node.deployment_id, node.node_id, told.at
            FROM told JOIN deployment_node AS node USING (deployment_id, node_id)
            WHERE node.nudged_at IS NULL
            ORDER BY node.node_id, node.deployment_id FOR NO KEY UPDATE OF node
        )
        UPDATE deployment_node SET nudged_at = held.at FROM held
        WHERE deployment_node.deployment_id = held.deployment_id AND deployment_node.node_id = held.node_id""",
}
"""One statement for hundreds of moments: one for each would be as much work as all the rest of a fan-out."""


def _record_nudged(told: str, session: Session) -> None:
    session.execute(text(_TOLD[session.get_bind().dialect.name]), {"told": told})


# What failed may still come right (the agent tries again), as long as it is what is wanted.
_IS_OPEN = (DeploymentNode.status == "PENDING") | (
    (DeploymentNode.status == "FAILED") & (Pipeline.wanted_version == Deployment.version)
)
_OPEN = (
    select(DeploymentNode.node_id, DeploymentNode.deployment_id)
    .join(Deployment, Deployment.id == DeploymentNode.deployment_id)
    .outerjoin(Pipeline, Pipeline.id == Deployment.pipeline_id)
    .where(DeploymentNode.node_id.in_(bindparam("node_ids", expanding=True)), _IS_OPEN)
)


def has_open() -> ColumnElement[bool]:
    """Whether a node, in a query of nodes, may have open deployments; ``lock_open`` knows which are."""
    # Written as text: PostgreSQL uses a partial index only for a condition that it sees.
    is_open = literal_column("deployment_node.status IN ('PENDING', 'FAILED')", Boolean())
    has_row = is_there(
        select(DeploymentNode.node_id).where(DeploymentNode.node_id == Node.id, is_open), Node.__table__
    )
    return has_row | has_due(Node.__table__.c.environment_id, Node.__table__)


def lock_open(session: Session, node_ids: Sequence[str]) -> set[str]:
    """Those of the nodes that have open deployments, whose rows are locked in order, for ``settle``."""
    here = select(Node.environment_id).where(Node.id.in_(node_ids))
    make_due(session, Deployment.environment_id.in_(here))
    found = session.execute(_OPEN, {"node_ids": node_ids}).all()
    concerned = {row.node_id for row in found}
    if found:
        ids = {row.deployment_id for row in found}
        lock_in_order(session, DeploymentNode.node_id.in_(concerned), DeploymentNode.deployment_id.in_(ids))
    return concerned


def settle(session: Session, node_id: str, reported: Mapping[str, ReportedPipeline], now: datetime) -> None:
    """Compare the node's open deployments with what a heartbeat *reported*, in the heartbeat's transaction."""
    open_nodes = session.execute(
        select(DeploymentNode, Deployment)
        .join(Deployment, Deployment.id == DeploymentNode.deployment_id)
        .outerjoin(Pipeline, Pipeline.id == Deployment.pipeline_id)
        .where(DeploymentNode.node_id == node_id, _IS_OPEN)
        .order_by(Deployment.id.desc())
        .limit(100)
    ).all()
    for node, deployment in open_nodes:
        pipeline = reported.get(deployment.pipeline_id)
        if deployment.version is None:
            if pipeline is None or pipeline.status == "STOPPED":
                node.status, node.running_at = "STOPPED", now
        elif pipeline is None:
            continue
        elif pipeline.version == deployment.version and pipeline.status == "RUNNING":
            node.status, node.running_at, node.error = "RUNNING", now, None
        elif deployment.version in (pipeline.failed_version, _crashed_version(pipeline)):
            node.status, node.error = "FAILED", pipeline.error


def _crashed_version(pipeline: ReportedPipeline) -> int | None:
    return pipeline.version if pipeline.status in ("FAILED", "CRASHED", "CRASH_LOOP") else None


def _percentiles(pairs: Iterable[tuple[datetime | None, datetime | None]]) -> dict[str, float | None]:
    """Median and 99th percentile (nearest rank) of the milliseconds between the two moments of each pair."""
    spans = sorted(
        max(0.0, (end - start).total_seconds() * 1000)
        for start, end in pairs
        if start is not None and end is not None
    )

    def rank(share: float) -> float | None:
        return round(spans[max(0, math.ceil(share * len(spans)) - 1)]) if spans else None

    return {"p50": rank(0.5), "p99": rank(0.99)}
