"""Environments: what separates one set of nodes, pipelines and secrets from another."""

from __future__ import annotations

from sqlalchemy import Boolean, String
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base
from app.models.columns import Id, JsonColumn, Moment


class Environment(Base):
    """An environment and the nonce that changes with everything its nodes must run."""

    __tablename__ = "environment"

    id: Mapped[Id] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    protected: Mapped[bool] = mapped_column(Boolean, default=False)
    nonce: Mapped[str] = mapped_column(String(32))
    """128 random bits, set anew by each change in the change's own transaction; compared for equality only."""
    checksum_key: Mapped[str] = mapped_column(String(64))
    """The key of every checksum and revision of this environment, 64 hex; never leaves the server."""
    enrollment_digest: Mapped[str | None] = mapped_column(String(64))
    """SHA-256 of the enrollment token; ``None`` before the first was made."""
    enrollment_hint: Mapped[str | None] = mapped_column(String(16))
    selectable_agent_labels: Mapped[list[str]] = mapped_column(JsonColumn, default=list)
    """Keys of agents' own labels that selectors may look at (hazard 30)."""
    created_at: Mapped[Moment]
