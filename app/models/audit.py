"""The audit log: every change of state, by whom."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base
from app.models.columns import Id, JsonColumn, Moment


class AuditEntry(Base):
    """Who changed what, when, from where. Never holds a secret.

    Triggers refuse to delete an entry, or to change one that is in the chain (migration 0008; a migration that
    makes SQLite copy this table has to make them again).
    """

    __tablename__ = "audit_entry"
    __table_args__ = (
        Index("ix_audit_entry_environment_id_id", "environment_id", "id"),
        Index("ix_audit_entry_actor_id", "actor", "id"),
        Index("ix_audit_entry_action_id", "action", "id"),
        Index("ix_audit_entry_subject_id_id", "subject_id", "id"),
        Index("ix_audit_entry_sequence", "sequence", unique=True),
    )

    id: Mapped[Id] = mapped_column(primary_key=True)
    at: Mapped[Moment]
    actor: Mapped[str] = mapped_column(String(253))
    """An account's e-mail, ``token <name>``, ``node <id>`` or ``command line``."""
    address: Mapped[str | None] = mapped_column(String(100))
    action: Mapped[str] = mapped_column(String(50))
    """Such as ``pipeline.deploy``."""
    environment_id: Mapped[Id | None]
    subject_id: Mapped[Id | None]
    detail: Mapped[dict[str, Any]] = mapped_column(JsonColumn, default=dict)
    sequence: Mapped[int | None] = mapped_column(BigInteger)
    """Its place in the chain, from 1 and without a gap; ``None`` until the end of its transaction."""
    hash: Mapped[str | None] = mapped_column(String(64))
    """SHA-256 over this entry and the hash before it (``app/audit_chain.py``), in hex."""


class AuditHead(Base):
    """The newest link of the chain: one row, whose lock puts the entries of all workers in one order."""

    __tablename__ = "audit_head"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """Always 1."""
    sequence: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[str] = mapped_column(String(64))
