"""Which versions of agent and Vector the fleet has: what it can be filtered by."""

from __future__ import annotations

from sqlalchemy import select

from app.database import snapshot
from app.models import Node

MOST = 100
"""Of each: a fleet has few, but an agent may call its version anything."""


def in_use() -> tuple[list[str], list[str]]:
    """The agents' versions and those of Vector, each as nodes have said them, in order."""
    agents, vectors = (
        select(column).where(column.is_not(None)).distinct().order_by(column).limit(MOST)
        for column in (Node.agent_version, Node.vector_version)
    )
    return snapshot(
        lambda session: (
            [str(version) for version in session.scalars(agents)],
            [str(version) for version in session.scalars(vectors)],
        )
    )
