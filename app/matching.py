"""Which nodes of an environment a selector reaches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import assembly, selectors
from app.models import Environment, Node


class Target(NamedTuple):
    """A node that a deploy would reach."""

    name: str
    node_id: str


def matching(
    session: Session, environment: Environment, wanted: Iterable[selectors.Selector | None]
) -> list[list[Target]]:
    """For each selector the environment's nodes that match it; ``None`` matches none."""
    rows = session.execute(
        select(Node.name, Node.id, Node.operator_labels, Node.agent_labels)
        .where(Node.environment_id == environment.id, Node.revoked_at.is_(None))
        .order_by(Node.id)
    ).all()
    allowed = environment.selectable_agent_labels
    labels = [
        (Target(name, node_id), assembly.selectable_labels(operator, agent, allowed))
        for name, node_id, operator, agent in rows
    ]
    return [
        [target for target, own in labels if selector is not None and selector.matches(own)]
        for selector in wanted
    ]
