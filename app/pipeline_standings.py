"""How the nodes of some pipelines stand, in numbers, and what goes through them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, case, func, or_, select
from sqlalchemy.orm import Session

from app.models import Deployment, DeploymentNode, Node, NodePipeline, Pipeline
from app.node_status import FAILED_STATUSES


@dataclass(frozen=True, slots=True)
class PipelineStanding:
    """Nodes that are not revoked, each counted once, and the events a second of those heard of lately."""

    running: int = 0
    """Run the wanted version."""
    failed: int = 0
    """It has died there, or could not be brought to the wanted version."""
    behind: int = 0
    """Run another version or none yet, without having failed; those told of the last deploy are among them."""
    events_in: float | None = None
    events_out: float | None = None

    @property
    def nodes(self) -> int:
        """All of them."""
        return self.running + self.failed + self.behind


def of_pipelines(
    session: Session, pipeline_ids: Sequence[str], heard_since: datetime
) -> dict[str, PipelineStanding]:
    """By pipeline; rates are those reported after *heard_since*."""
    failed = or_(NodePipeline.status.in_(FAILED_STATUSES), NodePipeline.failed_version.is_not(None))
    runs = and_(NodePipeline.status == "RUNNING", NodePipeline.version == Pipeline.wanted_version)
    is_fresh = NodePipeline.reported_at >= heard_since
    reported = session.execute(
        select(
            NodePipeline.pipeline_id,
            func.sum(case((failed, 0), (runs, 1), else_=0)),
            func.sum(case((failed, 1), else_=0)),
            func.count(),
            func.sum(case((is_fresh, NodePipeline.events_in_rate))),
            func.sum(case((is_fresh, NodePipeline.events_out_rate))),
        )
        .join(Pipeline, Pipeline.id == NodePipeline.pipeline_id)
        .join(Node, Node.id == NodePipeline.node_id)
        .where(NodePipeline.pipeline_id.in_(pipeline_ids), Node.revoked_at.is_(None))
        .group_by(NodePipeline.pipeline_id)
    )
    silent = _silent(session, pipeline_ids)
    standings = {
        pipeline_id: PipelineStanding(
            running, failures, count - running - failures + silent.pop(pipeline_id, 0), events_in, events_out
        )
        for pipeline_id, running, failures, count, events_in, events_out in reported
    }
    return standings | {key: PipelineStanding(behind=count) for key, count in silent.items()}


def _silent(session: Session, pipeline_ids: Sequence[str]) -> dict[str, int]:
    """Nodes of the last deployments that have not said anything of the pipeline."""
    latest = (
        select(func.max(Deployment.id))
        .where(Deployment.pipeline_id.in_(pipeline_ids))
        .group_by(Deployment.pipeline_id)
    )
    rows = session.execute(
        select(Deployment.pipeline_id, func.count())
        .join(DeploymentNode, DeploymentNode.deployment_id == Deployment.id)
        .join(Node, Node.id == DeploymentNode.node_id)
        .outerjoin(
            NodePipeline,
            (NodePipeline.node_id == DeploymentNode.node_id)
            & (NodePipeline.pipeline_id == Deployment.pipeline_id),
        )
        .where(
            Deployment.id.in_(latest),
            Deployment.kind != "undeploy",
            DeploymentNode.status == "PENDING",
            Node.revoked_at.is_(None),
            NodePipeline.node_id.is_(None),
        )
        .group_by(Deployment.pipeline_id)
    )
    return dict(iter(rows))
