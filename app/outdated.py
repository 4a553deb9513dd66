"""Which rows go when history is kept for so long: selects of their keys, for whoever deletes or only counts them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, Select, Text, and_, cast, func, literal, or_, select
from sqlalchemy.orm import aliased

from app.ids import first_id_at
from app.metrics_points import POINTS_A_BLOCK
from app.models import (
    AccountSession,
    Alert,
    ApiToken,
    ChannelSpan,
    Deployment,
    DeploymentNode,
    DeployRequest,
    MetricsBlock,
    Node,
    NodePipeline,
    Pipeline,
    PipelineVersion,
    SampleRequest,
    WebhookDelivery,
)

SEEN = func.coalesce(Node.last_seen_at, Node.enrolled_at)
"""When a node was heard of last."""


def blocks(level: int, before: float) -> Select[str, int]:
    """Blocks of metrics of *level* whose last point is older than *before* (seconds since 1970): node and start."""
    span = level * POINTS_A_BLOCK[level]
    return select(MetricsBlock.node_id, MetricsBlock.start).where(
        MetricsBlock.level == level,
        MetricsBlock.start <= before - span,
        MetricsBlock.is_rolled_up.is_(True),
    )


def logs(before: datetime) -> Select[str, str]:
    """Pipelines on nodes whose lines were reported before *before*: node and pipeline."""
    return select(NodePipeline.node_id, NodePipeline.pipeline_id).where(
        # JSON's null and an empty list are at most four characters.
        NodePipeline.reported_at < before,
        func.length(cast(NodePipeline.recent_logs, Text)) > 4,
    )


def samples(before: datetime) -> Select[str]:
    """Requests of samples from before *before*."""
    return select(SampleRequest.id).where(SampleRequest.id < first_id_at(before))


def deployments(before: datetime) -> Select[str]:
    """Deployments from before *before*, other than the last one of each pipeline."""
    later = aliased(Deployment)
    is_last = (
        ~select(literal(1))
        .where(later.pipeline_id == Deployment.pipeline_id, later.id > Deployment.id)
        .exists()
    )
    return select(Deployment.id).where(Deployment.id < first_id_at(before), ~is_last)


def versions(kept: int) -> Select[str, int]:
    """Versions beyond the newest *kept*, unless one is deployed, runs or last ran well: pipeline and version."""
    newest = (
        select(PipelineVersion.pipeline_id, func.max(PipelineVersion.version).label("version"))
        .group_by(PipelineVersion.pipeline_id)
        .subquery()
    )
    runs = select(literal(1)).where(
        NodePipeline.pipeline_id == PipelineVersion.pipeline_id,
        or_(
            NodePipeline.version == PipelineVersion.version,
            NodePipeline.failed_version == PipelineVersion.version,
        ),
    )
    return (
        select(PipelineVersion.pipeline_id, PipelineVersion.version)
        .join(newest, newest.c.pipeline_id == PipelineVersion.pipeline_id)
        .join(Pipeline, Pipeline.id == PipelineVersion.pipeline_id)
        .where(
            PipelineVersion.version <= newest.c.version - kept,
            or_(
                Pipeline.wanted_version.is_(None),
                Pipeline.wanted_version != PipelineVersion.version,
            ),
            ~runs.exists(),
            PipelineVersion.version != _last_good(),
        )
    )


def _last_good() -> ColumnElement[int]:
    """The version that ran on some node by the latest deployment before the one that counts now; -1: none."""
    good = aliased(Deployment)
    ran = (
        select(literal(1))
        .where(DeploymentNode.deployment_id == good.id, DeploymentNode.running_at.is_not(None))
        .exists()
    )
    version = (
        select(func.max(good.version))
        .where(
            good.pipeline_id == PipelineVersion.pipeline_id,
            or_(Pipeline.wanted_version.is_(None), good.version < Pipeline.wanted_version),
            ran,
        )
        .correlate(PipelineVersion, Pipeline)
        .scalar_subquery()
    )
    return func.coalesce(version, -1)


def channels(before: datetime) -> Select[str]:
    """Push channels that ended before *before*."""
    return select(ChannelSpan.id).where(ChannelSpan.ended_at < before)


def webhook_deliveries(before: datetime) -> Select[str]:
    """What was sent to webhooks, or could not be, and is from before *before*; what waits stays."""
    return select(WebhookDelivery.id).where(
        WebhookDelivery.id < first_id_at(before), WebhookDelivery.status != "PENDING"
    )


def sessions(idle_before: datetime | None = None, begun_before: datetime | None = None) -> Select[str]:
    """Sessions of people that were last used before the one moment, or began before the other."""
    conditions = []
    if idle_before is not None:
        conditions.append(AccountSession.last_seen_at < idle_before)
    if begun_before is not None:
        conditions.append(AccountSession.created_at < begun_before)
    return select(AccountSession.id).where(or_(*conditions))


def alerts(before: datetime) -> Select[str]:
    """Alerts that were resolved before *before*."""
    return select(Alert.id).where(
        Alert.state == "RESOLVED", Alert.id < first_id_at(before), Alert.resolved_at < before
    )


def deploy_requests(before: datetime) -> Select[str]:
    """Requests to deploy that were made and have ended before *before*; open ones stay."""
    return select(DeployRequest.id).where(
        DeployRequest.id < first_id_at(before), DeployRequest.state != "open"
    )


def api_tokens(before: datetime) -> Select[str]:
    """API tokens that were revoked, or have expired, before *before*."""
    return select(ApiToken.id).where(
        or_(
            ApiToken.revoked_at < before,
            and_(ApiToken.revoked_at.is_(None), ApiToken.expires_at < before),
        )
    )


def nodes(before: datetime) -> Select[str]:
    """Nodes that were last heard of before *before*, connected or not."""
    return select(Node.id).where(before > SEEN)
