"""Actions: what a node is asked to do once, and those that were asked of many nodes together."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index, Integer, String, Text, and_, column
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base
from app.models.columns import Id, Moment

_IS_OPEN = column("status").in_(("PENDING", "DELIVERED"))
_IS_OPEN_UPDATE = and_(column("type") == "self_update", _IS_OPEN)


class ActionBatch(Base):
    """One action asked of many nodes of an environment, released wave by wave."""

    __tablename__ = "action_batch"
    __table_args__ = (Index("ix_action_batch_environment_id_id", "environment_id", "id"),)

    id: Mapped[Id] = mapped_column(primary_key=True)
    environment_id: Mapped[Id] = mapped_column(ForeignKey("environment.id", ondelete="CASCADE"))
    type: Mapped[str] = mapped_column(String(20))
    pipeline_id: Mapped[Id | None]
    target_version: Mapped[str | None] = mapped_column(String(100))
    waves: Mapped[int] = mapped_column(Integer)
    wave: Mapped[int] = mapped_column(Integer)
    """The latest that was released, from 1."""
    max_failures: Mapped[int] = mapped_column(Integer)
    """So many nodes of one wave may fail or stay silent without holding the next one back."""
    halted_at: Mapped[Moment | None]
    created_by: Mapped[str] = mapped_column(String(253))
    created_at: Mapped[Moment]


class NodeAction(Base):
    """What one node is asked to do once."""

    __tablename__ = "node_action"
    __table_args__ = (
        Index("ix_node_action_node_id_id", "node_id", "id"),
        Index("ix_node_action_batch_id_wave", "batch_id", "wave"),
        # Nearly all rows are history: what the agents' every request and the sweep ask is answered from few.
        Index("ix_node_action_open", "node_id", "id", sqlite_where=_IS_OPEN, postgresql_where=_IS_OPEN),
        Index(
            "uq_node_action_open_update",
            "node_id",
            unique=True,
            sqlite_where=_IS_OPEN_UPDATE,
            postgresql_where=_IS_OPEN_UPDATE,
        ),
    )

    id: Mapped[Id] = mapped_column(primary_key=True)
    node_id: Mapped[Id] = mapped_column(ForeignKey("node.id", ondelete="CASCADE"))
    batch_id: Mapped[Id | None] = mapped_column(ForeignKey("action_batch.id", ondelete="CASCADE"))
    wave: Mapped[int] = mapped_column(Integer, default=1)
    type: Mapped[str] = mapped_column(String(20))
    """``restart`` or ``self_update``."""
    pipeline_id: Mapped[Id | None]
    """Of a restart: which pipeline; ``None``: the whole agent."""
    target_version: Mapped[str | None] = mapped_column(String(100))
    download_url: Mapped[str | None] = mapped_column(String(2000))
    checksum: Mapped[str | None] = mapped_column(String(71))
    signature: Mapped[str | None] = mapped_column(String(1000))
    status: Mapped[str] = mapped_column(String(10), default="PENDING")
    """As written; one that is open and overdue counts as ``EXPIRED`` before that is written."""
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    """How often it was handed to the node."""
    error: Mapped[str | None] = mapped_column(Text)
    created_by: Mapped[str] = mapped_column(String(253))
    created_at: Mapped[Moment]
    expires_at: Mapped[Moment | None]
    """``None`` while its wave waits: until then nobody is told of it."""
    delivered_at: Mapped[Moment | None]
    """When it was handed over last."""
    finished_at: Mapped[Moment | None]
