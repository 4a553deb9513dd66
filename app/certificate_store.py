"""Certificates and keys of an environment, in PEM: put, list, remove. What was put is never shown again."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from app import audit, pem, preconditions, references, rotation, secret_store
from app.audit import Actor
from app.clock import rfc3339, utc_now
from app.database import snapshot, transaction
from app.encryption import keyring
from app.errors import ConflictError, InvalidInputError, NotFoundError
from app.ids import is_id
from app.materials import CERTIFICATE
from app.models import Certificate
from app.paging import DEFAULT_LIMIT, Page, decode_cursor, encode_cursor
from app.rotation import Outcome, User

MAX_FILE_BYTES = 1024 * 1024
MAX_CERTIFICATES = 200
MAX_BYTES_IN_ALL = 8 * 1024 * 1024
"""Of one environment: a worker keeps them in memory, and a node may get all of them in one answer."""


@dataclass(frozen=True, slots=True)
class CertificateRow:
    """A certificate as lists show it: all but its content."""

    name: str
    filename: str
    expires_at: datetime | None
    """``None`` where the file holds no certificate, only a key."""
    updated_at: datetime
    used_by: tuple[User, ...]
    is_readable: bool
    """Whether the key that it was encrypted with is still here."""


def put(
    environment_id: str, name: str, filename: str, data: bytes, actor: Actor, *, only_new: bool = False
) -> tuple[CertificateRow, Outcome]:
    """Make the certificate, or, unless it is to be *only_new*, replace it.

    Nodes go on to find it under the file name that it had when their pipeline was deployed.

    :raises NotFoundError: there is no such environment.
    :raises InvalidInputError: the name, the file name or the content cannot be used.
    :raises ConflictError: another certificate has the file's name, or there are too many.
    """
    secret_store.check_name(CERTIFICATE, name)
    filename = base_name(filename)
    expires_at = _checked_expiry(data)
    sealed = keyring().seal(data, environment_id, CERTIFICATE, name)

    def work(session: Session) -> rotation.Concern:
        secret_store.lock(session, environment_id)
        row = session.get(Certificate, (environment_id, name))
        preconditions.check(secret_store.edit_revision(row) if row is not None else None)
        check_file_names(session, environment_id, {name: filename})
        secret_store.check_room(
            session, Certificate, environment_id, name, len(data), MAX_CERTIFICATES, MAX_BYTES_IN_ALL
        )
        if row is not None and only_new:
            raise secret_store.already_there(CERTIFICATE, name)
        is_new = row is None
        if row is None:
            row = Certificate(environment_id=environment_id, name=name)
            session.add(row)
        before = _told(row)
        row.sealed, row.size, row.updated_at = sealed, len(data), utc_now()
        row.filename, row.expires_at = filename, expires_at
        change: dict[str, Any] = {} if is_new else {"before": before, "after": _told(row)}
        session.flush()
        concerned = rotation.concern(session, environment_id, CERTIFICATE, name)
        audit.record(
            session,
            actor,
            "certificate.create" if is_new else "certificate.rotate",
            environment_id=environment_id,
            certificate=name,
            filename=filename,
            **change,
            pipelines=[user.name for user in concerned.users],
        )
        return concerned

    outcome = rotation.tell(transaction(work))
    return get(environment_id, name), outcome


def delete(environment_id: str, name: str, actor: Actor) -> None:
    """Remove a certificate that no deployed pipeline names.

    :raises NotFoundError: there is no such environment or certificate.
    :raises ConflictError: deployed pipelines name it; the sentence says which.
    """
    transaction(
        lambda session: secret_store.remove(session, Certificate, CERTIFICATE, environment_id, name, actor)
    )


def get(environment_id: str, name: str) -> CertificateRow:
    """One certificate, without its content.

    :raises NotFoundError: there is no such environment or certificate.
    """

    def read(session: Session) -> CertificateRow:
        can_be = is_id(environment_id) and references.NAME.fullmatch(name)
        query = _shown_columns(environment_id).where(Certificate.name == name)
        row = session.execute(query).one_or_none() if can_be else None
        if row is None:
            raise NotFoundError("There is no such certificate.")
        return _shown(row, rotation.users(session, environment_id))

    return snapshot(read)


def listing(
    environment_id: str, *, limit: int = DEFAULT_LIMIT, cursor: str | None = None
) -> Page[CertificateRow]:
    """A page of the environment's certificates, by name.

    :raises NotFoundError: there is no such environment.
    :raises InvalidInputError: the cursor is not one of this list.
    """
    after = decode_cursor(cursor, 1)[0] if cursor is not None else ""

    def read(session: Session) -> Page[CertificateRow]:
        secret_store.check_environment(session, environment_id)
        rows = session.execute(
            _shown_columns(environment_id)
            .where(Certificate.name > after)
            .order_by(Certificate.name)
            .limit(limit + 1)
        ).all()
        used = rotation.users(session, environment_id)
        more = encode_cursor(rows[limit - 1].name) if len(rows) > limit else None
        return Page([_shown(row, used) for row in rows[:limit]], more)

    return snapshot(read)


def file_names(session: Session, environment_id: str) -> dict[str, str]:
    """The name of each certificate's file, by the certificate's name."""
    rows = session.execute(
        select(Certificate.name, Certificate.filename).where(Certificate.environment_id == environment_id)
    )
    return dict(iter(rows))


def check_file_names(session: Session, environment_id: str, wanted: dict[str, str]) -> None:
    """Refuse to let two certificates share one file on nodes, which have one folder for all.

    :raises ConflictError: a file of *wanted* is another certificate's, as it is kept or in a deployed version.
    """
    taken = [*file_names(session, environment_id).items()]
    for _, names in rotation.names_in_use(session, environment_id):
        taken += names.certificates.items()
    owners = {filename: owner for owner, filename in taken if wanted.get(owner) != filename}
    for name, filename in wanted.items():
        if owners.get(filename, name) != name:
            message = f'the certificate "{owners[filename]}" has a file called {filename}'
            raise ConflictError(
                f'The certificate "{name}" cannot be used: {message}.',
                [{"field": "filename", "message": message}],
            )


def base_name(filename: str) -> str:
    """What stands behind the last slash or backslash of *filename*.

    :raises InvalidInputError: it cannot be the name of a file on nodes.
    """
    base = posixpath.basename(filename.replace("\\", "/"))
    if not references.FILE_NAME.fullmatch(base):
        message = 'it has 1 to 100 letters (A to Z), digits, ".", "_" and "-", and begins with no "." or "-"'
        raise InvalidInputError(
            f"The file name cannot be used: {message}.", [{"field": "filename", "message": message}]
        )
    return base


def _told(row: Certificate) -> dict[str, str | None]:
    """What the audit log says of a certificate that is replaced."""
    return {"filename": row.filename, "expires_at": rfc3339(row.expires_at)}


def _checked_expiry(data: bytes) -> datetime | None:
    if len(data) > MAX_FILE_BYTES:
        message = f"it is larger than {MAX_FILE_BYTES // 1024} KiB"
    else:
        try:
            return pem.expiry(data)
        except pem.PemError as error:
            message = str(error)
    raise InvalidInputError(
        f"The certificate cannot be used: {message}.", [{"field": "data", "message": message}]
    )


def _shown_columns(environment_id: str) -> Select[str, str, datetime | None, datetime, str]:
    """All but the content, which may be a megabyte."""
    return select(
        Certificate.name,
        Certificate.filename,
        Certificate.expires_at,
        Certificate.updated_at,
        Certificate.key_id,
    ).where(Certificate.environment_id == environment_id)


def _shown(row: Any, used: dict[tuple[str, str], list[User]]) -> CertificateRow:
    return CertificateRow(
        row.name,
        row.filename,
        row.expires_at,
        row.updated_at,
        tuple(used.get((CERTIFICATE, row.name), ())),
        keyring().holds(row.key_id),
    )
