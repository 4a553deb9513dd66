"""People (accounts) and scripts (API tokens) that operate the fleet."""

from __future__ import annotations

from flask_login import UserMixin
from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base
from app.models.columns import Id, Moment


class Account(Base, UserMixin):  # type: ignore[misc]
    """A person who signs in with a password."""

    __tablename__ = "account"

    id: Mapped[Id] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(253), unique=True)
    """Lower case."""
    password_hash: Mapped[str] = mapped_column(String(100))
    role: Mapped[str] = mapped_column(String(10))
    """``viewer``, ``editor`` or ``admin``."""
    session_key: Mapped[str] = mapped_column(String(32))
    """Part of every session cookie; a new one ends all sessions."""
    created_at: Mapped[Moment]
    last_login_at: Mapped[Moment | None]

    def get_id(self) -> str:
        """What the session cookie carries."""
        return f"{self.id}.{self.session_key}"


class ApiToken(Base):
    """A token with which scripts use the operator API."""

    __tablename__ = "api_token"

    id: Mapped[Id] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    digest: Mapped[str] = mapped_column(String(64))
    role: Mapped[str] = mapped_column(String(10))
    environment_id: Mapped[Id | None] = mapped_column(ForeignKey("environment.id", ondelete="CASCADE"))
    """The one environment that it may see; ``None`` means all."""
    expires_at: Mapped[Moment | None]
    revoked_at: Mapped[Moment | None]
    last_used_at: Mapped[Moment | None]
    created_at: Mapped[Moment]
