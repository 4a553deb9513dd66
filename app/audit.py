"""Writing the audit log, in the transaction of the change that it records, which also chains it (ADR 21)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from app import audit_chain
from app.clock import utc_now
from app.database import do_last
from app.ids import new_id
from app.models import AuditEntry


@dataclass(frozen=True)
class Actor:
    """Who acts.

    ``name`` is an e-mail, ``token <name>``, ``node <id>``, ``server``, ``command line`` or ``setup page``.
    """

    name: str
    address: str | None = None


COMMAND_LINE = Actor("command line")
SERVER = Actor("server")
"""By itself, as time goes by."""


def record(
    session: Session,
    actor: Actor,
    action: str,
    *,
    environment_id: str | None = None,
    subject_id: str | None = None,
    **detail: Any,
) -> None:
    """Add one entry to *session*'s transaction; it lives or dies with the change. *detail* must hold no secret.

    What changed something says it as ``before`` and ``after``, two dictionaries with the same keys.
    """
    audit_chain.append(
        session,
        AuditEntry(
            id=new_id(),
            at=utc_now(),
            actor=actor.name,
            address=actor.address,
            action=action,
            environment_id=environment_id,
            subject_id=subject_id,
            detail=detail,
        ),
    )
    do_last(session, audit_chain.seal)
