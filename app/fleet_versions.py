"""Which versions of agent and Vector the fleet has: what it can be filtered by."""

from __future__ import annotations

from sqlalchemy import select

from app.database import snapshot
from app.models import Node
from app.principal import Within

MOST = 100
"""Of each: a fleet has few, but an agent may call its version anything."""


def in_use(within: Within = None) -> tuple[list[str], list[str]]:
    """The agents' versions and those of Vector, each as nodes *within* have said them, in order."""
    inside = [Node.environment_id.in_(within)] if within is not None else []
    agents, vectors = (
        select(column).where(column.is_not(None), *inside).distinct().order_by(column).limit(MOST)
        for column in (Node.agent_version, Node.vector_version)
    )
    return snapshot(
        lambda session: (
            [str(version) for version in session.scalars(agents)],
            [str(version) for version in session.scalars(vectors)],
        )
    )
