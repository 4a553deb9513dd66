"""People (accounts) and scripts (API tokens) that operate the fleet."""

from __future__ import annotations

from flask_login import UserMixin
from sqlalchemy import Boolean, Dialect, ForeignKey, String, false
from sqlalchemy.orm import Mapped, mapped_column, relationship
from sqlalchemy.types import TypeDecorator

from app.database import Base
from app.models.columns import Id, Moment
from app.principal import Role, is_role


class OverallRole(TypeDecorator[Role]):
    """A role, or ``None``; stored as ``none``, which the release before this one takes for a role that may nothing.

    So the column need not become nullable, for which SQLite would copy the table.
    """

    impl = String(10)
    cache_ok = True

    def process_bind_param(self, value: Role | None, dialect: Dialect) -> str:
        return value or "none"

    def process_result_value(self, value: str | None, dialect: Dialect) -> Role | None:
        return value if is_role(value) else None


class Account(Base, UserMixin):  # type: ignore[misc]
    """A person who operates the fleet."""

    __tablename__ = "account"

    id: Mapped[Id] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(253), unique=True)
    """Lower case."""
    password_hash: Mapped[str] = mapped_column(String(100))
    """Empty for who has no password here."""
    role: Mapped[Role | None] = mapped_column(OverallRole, nullable=False)
    """In every environment and outside of them; ``None``: only in those of ``grants``."""
    session_key: Mapped[str] = mapped_column(String(32))
    """Part of every session cookie of the release before, whose workers run on during an upgrade. To be removed."""
    created_at: Mapped[Moment]
    last_login_at: Mapped[Moment | None]
    disabled_at: Mapped[Moment | None]
    """Since when nobody signs in with it."""
    grants: Mapped[list[AccountGrant]] = relationship(
        lazy="selectin", cascade="all, delete-orphan", passive_deletes=True
    )
    """Read with the account: each request asks what it may do."""


class AccountGrant(Base):
    """The role of an account in one environment; where its overall role allows more, that counts."""

    __tablename__ = "account_grant"

    account_id: Mapped[Id] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"), primary_key=True)
    environment_id: Mapped[Id] = mapped_column(
        ForeignKey("environment.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    role: Mapped[str] = mapped_column(String(10))
    """``viewer``, ``editor`` or ``admin``."""


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
    created_by: Mapped[str | None] = mapped_column(String(253))
    """As the audit log names them; ``None`` for one that was made before this was noted."""
    counts_as: Mapped[str | None] = mapped_column(String(40))
    """Whose it is where two people are needed: ``account:<id>`` or ``token:<id>``; ``None``: its own."""
    may_approve: Mapped[bool] = mapped_column(Boolean, default=False, server_default=false())
    """Whether it may approve what somebody else has asked for in a protected environment."""
