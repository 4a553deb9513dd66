"""Which nodes of an environment a selector reaches, and which deployed pipelines reach a node.

The database decides it: of ten thousand nodes only those that match are read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import ColumnElement, and_, case, func, or_, select, true
from sqlalchemy.orm import Session

from app import selectors
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
    """For each selector the environment's nodes that match it, by id; ``None`` matches none.

    Not *with_maintenance*: without the nodes that run nothing just now.
    """

    def found(selector: selectors.Selector | None) -> list[Target]:
        if selector is None:
            return []
        query = select(Node.name, Node.id).where(*reached(environment, selector)).order_by(Node.id)
        if not with_maintenance:
            query = query.where(Node.maintenance_mode.is_(False))
        return [Target(name, node_id) for name, node_id in session.execute(query)]

    return [found(selector) for selector in wanted]


def reached(environment: Environment, selector: selectors.Selector) -> tuple[ColumnElement[bool], ...]:
    """What holds for exactly those nodes of the environment that *selector* matches and that were not revoked."""
    here = (Node.environment_id == environment.id, Node.revoked_at.is_(None))
    if not selector.requirements:
        return here
    return (*here, condition(selector.requirements, environment.selectable_agent_labels))


REQUIREMENTS_A_GROUP = 100
"""SQLite refuses an expression of a thousand levels, which a long chain of ANDs would be."""


def condition(
    requirements: Sequence[selectors.Requirement], allowed_agent_keys: Collection[str]
) -> ColumnElement[bool]:
    """``Selector.matches`` for the labels of ``assembly.selectable_labels``, as the database says it."""
    conditions = [_condition(requirement, allowed_agent_keys) for requirement in requirements]
    if len(conditions) <= REQUIREMENTS_A_GROUP:
        return and_(true(), *conditions)
    groups = [
        case((and_(*conditions[start : start + REQUIREMENTS_A_GROUP]), 1), else_=0) == 1
        for start in range(0, len(conditions), REQUIREMENTS_A_GROUP)
    ]
    return and_(*groups)


def _condition(
    requirement: selectors.Requirement, allowed_agent_keys: Collection[str]
) -> ColumnElement[bool]:
    key, operator = requirement.key, requirement.operator
    value: ColumnElement[str] = Node.operator_labels[key].as_string()
    if key in allowed_agent_keys:  # the operator's goes before the agent's own
        value = func.coalesce(value, Node.agent_labels[key].as_string())
    if operator is selectors.Operator.EXISTS:
        return value.is_not(None)
    if operator is selectors.Operator.ABSENT:
        return value.is_(None)
    values = sorted(requirement.values)
    if operator is selectors.Operator.IN:
        return value.in_(values)
    return or_(value.is_(None), value.not_in(values))
