"""A browser that somebody has signed in with."""

from __future__ import annotations

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base
from app.models.columns import Id, Moment


class AccountSession(Base):
    """One sign-in, until it is ended or expires. The browser's cookie carries its token."""

    __tablename__ = "account_session"

    id: Mapped[Id] = mapped_column(primary_key=True)
    account_id: Mapped[Id] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"), index=True)
    digest: Mapped[str] = mapped_column(String(64))
    """Of the token."""
    method: Mapped[str] = mapped_column(String(10))
    """How its owner signed in; see ``sessions.METHODS``."""
    address: Mapped[str | None] = mapped_column(String(45))
    """From where it was used last."""
    user_agent: Mapped[str | None] = mapped_column(String(300))
    created_at: Mapped[Moment]
    last_seen_at: Mapped[Moment]
    """Noted at most once a minute."""
