"""The way from an empty server to a first deploy, and how far this one has come: read from what there is."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import exists, select

from app.database import snapshot
from app.models import Environment, Node, Pipeline, PipelineVersion


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


def look() -> FirstSteps:
    """How far this server has come; costs the same at any size."""
    newest = select(Pipeline.id).order_by(Pipeline.id.desc()).limit(1).scalar_subquery()
    newest_environment = select(Environment.id).order_by(Environment.id.desc()).limit(1).scalar_subquery()
    query = select(
        exists(select(Environment.id)),
        exists(select(Environment.id).where(Environment.enrollment_digest.is_not(None))),
        exists(select(Node.id)),
        exists(select(Pipeline.id)),
        exists(select(PipelineVersion.pipeline_id)),
        newest,
        newest_environment,
    )
    environment, token, node, pipeline, deploy, pipeline_id, environment_id = snapshot(
        lambda session: session.execute(query).one()
    )
    return FirstSteps(
        bool(environment), bool(token), bool(node), bool(pipeline), bool(deploy), pipeline_id, environment_id
    )
