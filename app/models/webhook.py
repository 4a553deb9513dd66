"""Webhooks, what is to be sent to them, and what the watch has told of already."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, ForeignKey, Index, Integer, String, Text, column
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base
from app.models.columns import Id, JsonColumn, Moment
from app.models.secret import SealedColumns

_IS_PENDING = column("status") == "PENDING"


class Webhook(SealedColumns, Base):
    """An address that is told of events. The sealed value is the secret that signs what is sent there."""

    __tablename__ = "webhook"

    id: Mapped[Id] = mapped_column(primary_key=True)
    environment_id: Mapped[Id | None] = mapped_column(ForeignKey("environment.id", ondelete="CASCADE"))
    """Whose events it is told of; ``None``: all environments'."""
    name: Mapped[str] = mapped_column(String(100))
    url: Mapped[str] = mapped_column(String(2000))
    """May hold a token of the receiver's, so only admins see it."""
    events: Mapped[list[str]] = mapped_column(JsonColumn)
    is_enabled: Mapped[bool] = mapped_column(Boolean)
    disabled_reason: Mapped[str | None] = mapped_column(Text)
    """Why the server itself has disabled it."""
    created_by: Mapped[str] = mapped_column(String(253))
    created_at: Mapped[Moment]


class WebhookDelivery(Base):
    """One event for one webhook: the queue and the log in one."""

    __tablename__ = "webhook_delivery"
    __table_args__ = (
        Index("ix_webhook_delivery_webhook_id_id", "webhook_id", "id"),
        Index(
            "ix_webhook_delivery_due",
            "next_attempt_at",
            sqlite_where=_IS_PENDING,
            postgresql_where=_IS_PENDING,
        ),
    )

    id: Mapped[Id] = mapped_column(primary_key=True)
    webhook_id: Mapped[Id] = mapped_column(ForeignKey("webhook.id", ondelete="CASCADE"))
    event: Mapped[str] = mapped_column(String(40))
    payload: Mapped[dict[str, Any]] = mapped_column(JsonColumn)
    status: Mapped[str] = mapped_column(String(10))
    """``PENDING``, ``DELIVERED`` or ``FAILED``."""
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    next_attempt_at: Mapped[Moment]
    """Of a pending one; while somebody sends it, the moment at which another worker takes it over."""
    last_status: Mapped[int | None] = mapped_column(Integer)
    """The HTTP status of the last answer, where there was one."""
    last_error: Mapped[str | None] = mapped_column(Text)
    last_milliseconds: Mapped[int | None] = mapped_column(Integer)
    created_at: Mapped[Moment]
    finished_at: Mapped[Moment | None]


class Notice(Base):
    """What the watch has seen and told of, so that each change is told once, whichever worker watches."""

    __tablename__ = "notice"
    __table_args__ = (Index("ix_notice_node_id", "node_id"),)

    kind: Mapped[str] = mapped_column(String(40), primary_key=True)
    subject: Mapped[str] = mapped_column(String(100), primary_key=True)
    """An id, or ids with a colon between them."""
    node_id: Mapped[Id | None] = mapped_column(ForeignKey("node.id", ondelete="CASCADE"))
    since: Mapped[Moment]


class Lease(Base):
    """Who alone may do something, until when. Renewed by its holder; taken over by another once it has run out."""

    __tablename__ = "lease"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    holder: Mapped[str] = mapped_column(String(64))
    expires_at: Mapped[Moment]
    unbroken_since: Mapped[Moment]
    """Since when somebody has held it without a gap."""
