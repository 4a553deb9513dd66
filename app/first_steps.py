"""The way from an empty server to a first deploy, and how far this one has come: read from what there is."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import exists, select

from app.database import snapshot
from app.models import Environment, Node, Pipeline, PipelineVersion
from app.principal import Within


@dataclass(frozen=True, slots=True)
class FirstSteps:
    """Which steps are done. One that is undone (its only node deleted, say) is to be done again."""

    environment: bool
    token: bool
    """Some environment has an enrollment token."""
    node: bool
    pipeline: bool
    deploy: bool
    """Some pipeline was deployed, whatever became of it."""
    pipeline_id: str | None
    """The newest pipeline."""
    environment_id: str | None
    """The newest environment."""

    @property
    def are_done(self) -> bool:
        """Whether nothing is left to do."""
        return self.environment and self.token and self.node and self.pipeline and self.deploy


def look(within: Within = None) -> FirstSteps:
    """How far these environments (``None``: this server) have come; costs the same at any size."""
    environments, nodes, pipelines = select(Environment.id), select(Node.id), select(Pipeline.id)
    versions = select(PipelineVersion.pipeline_id)
    if within is not None:
        environments = environments.where(Environment.id.in_(within))
        nodes = nodes.where(Node.environment_id.in_(within))
        pipelines = pipelines.where(Pipeline.environment_id.in_(within))
        versions = versions.where(PipelineVersion.pipeline_id.in_(pipelines))
    query = select(
        exists(environments),
        exists(environments.where(Environment.enrollment_digest.is_not(None))),
        exists(nodes),
        exists(pipelines),
        exists(versions),
        pipelines.order_by(Pipeline.id.desc()).limit(1).scalar_subquery(),
        environments.order_by(Environment.id.desc()).limit(1).scalar_subquery(),
    )
    environment, token, node, pipeline, deploy, pipeline_id, environment_id = snapshot(
        lambda session: session.execute(query).one()
    )
    return FirstSteps(
        bool(environment), bool(token), bool(node), bool(pipeline), bool(deploy), pipeline_id, environment_id
    )
