"""What admins do with other people's accounts: list, make, give roles, disable, delete, set a password.

Whatever leaves the server without an enabled account that is an admin overall is refused: nobody could undo it here.
What an account may do is read with each request, so a change holds from the next one on, in every worker.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app import account_roles, accounts, audit, passwords, preconditions, sessions
from app.audit import Actor
from app.clock import utc_now
from app.database import snapshot, transaction
from app.errors import ConflictError, NotFoundError
from app.ids import is_id
from app.models import Account, AccountIdentity
from app.paging import DEFAULT_LIMIT, Page, decode_cursor, first_of
from app.principal import Role

LAST_ADMIN = (
    "This is the last enabled account with the role admin overall: nobody could make another one."
    " Give that role to somebody else first."
)
ONE_TIME_BYTES = 12
"""Of a password that we make: 96 random bits."""


class Unchanged:
    """Says that a field stays as it is; ``None`` is a value of its own."""


UNCHANGED = Unchanged()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody wants an account to be."""

    role: str | Unchanged | None = UNCHANGED
    """In every environment and outside of them; ``None``: only in those of the grants."""
    grants: Mapping[str, str] | Unchanged = UNCHANGED
    """All roles in single environments, by the environment's id."""
    disabled: bool | Unchanged = UNCHANGED


@dataclass(frozen=True, slots=True)
class AccountRow:
    """An account as admins see it."""

    id: str
    email: str
    role: Role | None
    grants: dict[str, Role]
    """By the environment's id."""
    disabled_at: datetime | None
    created_at: datetime
    last_login_at: datetime | None
    provider: str | None
    """The OpenID Connect provider where they sign in: its groups decide the roles at each sign-in."""


def listing(*, limit: int = DEFAULT_LIMIT, cursor: str | None = None) -> Page[AccountRow]:
    """A page of accounts, newest first.

    :raises InvalidInputError: the cursor is not one of this list.
    """
    query = select(Account).order_by(Account.id.desc()).limit(limit + 1)
    if cursor is not None:
        query = query.where(Account.id < decode_cursor(cursor, 1)[0])
    rows = snapshot(lambda session: _rows(session, session.scalars(query).all()))
    return first_of(rows, limit, lambda row: [row.id])


def get(account_id: str) -> AccountRow:
    """One account.

    :raises NotFoundError: there is none of that id.
    """

    def read(session: Session) -> list[AccountRow]:
        account = session.get(Account, account_id) if is_id(account_id) else None
        return _rows(session, [account] if account is not None else [])

    found = snapshot(read)
    if not found:
        raise _unknown()
    return found[0]


def find(email_or_id: str) -> AccountRow:
    """The account of that e-mail address, or else of that id.

    :raises NotFoundError: there is none.
    """
    query = select(Account.id).where(Account.email == email_or_id.strip().lower())
    return get(snapshot(lambda session: session.scalar(query)) or email_or_id)


def create(
    email: str,
    password: str | None,
    actor: Actor,
    *,
    role: str | None = None,
    grants: Mapping[str, str] | None = None,
) -> tuple[AccountRow, str | None]:
    """Make an account; without *password* one is made, and is in this answer only.

    :raises InvalidInputError: the e-mail address, the password, a role or an environment cannot be used.
    :raises ConflictError: there is an account of that address.
    """
    chosen = _one_time_password() if password is None else password
    account = accounts.create_account(email, chosen, role, actor, grants=grants)
    return get(account.id), chosen if password is None else None


def update(account_id: str, wanted: Wanted, actor: Actor) -> AccountRow:
    """Change what is given. Whoever is disabled is signed out everywhere.

    :raises NotFoundError: there is no such account.
    :raises InvalidInputError: a role or an environment cannot be used.
    :raises ConflictError: it is the last admin.
    """

    def work(session: Session) -> None:
        account = _locked(session, account_id)
        preconditions.check(edit_revision(_rows(session, [account])[0]))
        before = _told(account)
        was_admin = _is_admin(account)
        if not isinstance(wanted.role, Unchanged):
            account.role = account_roles.checked(wanted.role) if wanted.role is not None else None
        if not isinstance(wanted.grants, Unchanged):
            account_roles.set_grants(session, account, wanted.grants)
        if not isinstance(wanted.disabled, Unchanged) and wanted.disabled != (
            account.disabled_at is not None
        ):
            account.disabled_at = utc_now() if wanted.disabled else None
            sessions.remove(session, account_id)
        session.flush()
        if was_admin and not _is_admin(account):
            _keep_an_admin(session)
        after = _told(account)
        changed = [key for key in after if after[key] != before[key]]
        if changed:
            audit.record(
                session,
                actor,
                "account.update",
                subject_id=account_id,
                email=account.email,
                before={key: before[key] for key in changed},
                after={key: after[key] for key in changed},
            )

    transaction(work)
    return get(account_id)


def edit_revision(row: AccountRow) -> str:
    """Another one for each thing that admins can make of it."""
    return preconditions.revision_of(row.email, row.role, row.grants, row.disabled_at is not None)


def set_password(account_id: str, password: str | None, actor: Actor) -> str | None:
    """Give the account another password and end its sessions; without *password* one is made and returned.

    :raises NotFoundError: there is no such account.
    :raises InvalidInputError: the password cannot be used.
    """
    get(account_id)
    chosen = _one_time_password() if password is None else password
    passwords.check(chosen)
    password_hash = passwords.hash_of(chosen)

    def work(session: Session) -> None:
        account = _locked(session, account_id)
        account.password_hash = password_hash
        ended = sessions.remove(session, account_id)
        audit.record(
            session,
            actor,
            "account.password",
            subject_id=account_id,
            email=account.email,
            sessions_ended=ended,
        )

    transaction(work)
    return chosen if password is None else None


def delete(account_id: str, actor: Actor) -> None:
    """Delete the account; its sessions end. What it did stays in the audit log.

    :raises NotFoundError: there is no such account.
    :raises ConflictError: it is the last admin.
    """

    def work(session: Session) -> None:
        account = _locked(session, account_id)
        preconditions.check(edit_revision(_rows(session, [account])[0]))
        before, was_admin = _told(account), _is_admin(account)
        session.delete(account)
        session.flush()
        if was_admin:
            _keep_an_admin(session)
        audit.record(
            session, actor, "account.delete", subject_id=account_id, email=account.email, before=before
        )

    transaction(work)


def _rows(session: Session, found: Sequence[Account]) -> list[AccountRow]:
    query = select(AccountIdentity.account_id, AccountIdentity.issuer)
    query = query.where(AccountIdentity.account_id.in_([account.id for account in found]))
    providers = dict(iter(session.execute(query)))
    return [
        AccountRow(
            account.id,
            account.email,
            account.role,
            dict(accounts.principal_of(account).grants),
            account.disabled_at,
            account.created_at,
            account.last_login_at,
            providers.get(account.id),
        )
        for account in found
    ]


def _locked(session: Session, account_id: str) -> Account:
    """The account; until the end of the transaction nobody else changes any. SQLite has one writer anyway."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("LOCK TABLE account IN SHARE ROW EXCLUSIVE MODE"))
    account = session.get(Account, account_id) if is_id(account_id) else None
    if account is None:
        raise _unknown()
    return account


def _is_admin(account: Account) -> bool:
    return account.role == "admin" and account.disabled_at is None


def _keep_an_admin(session: Session) -> None:
    is_left = select(Account.id).where(Account.role == "admin", Account.disabled_at.is_(None)).limit(1)
    if session.scalar(is_left) is None:
        raise ConflictError(LAST_ADMIN)


def _told(account: Account) -> dict[str, Any]:
    """For the audit log."""
    grants = {grant.environment_id: grant.role for grant in account.grants}
    return {
        "role": account.role,
        "grants": dict(sorted(grants.items())),
        "disabled": account.disabled_at is not None,
    }


def _one_time_password() -> str:
    return secrets.token_urlsafe(ONE_TIME_BYTES)


def _unknown() -> NotFoundError:
    return NotFoundError("There is no such account.")
