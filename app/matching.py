"""Which nodes of an environment a selector reaches, and which deployed pipelines reach a node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import assembly, selectors
from app.models import Environment, Node, Pipeline, PipelineVersion


class Target(NamedTuple):
    """A node that a deploy would reach."""

    name: str
    node_id: str


@dataclass(frozen=True, slots=True)
class Deployed:
    """The selectors of an environment's deployed pipelines, by the pipelines' ids."""

    selectors: Mapping[str, selectors.Selector]

    @classmethod
    def of(cls, session: Session, environment_id: str) -> Deployed:
        """As they are deployed, whatever the drafts say."""
        rows = session.execute(
            select(Pipeline.id, PipelineVersion.node_selector)
            .join(PipelineVersion, PipelineVersion.pipeline_id == Pipeline.id)
            .where(
                Pipeline.environment_id == environment_id, PipelineVersion.version == Pipeline.wanted_version
            )
        )
        return cls({pipeline_id: selectors.parse(text) for pipeline_id, text in rows})

    def reaching(self, labels: Mapping[str, str], maintenance: bool = False) -> set[str]:
        """The pipelines that a node with *labels* (see ``assembly.selectable_labels``) must run."""
        if maintenance:
            return set()
        return {key for key, selector in self.selectors.items() if selector.matches(labels)}


def deployed_selector(session: Session, pipeline: Pipeline) -> selectors.Selector | None:
    if pipeline.wanted_version is None:
        return None
    text = session.scalar(
        select(PipelineVersion.node_selector).where(
            PipelineVersion.pipeline_id == pipeline.id, PipelineVersion.version == pipeline.wanted_version
        )
    )
    return selectors.parse(text or "")


def matching(
    session: Session,
    environment: Environment,
    wanted: Iterable[selectors.Selector | None],
    *,
    with_maintenance: bool = True,
) -> list[list[Target]]:
    """For each selector the environment's nodes that match it; ``None`` matches none.

    Not *with_maintenance*: without the nodes that run nothing just now.
    """
    query = (
        select(Node.name, Node.id, Node.operator_labels, Node.agent_labels)
        .where(Node.environment_id == environment.id, Node.revoked_at.is_(None))
        .order_by(Node.id)
    )
    if not with_maintenance:
        query = query.where(Node.maintenance_mode.is_(False))
    rows = session.execute(query).all()
    allowed = environment.selectable_agent_labels
    labels = [
        (Target(name, node_id), assembly.selectable_labels(operator, agent, allowed))
        for name, node_id, operator, agent in rows
    ]
    return [
        [target for target, own in labels if selector is not None and selector.matches(own)]
        for selector in wanted
    ]
