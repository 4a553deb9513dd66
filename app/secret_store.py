"""Secrets of an environment: put, list by name, remove. A value that was put is never shown again.

Commit, then tell: a new value reaches the nodes of the pipelines that name it, and restarts those pipelines.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import audit, preconditions, references, revisions, rotation
from app.audit import Actor
from app.clock import utc_now
from app.database import snapshot, transaction
from app.encryption import keyring
from app.errors import ConflictError, InvalidInputError, NotFoundError
from app.ids import is_id
from app.materials import SECRET
from app.models import Certificate, Environment, Secret
from app.paging import DEFAULT_LIMIT, Page, decode_cursor, encode_cursor
from app.rotation import Outcome, User

MAX_VALUE_BYTES = 64 * 1024
MAX_ESCAPED_BYTES = 127 * 1024
"""Linux takes no longer text (128 KiB with its name) into the environment of a process."""
MAX_SECRETS = 500
MAX_BYTES_IN_ALL = 1024 * 1024
"""Of one environment, escaped: they must fit into one child's environment."""


@dataclass(frozen=True, slots=True)
class SecretRow:
    """A secret as lists show it: all but its value."""

    name: str
    updated_at: datetime
    used_by: tuple[User, ...]
    is_readable: bool
    """Whether the key that it was encrypted with is still here."""


def put(
    environment_id: str, name: str, value: str, actor: Actor, *, only_new: bool = False
) -> tuple[SecretRow, Outcome]:
    """Make the secret, or, unless it is to be *only_new*, give it a new value.

    :raises NotFoundError: there is no such environment.
    :raises InvalidInputError: the name or the value cannot be used.
    :raises ConflictError: another secret has the same variable, or there are too many.
    """
    check_name(SECRET, name)
    escaped_bytes = _checked_size(value)
    variable = references.variable_of(name)
    sealed = keyring().seal(value.encode(), environment_id, SECRET, name)

    def work(session: Session) -> rotation.Concern:
        lock(session, environment_id)
        row = session.get(Secret, (environment_id, name))
        preconditions.check(edit_revision(row) if row is not None else None)
        if row is not None and only_new:
            raise already_there(SECRET, name)
        twin = session.scalar(
            select(Secret.name).where(
                Secret.environment_id == environment_id, Secret.variable == variable, Secret.name != name
            )
        )
        if twin is not None:
            message = f'the secret "{twin}" has the same variable, {variable}'
            raise ConflictError(
                f'The secret "{name}" cannot be kept: {message}.', [{"field": "name", "message": message}]
            )
        check_room(session, Secret, environment_id, name, escaped_bytes, MAX_SECRETS, MAX_BYTES_IN_ALL)
        is_new = row is None
        if row is None:
            row = Secret(environment_id=environment_id, name=name, variable=variable)
            session.add(row)
        row.sealed, row.size, row.updated_at = sealed, escaped_bytes, utc_now()
        session.flush()
        concerned = rotation.concern(session, environment_id, SECRET, name)
        audit.record(
            session,
            actor,
            "secret.create" if is_new else "secret.rotate",
            environment_id=environment_id,
            secret=name,
            pipelines=[user.name for user in concerned.users],
        )
        return concerned

    outcome = rotation.tell(transaction(work))
    return get(environment_id, name), outcome


def delete(environment_id: str, name: str, actor: Actor) -> None:
    """Remove a secret that no deployed pipeline names.

    :raises NotFoundError: there is no such environment or secret.
    :raises ConflictError: deployed pipelines name it; the sentence says which.
    """
    transaction(lambda session: remove(session, Secret, SECRET, environment_id, name, actor))


def get(environment_id: str, name: str) -> SecretRow:
    """One secret, without its value.

    :raises NotFoundError: there is no such environment or secret.
    """

    def read(session: Session) -> SecretRow:
        can_be = is_id(environment_id) and references.NAME.fullmatch(name)
        row = session.get(Secret, (environment_id, name)) if can_be else None
        if row is None:
            raise NotFoundError("There is no such secret.")
        return _shown(row, rotation.users(session, environment_id))

    return snapshot(read)


def listing(environment_id: str, *, limit: int = DEFAULT_LIMIT, cursor: str | None = None) -> Page[SecretRow]:
    """A page of the environment's secrets, by name.

    :raises NotFoundError: there is no such environment.
    :raises InvalidInputError: the cursor is not one of this list.
    """
    after = decode_cursor(cursor, 1)[0] if cursor is not None else ""

    def read(session: Session) -> Page[SecretRow]:
        check_environment(session, environment_id)
        rows = session.scalars(
            select(Secret)
            .where(Secret.environment_id == environment_id, Secret.name > after)
            .order_by(Secret.name)
            .limit(limit + 1)
        ).all()
        used = rotation.users(session, environment_id)
        more = encode_cursor(rows[limit - 1].name) if len(rows) > limit else None
        return Page([_shown(row, used) for row in rows[:limit]], more)

    return snapshot(read)


def names(session: Session, environment_id: str) -> set[str]:
    """The names of all secrets of the environment."""
    return set(session.scalars(select(Secret.name).where(Secret.environment_id == environment_id)))


# what certificates share


def check_name(kind: str, name: str) -> None:
    """Refuse a name that no reference could write.

    :raises InvalidInputError: with a sentence.
    """
    if not references.NAME.fullmatch(name):
        message = 'it has 1 to 100 letters (A to Z), digits, "_" and "-", and begins with a letter or digit'
        raise InvalidInputError(
            f"The name of the {kind} cannot be used: {message}.", [{"field": "name", "message": message}]
        )


def lock(session: Session, environment_id: str) -> None:
    """Give the environment a new nonce and keep everybody else from changing what its nodes must run.

    :raises NotFoundError: there is no such environment.
    """
    if not is_id(environment_id):
        raise NotFoundError("There is no such environment.")
    revisions.touch(session, environment_id)


def check_environment(session: Session, environment_id: str) -> None:
    """Refuse an environment that does not exist.

    :raises NotFoundError: with a sentence.
    """
    if not is_id(environment_id) or session.get(Environment, environment_id) is None:
        raise NotFoundError("There is no such environment.")


def check_room(
    session: Session,
    model: type[Secret] | type[Certificate],
    environment_id: str,
    name: str,
    size: int,
    most: int,
    most_bytes: int,
) -> None:
    """Refuse what the environment has no room for.

    :raises ConflictError: with a sentence.
    """
    count, total = session.execute(
        select(func.count(), func.coalesce(func.sum(model.size), 0)).where(
            model.environment_id == environment_id, model.name != name
        )
    ).one()
    if count >= most:
        raise ConflictError(f"The environment has {most} of these already; remove one that is not used.")
    if total + size > most_bytes:
        raise ConflictError(
            f"All of these of one environment may have {most_bytes // 1024} KiB together; this would be more."
        )


class Put(Protocol):
    """What is known of what was put."""

    @property
    def name(self) -> str: ...
    @property
    def updated_at(self) -> datetime: ...


def edit_revision(row: Put) -> str:
    """Another one for each time that it was put: nothing in it is made of the value."""
    return preconditions.revision_of(row.name, row.updated_at.astimezone(UTC).isoformat())


def already_there(kind: str, name: str) -> ConflictError:
    """Why a form for a new one cannot be taken."""
    message = f"there is already a {kind} of that name; replace that, or choose another name"
    return ConflictError(
        f'The {kind} "{name}" was not kept: {message}.', [{"field": "name", "message": message}]
    )


def remove(
    session: Session,
    model: type[Secret] | type[Certificate],
    kind: str,
    environment_id: str,
    name: str,
    actor: Actor,
) -> None:
    """Remove what no deployed pipeline names, in a transaction."""
    lock(session, environment_id)
    row: Any = session.get(model, (environment_id, name))
    if row is None:
        raise NotFoundError(f"There is no such {kind}.")
    preconditions.check(edit_revision(row))
    found = rotation.users(session, environment_id).get((kind, name))
    if found:
        raise ConflictError(
            f'The {kind} "{name}" cannot be removed: {rotation.in_words(found)}'
            f" use{'s' if len(found) == 1 else ''} it."
        )
    session.delete(row)
    audit.record(session, actor, f"{kind}.delete", environment_id=environment_id, **{kind: name})


def _shown(row: Secret, used: dict[tuple[str, str], list[User]]) -> SecretRow:
    return SecretRow(
        row.name,
        row.updated_at,
        tuple(used.get((SECRET, row.name), ())),
        keyring().holds(row.key_id),
    )


def _checked_size(value: str) -> int:
    """How many bytes *value* takes in a child's environment."""
    size = len(references.escaped(value).encode())
    if not value:
        message = "it is empty"
    elif len(value.encode()) > MAX_VALUE_BYTES:
        message = f"it is larger than {MAX_VALUE_BYTES // 1024} KiB"
    elif size > MAX_ESCAPED_BYTES:
        message = f"with control characters and quotes escaped it is over {MAX_ESCAPED_BYTES // 1024} KiB"
    else:
        return size
    raise InvalidInputError(
        f"The value of the secret cannot be used: {message}.", [{"field": "value", "message": message}]
    )
