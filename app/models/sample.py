"""Samples: what an operator wants to see of a pipeline, whom we asked for it, and what they said."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, Index, Integer, String, Text, column
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base
from app.models.columns import Id, JsonColumn, Moment

_IS_PENDING = column("status") == "PENDING"


class SampleRequest(Base):
    """One wish to see events of some components of a deployed pipeline."""

    __tablename__ = "sample_request"
    __table_args__ = (
        Index("ix_sample_request_pipeline_id_id", "pipeline_id", "id"),
        Index(
            "ix_sample_request_pending",
            "expires_at",
            sqlite_where=_IS_PENDING,
            postgresql_where=_IS_PENDING,
        ),
    )

    id: Mapped[Id] = mapped_column(primary_key=True)
    pipeline_id: Mapped[Id] = mapped_column(ForeignKey("pipeline.id", ondelete="CASCADE"))
    component_keys: Mapped[list[str]] = mapped_column(JsonColumn)
    sink_keys: Mapped[list[str]] = mapped_column(JsonColumn)
    """Those of the components that are sinks: what flows into them is meant."""
    event_limit: Mapped[int] = mapped_column(Integer)
    status: Mapped[str] = mapped_column(String(10), default="PENDING")
    """As written; one that is pending and overdue has ended before that is written."""
    created_by: Mapped[str] = mapped_column(String(253))
    created_at: Mapped[Moment]
    expires_at: Mapped[Moment]
    finished_at: Mapped[Moment | None]


class SampleRequestNode(Base):
    """A node that was asked; nobody else's word counts. Stored before it is told."""

    __tablename__ = "sample_request_node"
    __table_args__ = (
        # Nearly all rows are history: what is still open is at the end of both.
        Index("ix_sample_request_node_node_id_expires_at", "node_id", "expires_at"),
        Index("ix_sample_request_node_expires_at", "expires_at"),
    )

    request_id: Mapped[Id] = mapped_column(
        ForeignKey("sample_request.id", ondelete="CASCADE"), primary_key=True
    )
    node_id: Mapped[Id] = mapped_column(ForeignKey("node.id", ondelete="CASCADE"), primary_key=True)
    expires_at: Mapped[Moment]
    """That of the request."""
    told_at: Mapped[Moment | None]
    """When it was first handed over: a push that was written, or a configuration answer."""


class SampleResult(Base):
    """What counts for one component: the first success, or an error once no success can come any more."""

    __tablename__ = "sample_result"

    request_id: Mapped[Id] = mapped_column(
        ForeignKey("sample_request.id", ondelete="CASCADE"), primary_key=True
    )
    component_key: Mapped[str] = mapped_column(String(128), primary_key=True)
    node_id: Mapped[Id]
    events: Mapped[list[Any] | None] = mapped_column(JsonColumn)
    schema: Mapped[list[dict[str, str]] | None] = mapped_column(JsonColumn)
    error: Mapped[str | None] = mapped_column(Text)
    at: Mapped[Moment]


class SampleFailure(Base):
    """That one node could not sample one component: of no account while another one may."""

    __tablename__ = "sample_failure"

    request_id: Mapped[Id] = mapped_column(
        ForeignKey("sample_request.id", ondelete="CASCADE"), primary_key=True
    )
    component_key: Mapped[str] = mapped_column(String(128), primary_key=True)
    node_id: Mapped[Id] = mapped_column(primary_key=True)
    error: Mapped[str] = mapped_column(Text)
    at: Mapped[Moment]
