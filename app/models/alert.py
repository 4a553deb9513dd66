"""Alert rules, and what each of them has found: pending, firing, resolved."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    literal_column,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base
from app.models.columns import Id, Moment

_IS_OPEN = text("state <> 'RESOLVED'")
_IS_FIRING = text("state = 'FIRING'")


class AlertRule(Base):
    """What is to be told of: a kind of trouble, where, from what value on, and for how long."""

    __tablename__ = "alert_rule"

    id: Mapped[Id] = mapped_column(primary_key=True)
    environment_id: Mapped[Id | None] = mapped_column(ForeignKey("environment.id", ondelete="CASCADE"))
    """What it is about; ``None``: all environments."""
    pipeline_id: Mapped[Id | None]
    """Of the kinds about pipelines: only this one. No foreign key: a rule whose pipeline is gone says so."""
    name: Mapped[str] = mapped_column(String(100))
    kind: Mapped[str] = mapped_column(String(30))
    """One of ``alert_kinds.KINDS``."""
    threshold: Mapped[float | None] = mapped_column(Float)
    """In the kind's unit; ``None`` where the kind has none."""
    for_seconds: Mapped[int] = mapped_column(Integer)
    """So long it must have been so before it fires."""
    clear_seconds: Mapped[int] = mapped_column(Integer)
    """So long it must have been well, by a margin, before it is resolved."""
    node_selector: Mapped[str] = mapped_column(String(4096), default="")
    severity: Mapped[str] = mapped_column(String(10))
    is_enabled: Mapped[bool] = mapped_column(Boolean)
    revision: Mapped[int] = mapped_column(Integer, default=1)
    """Grows with each change by people: a worker writes nothing by a rule that is not the one it has read."""
    problem: Mapped[str | None] = mapped_column(Text)
    """Why it cannot be evaluated."""
    problem_since: Mapped[Moment | None]
    evaluated_at: Mapped[Moment | None]
    """When it was last evaluated without a problem."""
    created_by: Mapped[str] = mapped_column(String(253))
    created_at: Mapped[Moment]
    updated_at: Mapped[Moment]


class Alert(Base):
    """One rule and one subject of it: at most one that is not resolved.

    Names stand here as they were, so that history stays readable when nodes, pipelines and rules are gone.
    """

    __tablename__ = "alert"
    __table_args__ = (
        Index(
            "uq_alert_open",
            "rule_id",
            "subject",
            unique=True,
            sqlite_where=_IS_OPEN,
            postgresql_where=_IS_OPEN,
        ),
        Index("ix_alert_state_id", "state", "id"),
        Index("ix_alert_node", "node_id", sqlite_where=_IS_FIRING, postgresql_where=_IS_FIRING),
        Index("ix_alert_pipeline", "pipeline_id", sqlite_where=_IS_FIRING, postgresql_where=_IS_FIRING),
        Index("ix_alert_environment_id_id", "environment_id", "id"),
    )

    id: Mapped[Id] = mapped_column(primary_key=True)
    rule_id: Mapped[Id] = mapped_column(index=True)
    environment_id: Mapped[Id] = mapped_column(ForeignKey("environment.id", ondelete="CASCADE"))
    """The subject's."""
    rule_name: Mapped[str] = mapped_column(String(100))
    kind: Mapped[str] = mapped_column(String(30))
    severity: Mapped[str] = mapped_column(String(10))
    subject: Mapped[str] = mapped_column(String(140))
    """A node's id, a pipeline's and a node's, or an environment's and a certificate's name, by colon."""
    node_id: Mapped[Id | None]
    node_name: Mapped[str | None] = mapped_column(String(253))
    pipeline_id: Mapped[Id | None]
    pipeline_name: Mapped[str | None] = mapped_column(String(100))
    certificate: Mapped[str | None] = mapped_column(String(100))
    state: Mapped[str] = mapped_column(String(10))
    """``PENDING``, ``FIRING`` or ``RESOLVED``."""
    since: Mapped[Moment]
    """Since when it is so without a gap."""
    clear_since: Mapped[Moment | None]
    """Of a firing one: since when it is well again without a gap."""
    fired_at: Mapped[Moment | None]
    resolved_at: Mapped[Moment | None]
    resolved_reason: Mapped[str | None] = mapped_column(String(30))
    """One of ``alert_kinds.REASONS``."""
    value: Mapped[float | None] = mapped_column(Float)
    """What was measured when it last changed its state, in the kind's unit."""
    text: Mapped[str] = mapped_column(Text)
    """What is wrong, in a sentence without secrets."""
    acknowledged_by: Mapped[str | None] = mapped_column(String(253))
    acknowledged_at: Mapped[Moment | None]


# Literals, not parameters: else a database cannot know that the partial index will do.
IS_OPEN: ColumnElement[bool] = Alert.state != literal_column("'RESOLVED'")
IS_FIRING: ColumnElement[bool] = Alert.state == literal_column("'FIRING'")
