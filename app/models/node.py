"""Nodes, and what each of them says it runs."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Boolean, Float, ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base
from app.models.columns import Id, JsonColumn, Labels, Moment


class Node(Base):
    """A machine with an agent. Whether it is connected stands in Redis, never here."""

    __tablename__ = "node"
    __table_args__ = (
        Index("ix_node_environment_id_name", "environment_id", "name", "id"),
        Index("ix_node_name_id", "name", "id"),
        Index("ix_node_token_digest", "token_digest", unique=True),
    )

    id: Mapped[Id] = mapped_column(primary_key=True)
    environment_id: Mapped[Id] = mapped_column(ForeignKey("environment.id"))
    name: Mapped[str] = mapped_column(String(253))
    host: Mapped[str] = mapped_column(String(253))
    os: Mapped[str | None] = mapped_column(String(100))
    install_id: Mapped[str | None] = mapped_column(String(100), index=True)
    token_digest: Mapped[str] = mapped_column(String(64))
    revoked_at: Mapped[Moment | None]
    authenticated_at: Mapped[Moment | None]
    """When its token was first used; a node without it may be replaced by the same install id."""
    enrolled_at: Mapped[Moment]
    last_seen_at: Mapped[Moment | None]
    last_heartbeat_at: Mapped[Moment | None]
    agent_version: Mapped[str | None] = mapped_column(String(100))
    vector_version: Mapped[str | None] = mapped_column(String(100))
    deployment_mode: Mapped[str | None] = mapped_column(String(20))
    agent_labels: Mapped[Labels] = mapped_column(default=dict)
    operator_labels: Mapped[Labels] = mapped_column(default=dict)
    maintenance_mode: Mapped[bool] = mapped_column(Boolean, default=False)
    running_revision: Mapped[str | None] = mapped_column(String(64))
    """``configRevision`` of the last heartbeat: what the agent says runs."""
    tried_revision: Mapped[str | None] = mapped_column(String(64))
    boot_id: Mapped[str | None] = mapped_column(String(100))
    heartbeat_seq: Mapped[int | None] = mapped_column(BigInteger)
    host_metrics: Mapped[dict[str, Any] | None] = mapped_column(JsonColumn)
    agent_health: Mapped[dict[str, Any] | None] = mapped_column(JsonColumn)
    update_error: Mapped[str | None] = mapped_column(Text)


class NodePipeline(Base):
    """What one node last said about one pipeline."""

    __tablename__ = "node_pipeline"

    node_id: Mapped[Id] = mapped_column(ForeignKey("node.id", ondelete="CASCADE"), primary_key=True)
    pipeline_id: Mapped[Id] = mapped_column(primary_key=True, index=True)
    version: Mapped[int | None] = mapped_column(Integer)
    status: Mapped[str] = mapped_column(String(40))
    """As it came: RUNNING, STARTING, STOPPED, CRASHED, CRASH_LOOP, PENDING, FAILED or another word."""
    pid: Mapped[int | None] = mapped_column(BigInteger)
    uptime_seconds: Mapped[float | None] = mapped_column(Float)
    config_checksum: Mapped[str | None] = mapped_column(String(64))
    """No longer written, as ``failed_checksum``; both go one release later."""
    failed_version: Mapped[int | None] = mapped_column(Integer)
    failed_checksum: Mapped[str | None] = mapped_column(String(64))
    error: Mapped[str | None] = mapped_column(Text)
    events_in: Mapped[int | None] = mapped_column(BigInteger)
    """Cumulative, as it came; falls back to 0 when the process restarts."""
    events_out: Mapped[int | None] = mapped_column(BigInteger)
    events_discarded: Mapped[int | None] = mapped_column(BigInteger)
    errors_total: Mapped[int | None] = mapped_column(BigInteger)
    bytes_in: Mapped[int | None] = mapped_column(BigInteger)
    bytes_out: Mapped[int | None] = mapped_column(BigInteger)
    utilization: Mapped[float | None] = mapped_column(Float)
    events_in_rate: Mapped[float | None] = mapped_column(Float)
    """Events a second between the last two heartbeats; ``None`` before there are two."""
    events_out_rate: Mapped[float | None] = mapped_column(Float)
    errors_rate: Mapped[float | None] = mapped_column(Float)
    discarded_rate: Mapped[float | None] = mapped_column(Float)
    component_metrics: Mapped[list[dict[str, Any]] | None] = mapped_column(JsonColumn)
    recent_logs: Mapped[list[str] | None] = mapped_column(JsonColumn)
    reported_at: Mapped[Moment]
