"""Other ways into an account than its password."""

from __future__ import annotations

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base
from app.models.columns import Id, Moment


class AccountIdentity(Base):
    """Who an account is at an OpenID Connect provider: issuer and subject, which no other person ever gets."""

    __tablename__ = "account_identity"

    issuer: Mapped[str] = mapped_column(String(500), primary_key=True)
    subject: Mapped[str] = mapped_column(String(255), primary_key=True)
    account_id: Mapped[Id] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[Moment]


class RecoveryCode(Base):
    """A code that whoever runs the server has made, and that signs an account in once."""

    __tablename__ = "recovery_code"

    id: Mapped[Id] = mapped_column(primary_key=True)
    account_id: Mapped[Id] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"), index=True)
    digest: Mapped[str] = mapped_column(String(64))
    expires_at: Mapped[Moment]
