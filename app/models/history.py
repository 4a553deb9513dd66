"""What was: metrics of each node in blocks of packed points, and the push channels that it had."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Boolean, ForeignKey, Index, Integer, LargeBinary, String, Text, column
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base
from app.models.columns import Id, JsonColumn, Moment

_IS_FRESH = column("is_rolled_up").is_(False)


class MetricsBlock(Base):
    """Some points of one node at one level: an hour of minutes, a day of hours, 32 days of days.

    All that is known of the node in that time is one row, so that a minute costs one write whatever runs there.
    """

    __tablename__ = "metrics_block"
    __table_args__ = (
        Index("ix_metrics_block_level_start", "level", "start"),
        Index(
            "ix_metrics_block_fresh",
            "level",
            "start",
            sqlite_where=_IS_FRESH,
            postgresql_where=_IS_FRESH,
        ),
    )

    node_id: Mapped[Id] = mapped_column(ForeignKey("node.id", ondelete="CASCADE"), primary_key=True)
    level: Mapped[int] = mapped_column(Integer, primary_key=True)
    """Seconds that one point covers: 60, 3600 or 86400."""
    start: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    """Seconds since 1970."""
    points: Mapped[bytes] = mapped_column(LargeBinary)
    """See ``app/metrics_points.py``."""
    latest: Mapped[dict[str, Any] | None] = mapped_column(JsonColumn)
    """The counters as they stood last, from which the next observation counts on; minutes only."""
    is_rolled_up: Mapped[bool] = mapped_column(Boolean, default=False)
    """Whether the next level knows all that stands here."""


class ChannelSpan(Base):
    """A push channel that has ended: written in batches when it is over, so that a storm costs few writes."""

    __tablename__ = "channel_span"
    __table_args__ = (
        Index("ix_channel_span_node_id_id", "node_id", "id"),
        Index("ix_channel_span_ended_at", "ended_at"),
    )

    id: Mapped[Id] = mapped_column(primary_key=True)
    node_id: Mapped[Id] = mapped_column(ForeignKey("node.id", ondelete="CASCADE"))
    transport: Mapped[str] = mapped_column(String(3))
    opened_at: Mapped[Moment]
    ended_at: Mapped[Moment]
    reason: Mapped[str] = mapped_column(Text)
    """Why it ended, as the log says it."""
    worker: Mapped[str] = mapped_column(String(253))
    """``host:pid`` of the worker that held it."""
    address: Mapped[str] = mapped_column(String(100))
