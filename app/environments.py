"""Environments: make, rename, protect, delete, list."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeVar

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app import alert_events, audit, names, preconditions
from app.audit import Actor
from app.clock import utc_now
from app.database import snapshot, transaction
from app.errors import ConflictError, NotFoundError
from app.ids import is_id, new_id
from app.models import ActionBatch, ApiToken, Certificate, Environment, Node, Pipeline, Secret
from app.paging import DEFAULT_LIMIT, Page, decode_cursor, encode_cursor
from app.principal import Within

Result = TypeVar("Result")

NAMES_IN_A_REFUSAL = 3


@dataclass(frozen=True, slots=True)
class EnvironmentRow:
    """An environment as lists show it."""

    id: str
    name: str
    protected: bool
    node_count: int
    created_at: datetime
    enrollment_hint: str | None
    """The end of the enrollment token; ``None`` before the first was made."""
    selectable_agent_labels: list[str]
    """Keys of agents' own labels that selectors of pipelines look at (hazard 30)."""


@dataclass(frozen=True, slots=True)
class Choice:
    """An environment to choose in a form."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Ending:
    """What deleting an environment would do."""

    hindrance: str | None
    """A sentence on what prevents it; ``None`` if nothing does."""
    secrets: int
    certificates: int
    api_tokens: int
    """Those that are limited to it: they end with it."""
    batches: int
    """Actions of many nodes, with all that is known of how they went."""


def create(name: str, actor: Actor, *, protected: bool = False) -> EnvironmentRow:
    """Make an environment, without an enrollment token (see ``enrollment.rotate_token``).

    :raises ConflictError: the name is taken.
    """
    name = names.checked(name)
    environment_id = new_id()

    def work(session: Session) -> None:
        session.add(
            Environment(
                id=environment_id,
                name=name,
                protected=protected,
                nonce=secrets.token_hex(16),
                checksum_key=secrets.token_hex(32),
                selectable_agent_labels=[],
                created_at=utc_now(),
            )
        )
        audit.record(
            session,
            actor,
            "environment.create",
            environment_id=environment_id,
            subject_id=environment_id,
            name=name,
            protected=protected,
        )

    with_unique_name(name, work)
    return get(environment_id)


def update(
    environment_id: str, actor: Actor, *, name: str | None = None, protected: bool | None = None
) -> EnvironmentRow:
    """Change what is given; nothing of it reaches a node.

    :raises NotFoundError: there is no such environment.
    :raises ConflictError: the name is taken.
    """
    wanted = checked(name, protected)

    def work(session: Session) -> None:
        environment = _locked(session, environment_id)
        preconditions.check(edit_revision(environment))
        change(session, environment, wanted, actor)

    with_unique_name(wanted.get("name", ""), work)
    return get(environment_id)


def checked(name: str | None, protected: bool | None) -> dict[str, Any]:
    """What ``change`` is to set.

    :raises InvalidInputError: the name cannot be used.
    """
    wanted: dict[str, Any] = {}
    if name is not None:
        wanted["name"] = names.checked(name)
    if protected is not None:
        wanted["protected"] = protected
    return wanted


def change(session: Session, environment: Environment, wanted: dict[str, Any], actor: Actor) -> None:
    """Set what ``checked`` has let through, in a transaction that holds the row's lock."""
    changed = {key: value for key, value in wanted.items() if getattr(environment, key) != value}
    if changed:
        before = {key: getattr(environment, key) for key in changed}
        for key, value in changed.items():
            setattr(environment, key, value)
        audit.record(
            session,
            actor,
            "environment.update",
            environment_id=environment.id,
            subject_id=environment.id,
            name=environment.name,
            before=before,
            after=changed,
        )


class Edited(Protocol):
    """What people edit of an environment."""

    @property
    def name(self) -> str: ...
    @property
    def protected(self) -> bool: ...
    @property
    def selectable_agent_labels(self) -> list[str]: ...


def edit_revision(environment: Edited) -> str:
    """Another one for each thing that people can make of it."""
    return preconditions.revision_of(
        environment.name, environment.protected, environment.selectable_agent_labels
    )


def delete(environment_id: str, actor: Actor) -> None:
    """Delete an environment that nothing uses any more.

    :raises NotFoundError: there is no such environment.
    :raises ConflictError: it has nodes or pipelines; the sentence names some of them.
    """

    def work(session: Session) -> None:
        environment = _locked(session, environment_id)
        preconditions.check(edit_revision(environment))
        if (sentence := _hindrance(session, environment)) is not None:
            raise ConflictError(sentence)
        audit.record(
            session,
            actor,
            "environment.delete",
            environment_id=environment_id,
            subject_id=environment_id,
            name=environment.name,
        )
        alert_events.resolve_all_in(session, environment_id, utc_now())
        session.delete(environment)

    transaction(work)


def ending(environment_id: str) -> Ending:
    """What deleting it would do, or what prevents that.

    :raises NotFoundError: there is no such environment.
    """

    def read(session: Session) -> Ending:
        environment = session.get(Environment, environment_id) if is_id(environment_id) else None
        if environment is None:
            raise NotFoundError("There is no such environment.")
        counts = [
            session.scalar(
                select(func.count()).select_from(model).where(model.environment_id == environment_id)
            )
            or 0
            for model in (Secret, Certificate, ApiToken, ActionBatch)
        ]
        return Ending(_hindrance(session, environment), *counts)

    return snapshot(read)


def get(environment_id: str) -> EnvironmentRow:
    """One environment.

    :raises NotFoundError: there is none of that id.
    """
    rows = _rows([environment_id]) if is_id(environment_id) else []
    if not rows:
        raise NotFoundError("There is no such environment.")
    return rows[0]


def find(name_or_id: str) -> EnvironmentRow:
    """The environment of that name, or else of that id.

    :raises NotFoundError: there is none.
    """
    query = select(Environment.id).where(Environment.name == name_or_id)
    return get(snapshot(lambda session: session.scalar(query)) or name_or_id)


def is_protected(environment_id: str) -> bool:
    """Whether a deploy there needs somebody else's approval; False for an environment that is not there."""
    query = select(Environment.protected).where(Environment.id == environment_id)
    return bool(snapshot(lambda session: session.scalar(query)))


def nonce(environment_id: str | None) -> str:
    """Changes whenever what nodes should run may have changed, in this environment or (``None``) in any."""
    query = select(Environment.nonce).order_by(Environment.id)
    if environment_id is not None:
        query = query.where(Environment.id == environment_id)
    nonces = snapshot(lambda session: session.scalars(query).all())
    return hashlib.sha256(" ".join(nonces).encode()).hexdigest()


def listing(
    *, limit: int = DEFAULT_LIMIT, cursor: str | None = None, within: Within = None
) -> Page[EnvironmentRow]:
    """A page of those environments that are *within*, newest first.

    :raises InvalidInputError: the cursor is not one of this list.
    """
    query = select(Environment.id).order_by(Environment.id.desc()).limit(limit + 1)
    if within is not None:
        query = query.where(Environment.id.in_(within))
    if cursor is not None:
        query = query.where(Environment.id < decode_cursor(cursor, 1)[0])
    ids = snapshot(lambda session: session.scalars(query).all())
    return Page(_rows(ids[:limit]), encode_cursor(ids[limit - 1]) if len(ids) > limit else None)


def choices(within: Within = None, most: int = 1000) -> list[Choice]:
    """Those environments that are *within*, by name, for a form."""
    query = select(Environment.id, Environment.name).order_by(Environment.name).limit(most)
    if within is not None:
        query = query.where(Environment.id.in_(within))
    return [Choice(*row) for row in snapshot(lambda session: session.execute(query).all())]


def _rows(ids: Sequence[str]) -> list[EnvironmentRow]:
    """The environments of these ids, newest first, with their numbers of nodes."""
    node_count = (
        select(func.count())
        .select_from(Node)
        .where(Node.environment_id == Environment.id)
        .correlate(Environment)
        .scalar_subquery()
    )
    query = (
        select(
            Environment.id,
            Environment.name,
            Environment.protected,
            node_count,
            Environment.created_at,
            Environment.enrollment_hint,
            Environment.selectable_agent_labels,
        )
        .where(Environment.id.in_(ids))
        .order_by(Environment.id.desc())
    )
    return [EnvironmentRow(*row) for row in snapshot(lambda session: session.execute(query).all())]


def _locked(session: Session, environment_id: str) -> Environment:
    environment = (
        session.get(Environment, environment_id, with_for_update=True) if is_id(environment_id) else None
    )
    if environment is None:
        raise NotFoundError("There is no such environment.")
    return environment


def _hindrance(session: Session, environment: Environment) -> str | None:
    users = [
        words
        for model, kind in ((Node, "node"), (Pipeline, "pipeline"))
        if (words := _users(session, model, kind, environment.id))
    ]
    if not users:
        return None
    return f'The environment "{environment.name}" cannot be deleted: it has {" and ".join(users)}.'


def _users(
    session: Session, model: type[Node] | type[Pipeline], kind: str, environment_id: str
) -> str | None:
    """Such as ``2 nodes ("a", "b")``; ``None`` if there are none."""
    where = model.environment_id == environment_id
    count = session.scalar(select(func.count()).select_from(model).where(where)) or 0
    if not count:
        return None
    some = session.scalars(
        select(model.name).where(where).order_by(model.name).limit(NAMES_IN_A_REFUSAL)
    ).all()
    listed = ", ".join(f'"{name}"' for name in some) + (", …" if count > len(some) else "")
    return f"{count} {kind}{'' if count == 1 else 's'} ({listed})"


def with_unique_name(name: str, work: Callable[[Session], Result]) -> Result:
    """As ``transaction``, where only *name* can be in the way of the work.

    :raises ConflictError: it is taken.
    """
    try:
        return transaction(work)
    except IntegrityError:
        message = f'the name "{name}" is taken'
        raise ConflictError(
            f'There is already an environment called "{name}".', [{"field": "name", "message": message}]
        ) from None
