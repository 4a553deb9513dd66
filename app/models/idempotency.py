"""Requests of scripts that are done once, however often they are sent."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base
from app.models.columns import Id, Moment


class IdempotencyKey(Base):
    """A key that came with a POST: written with what the request did, completed with what it was answered."""

    __tablename__ = "idempotency_key"
    __table_args__ = (Index("ix_idempotency_key_created_at", "created_at"),)

    token_id: Mapped[Id] = mapped_column(ForeignKey("api_token.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    """HMAC-SHA256 over the request, in hex: the same key must not come with another."""
    created_at: Mapped[Moment]
    status: Mapped[int | None] = mapped_column(Integer)
    """Of the answer; ``None`` until that is known."""
    media_type: Mapped[str | None] = mapped_column(String(100))
    etag: Mapped[str | None] = mapped_column(String(100))
    body: Mapped[str | None] = mapped_column(Text)
    """``None`` where the answer holds what is shown once only."""
