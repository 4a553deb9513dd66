"""Reading the audit log: filtered, in pages, or whole."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Select, false, func, select
from sqlalchemy.orm import Session

from app.database import snapshot
from app.errors import InvalidInputError
from app.ids import first_id_at, is_id
from app.models import Account, AuditEntry, Environment, Node, Pipeline
from app.paging import DEFAULT_LIMIT, Page, decode_cursor, first_of
from app.principal import Within

EVERY = ".*"
"""Ends the name of a family of actions: ``pipeline.*``."""
CHUNK = 500
"""How many entries are in memory while the whole log is read."""
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9998, 1, 1, tzinfo=UTC)
"""Between which an entry's moment lies."""
MOST_LOOKED_THROUGH = 2000
"""Entries among which the actions of some environments are looked for."""
MOST_OF_A_NAME = 100
"""How many objects of one name are looked for."""

_NAMES = (
    (Environment.id, Environment.name, Environment.id),
    (Node.id, Node.name, Node.environment_id),
    (Pipeline.id, Pipeline.name, Pipeline.environment_id),
    (Account.id, Account.email, None),
)
"""Of each kind of object the columns of its id, its name and its environment."""


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries are meant; what is ``None`` leaves nothing out."""

    environment_id: str | None = None
    within: Within = None
    """Entries of these environments; ``None``: of all, and of none."""
    actor: str | None = None
    """As the entries have it: an e-mail, ``token <name>``, ``node <id>``, ``command line``."""
    action: str | None = None
    """One action, or a family of them as ``pipeline.*``."""
    subject: str | None = None
    """The id of what was changed, or the name of an environment, a node, a pipeline or an account that exists."""
    since: datetime | None = None
    until: datetime | None = None
    """The first moment that is not meant any more."""


def read_moment(text: str | None, field: str) -> datetime | None:
    """A moment as ISO 8601 has it, in UTC where it says nothing else; ``None`` for no text.

    :raises InvalidInputError: it is no moment, named *field*.
    """
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        # What lies before or behind all entries means the same, however far.
        return min(max(moment, EARLIEST), LATEST)
    except (ValueError, OverflowError):
        pass
    message = "it is a moment such as 2026-01-31T12:00, in UTC"
    raise InvalidInputError(
        f'The moment "{text[:50]}" cannot be used: {message}.', [{"field": field, "message": message}]
    )


def listing(
    wanted: AuditFilter | None = None, *, limit: int = DEFAULT_LIMIT, cursor: str | None = None
) -> Page[AuditEntry]:
    """A page of the entries that *wanted* means (all of them without), newest first.

    :raises InvalidInputError: the cursor is not one of this list.
    """
    query = _query(wanted or AuditFilter())
    if cursor is not None:
        query = query.where(AuditEntry.id < decode_cursor(cursor, 1)[0])
    entries = _read(query.limit(limit + 1))
    return first_of(entries, limit, lambda row: [row.id])


def everything(wanted: AuditFilter) -> Iterator[AuditEntry]:
    """All entries that *wanted* means, newest first; few are in memory, and no connection is held between two."""
    query = _query(wanted).limit(CHUNK)
    entries = _read(query)
    while entries:
        yield from entries
        entries = _read(query.where(AuditEntry.id < entries[-1].id)) if len(entries) == CHUNK else []


def actions() -> list[str]:
    """Every action that the log has, by name: one short look in the index for each, however long the log is."""
    first = select(func.min(AuditEntry.action).label("action")).cte("actions", recursive=True)
    after = select(func.min(AuditEntry.action)).where(AuditEntry.action > first.c.action).scalar_subquery()
    found = first.union_all(select(after).where(first.c.action.is_not(None)))
    query = select(found.c.action).where(found.c.action.is_not(None))
    return sorted(snapshot(lambda session: session.scalars(query).all()))


def actions_within(within: Collection[str]) -> list[str]:
    """The actions among the latest entries of these environments, by name."""
    latest = select(AuditEntry.action).where(AuditEntry.environment_id.in_(within))
    latest = latest.order_by(AuditEntry.id.desc()).limit(MOST_LOOKED_THROUGH)
    query = select(latest.subquery().c.action).distinct()
    return sorted(snapshot(lambda session: session.scalars(query).all()))


def names(ids: Collection[str], within: Within = None) -> dict[str, str]:
    """What those of *ids* are called that are an environment's, a node's, a pipeline's or an account's.

    Of what lies elsewhere than *within*, or outside of all environments, nothing is told.
    """

    def read(session: Session) -> dict[str, str]:
        found: dict[str, str] = {}
        for own_id, name, environment_id in _NAMES:
            query = select(own_id, name).where(own_id.in_(ids))
            if within is not None:
                query = query.where(environment_id.in_(within) if environment_id is not None else false())
            found.update(iter(session.execute(query)))
        return found

    return snapshot(read) if ids else {}


def _query(wanted: AuditFilter) -> Select[AuditEntry]:
    query = select(AuditEntry).order_by(AuditEntry.id.desc())
    for column, value in (
        (AuditEntry.environment_id, wanted.environment_id),
        (AuditEntry.actor, wanted.actor),
    ):
        if value is not None:
            query = query.where(column == value)
    if wanted.within is not None:
        query = query.where(AuditEntry.environment_id.in_(wanted.within))
    if wanted.action is not None:
        family = wanted.action.removesuffix(EVERY)
        if family == wanted.action:
            query = query.where(AuditEntry.action == family)
        else:
            query = query.where(
                AuditEntry.action.in_([each for each in actions() if each.startswith(f"{family}.")])
            )
    if wanted.subject is not None:
        query = query.where(AuditEntry.subject_id.in_(_subjects(wanted.subject)))
    # Ids sort by when they were made, so that a range of time is one of the index's too.
    if wanted.since is not None:
        query = query.where(AuditEntry.id >= first_id_at(wanted.since))
    if wanted.until is not None:
        query = query.where(AuditEntry.id < first_id_at(wanted.until))
    return query


def _subjects(subject: str) -> list[str]:
    """The ids that *subject* can mean: itself, or those of what is called so."""

    def read(session: Session) -> list[str]:
        found: list[str] = []
        for own_id, name, _ in _NAMES:
            found += session.scalars(select(own_id).where(name == subject).limit(MOST_OF_A_NAME))
        return found

    return ([subject] if is_id(subject) else []) + snapshot(read)


def _read(query: Select[AuditEntry]) -> list[AuditEntry]:
    return list(snapshot(lambda session: session.scalars(query).all()))
