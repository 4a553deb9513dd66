"""Work that one worker at a time does, of all machines: a lease in the database, looked at again at each step.

Redis would forget it, and is away just when there is something to tell. Moments are the database's: the machines'
clocks may differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.clock import utc_now
from app.database import transaction
from app.models import Lease

NOBODY = ""
"""The holder of a lease that was given up."""


class LeaseLostError(Exception):
    """Somebody else holds it now; what was about to be written was not."""


@dataclass(frozen=True, slots=True)
class Held:
    """A lease that this worker holds."""

    name: str
    holder: str
    unbroken_since: datetime
    """Since when somebody has held it without a gap: for so long it has been watched."""
    now: datetime
    """The database's time when it was taken or renewed."""


def take(name: str, holder: str, span: timedelta) -> Held | None:
    """Take the lease, or renew it, for *span* from now; ``None`` while another worker holds it."""

    def work(session: Session) -> Held | None:
        now = database_now(session)
        insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
        session.execute(
            insert(Lease)
            .values(name=name, holder=holder, expires_at=now + span, unbroken_since=now)
            .on_conflict_do_nothing()
        )
        row = session.scalars(select(Lease).where(Lease.name == name).with_for_update()).one()
        has_run_out = row.expires_at <= now
        if row.holder not in (holder, NOBODY) and not has_run_out:
            return None
        if has_run_out:
            row.unbroken_since = now
        row.holder, row.expires_at = holder, now + span
        return Held(name, holder, row.unbroken_since, now)

    return transaction(work)


def check(session: Session, held: Held) -> None:
    """Within the transaction of a step: go on only if the lease is still this worker's.

    Its row stays locked until the commit, so that nobody takes it over in between.

    :raises LeaseLostError: it is not.
    """
    row = session.scalars(select(Lease).where(Lease.name == held.name).with_for_update()).one_or_none()
    if row is None or row.holder != held.holder or row.expires_at <= database_now(session):
        raise LeaseLostError(held.name)


def give_up(held: Held) -> None:
    """Let another worker take it at once; that it has been held without a gap stays true for what is left of it."""

    def work(session: Session) -> None:
        row = session.scalars(select(Lease).where(Lease.name == held.name).with_for_update()).one_or_none()
        if row is not None and row.holder == held.holder:
            row.holder = NOBODY

    transaction(work)


def database_now(session: Session) -> datetime:
    """The time by the database's clock. SQLite has none of its own: its workers share a machine."""
    if session.get_bind().dialect.name != "postgresql":
        return utc_now()
    moment: datetime = session.scalar(select(func.clock_timestamp()))  # type: ignore[assignment]
    return moment.astimezone(UTC)
