"""Deployments: one row for each deploy, undeploy and rollback, and one for each node it was to reach."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index, Integer, String, Text, column
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base
from app.models.columns import Id, Moment

_IS_OPEN = column("finished_at").is_(None)
_HAS_NODES_DUE = column("nodes_due").is_not(None)


class Deployment(Base):
    """An act of an operator: which pipeline, to which version (``None``: undeployed), by whom."""

    __tablename__ = "deployment"
    __table_args__ = (
        Index("ix_deployment_pipeline_id_id", "pipeline_id", "id"),
        Index("ix_deployment_open", "id", sqlite_where=_IS_OPEN, postgresql_where=_IS_OPEN),
        Index(
            "ix_deployment_nodes_due",
            "environment_id",
            sqlite_where=_HAS_NODES_DUE,
            postgresql_where=_HAS_NODES_DUE,
        ),
    )

    id: Mapped[Id] = mapped_column(primary_key=True)
    pipeline_id: Mapped[Id]
    environment_id: Mapped[Id]
    kind: Mapped[str] = mapped_column(String(10))
    """``deploy``, ``undeploy`` or ``rollback``."""
    version: Mapped[int | None] = mapped_column(Integer)
    targets: Mapped[int] = mapped_column(Integer)
    """How many nodes matched."""
    pushed: Mapped[int] = mapped_column(Integer, default=0)
    """Of those, how many nudges a worker with their socket took."""
    push_error: Mapped[str | None] = mapped_column(Text)
    created_by: Mapped[str] = mapped_column(String(253))
    created_at: Mapped[Moment]
    finished_at: Mapped[Moment | None]
    """When no node was still to come, or an hour had passed; noted by the watch (``app/watch.py``)."""
    nodes_due: Mapped[str | None] = mapped_column(Text, deferred=True)
    """The ids, with commas between them, of the nodes whose rows are still to be made: a deploy commits these, tells
    the nodes, and only then makes ten thousand rows (``deployments.make_due``). ``None`` once they are there."""


class DeploymentNode(Base):
    """How far one deployment has come on one node."""

    __tablename__ = "deployment_node"
    __table_args__ = (Index("ix_deployment_node_node_id", "node_id", "deployment_id"),)

    deployment_id: Mapped[Id] = mapped_column(
        ForeignKey("deployment.id", ondelete="CASCADE"), primary_key=True
    )
    node_id: Mapped[Id] = mapped_column(ForeignKey("node.id", ondelete="CASCADE"), primary_key=True)
    nudged_at: Mapped[Moment | None]
    """When a worker had written the nudge to the node's socket."""
    fetched_at: Mapped[Moment | None]
    running_at: Mapped[Moment | None]
    """When a heartbeat first said that the version runs (or, undeployed, that it no longer does)."""
    status: Mapped[str] = mapped_column(String(10), default="PENDING")
    """``PENDING``; ``RUNNING``, or ``STOPPED`` for an undeploy; ``FAILED``; ``SUPERSEDED`` by a later one."""
    error: Mapped[str | None] = mapped_column(Text)
