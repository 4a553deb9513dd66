"""How the latest deployment of a pipeline stands, for people: who has it, who has not, and why."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import and_, case, func, select
from sqlalchemy.orm import Session

from app.clock import utc_now
from app.database import snapshot
from app.models import Deployment, DeploymentNode, Node, NodePipeline

MAX_NODES = 100
SILENT_AFTER = timedelta(minutes=5)
"""After this a node that has not said what became of a deployment is one that somebody should look at."""


@dataclass(frozen=True)
class NodeProgress:
    """One node's part in a deployment."""

    node_id: str
    name: str
    status: str
    """``PENDING``, ``RUNNING``, ``STOPPED``, ``FAILED`` or ``SUPERSEDED``."""
    nudged_at: datetime | None
    fetched_at: datetime | None
    running_at: datetime | None
    error: str | None
    is_on_previous: bool
    """It failed, and the node runs what it ran before."""


@dataclass(frozen=True)
class Progress:
    """A deployment and at most ``MAX_NODES`` of its nodes, those first that somebody should look at."""

    deployment_id: str
    kind: str
    """``deploy``, ``undeploy`` or ``rollback``."""
    version: int | None
    created_by: str
    created_at: datetime
    targets: int
    pushed: int
    push_error: str | None
    counts: dict[str, int]
    """Nodes by status."""
    nodes: tuple[NodeProgress, ...]

    @property
    def done(self) -> int:
        """How many nodes run it (or, undeployed, no longer do)."""
        return self.counts.get("RUNNING", 0) + self.counts.get("STOPPED", 0)

    @property
    def failed(self) -> int:
        """How many nodes have tried and failed."""
        return self.counts.get("FAILED", 0)

    @property
    def is_overdue(self) -> bool:
        """Whether who has not answered yet should have."""
        return utc_now() > self.created_at + SILENT_AFTER

    @property
    def silent(self) -> int:
        """How many nodes have not said what became of it although they should have."""
        return self.counts.get("PENDING", 0) if self.is_overdue else 0

    @property
    def under_way(self) -> int:
        """How many nodes have yet to say so."""
        return self.counts.get("PENDING", 0) - self.silent

    @property
    def superseded(self) -> int:
        """How many nodes were told of a later deployment before they had an outcome."""
        return self.counts.get("SUPERSEDED", 0)


def latest(pipeline_id: str) -> Progress | None:
    """The pipeline's latest deployment, ``None`` before the first."""
    return snapshot(lambda session: _latest(session, pipeline_id))


def count_reporting(pipeline_id: str) -> int:
    """How many nodes say that they have the pipeline, whatever its state there."""
    query = select(func.count()).where(NodePipeline.pipeline_id == pipeline_id)
    return snapshot(lambda session: session.scalar(query)) or 0


def _latest(session: Session, pipeline_id: str) -> Progress | None:
    found = session.execute(
        select(Deployment, Deployment.nodes_due.is_not(None))
        .where(Deployment.pipeline_id == pipeline_id)
        .order_by(Deployment.id.desc())
        .limit(1)
    ).first()
    if found is None:
        return None
    deployment, is_due = found
    rows = session.execute(
        select(DeploymentNode.status, func.count())
        .where(DeploymentNode.deployment_id == deployment.id)
        .group_by(DeploymentNode.status)
    )
    # Before the nodes have rows all of them are waited for.
    counts: dict[str, int] = dict(iter(rows)) or ({"PENDING": deployment.targets} if is_due else {})
    urgency = case((DeploymentNode.status == "FAILED", 0), (DeploymentNode.status == "PENDING", 1), else_=2)
    nodes = session.execute(
        select(
            DeploymentNode.node_id,
            Node.name,
            DeploymentNode.status,
            DeploymentNode.nudged_at,
            DeploymentNode.fetched_at,
            DeploymentNode.running_at,
            DeploymentNode.error,
            and_(DeploymentNode.status == "FAILED", func.coalesce(NodePipeline.status, "") == "RUNNING"),
        )
        .join(Node, Node.id == DeploymentNode.node_id)
        .outerjoin(
            NodePipeline,
            (NodePipeline.node_id == DeploymentNode.node_id)
            & (NodePipeline.pipeline_id == deployment.pipeline_id),
        )
        .where(DeploymentNode.deployment_id == deployment.id)
        .order_by(urgency, Node.name, Node.id)
        .limit(MAX_NODES)
    )
    return Progress(
        deployment_id=deployment.id,
        kind=deployment.kind,
        version=deployment.version,
        created_by=deployment.created_by,
        created_at=deployment.created_at,
        targets=deployment.targets,
        pushed=deployment.pushed,
        push_error=deployment.push_error,
        counts=counts,
        nodes=tuple(NodeProgress(*row) for row in nodes),
    )
