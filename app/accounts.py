"""People and scripts that operate the fleet: accounts with passwords, API tokens, which are looked up by their id."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app import account_roles, api_token_reads, audit, names, passwords, tokens
from app.audit import Actor
from app.clock import rfc3339, utc_now
from app.database import DatabaseBusyError, transaction
from app.errors import ConflictError, InvalidInputError, NotFoundError, UnauthorizedError
from app.ids import new_id
from app.models import Account, ApiToken, Environment
from app.principal import Principal, is_role

USE_NOTED_AT_MOST_EVERY = timedelta(minutes=1)

_WORDS = {"email": "e-mail address", "expires": "expiry"}


def create_account(
    email: str,
    password: str,
    role: str | None,
    actor: Actor,
    *,
    grants: Mapping[str, str] | None = None,
    only_first: bool = False,
) -> Account:
    """Make an account for a person; with *only_first* no second one, whoever asks at the same time.

    *role* holds everywhere (``None``: it has none), *grants* in single environments, by their ids.

    :raises InvalidInputError: the e-mail address, the password or the role cannot be used.
    :raises ConflictError: there is an account of that address or, with *only_first*, any.
    """
    email = email.strip().lower()
    if not passwords.EMAIL.fullmatch(email) or not email.isprintable():
        raise _refusal("email", f'"{email[:80]}" is not an e-mail address')
    overall = account_roles.checked(role) if role is not None else None
    passwords.check(password)
    password_hash = passwords.hash_of(password)
    account = Account(
        id=new_id(),
        email=email,
        password_hash=password_hash,
        role=overall,
        session_key=secrets.token_hex(16),
        created_at=utc_now(),
    )

    def work(session: Session) -> Account:
        if only_first:
            _refuse_a_second(session)
        merged: Account = session.merge(account)
        account_roles.set_grants(session, merged, grants or {})
        told: dict[str, Any] = {"email": email, "role": role}
        if grants:
            told["grants"] = dict(sorted(grants.items()))
        audit.record(session, actor, "account.create", subject_id=account.id, **told)
        return merged

    try:
        stored: Account = transaction(work)
    except IntegrityError:
        raise ConflictError(f"There is already an account for {email}.") from None
    return stored


def _refuse_a_second(session: Session) -> None:
    """Until the end of the transaction nobody else makes an account. SQLite has one writer anyway."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("LOCK TABLE account IN SHARE ROW EXCLUSIVE MODE"))
    if session.scalar(select(Account.id).limit(1)) is not None:
        raise first_exists()


def first_exists() -> ConflictError:
    """What is told whoever comes too late to make the first account."""
    return ConflictError("The first account has been made already, by you or by somebody else.")


def create_api_token(
    name: str,
    actor: Actor,
    *,
    role: str = "admin",
    environment_id: str | None = None,
    expires_at: datetime | None = None,
    counts_as: str | None = None,
    may_approve: bool = False,
) -> tokens.MintedToken:
    """Make a token for scripts; its text is in this answer only. Names may repeat.

    *counts_as* and *may_approve* are for protected environments, see ``app.models.ApiToken``.

    :raises InvalidInputError: the name, the role or the moment cannot be used.
    :raises NotFoundError: there is no such environment.
    """
    name = names.checked(name)
    role = account_roles.checked(role)
    if expires_at is not None and expires_at <= utc_now():
        raise _refusal("expires", "it must lie in the future")
    token_id = new_id()
    minted = tokens.mint("api", token_id)

    def work(session: Session) -> None:
        if environment_id is not None and session.get(Environment, environment_id) is None:
            raise NotFoundError("There is no such environment.")
        session.add(
            ApiToken(
                id=token_id,
                name=name,
                digest=minted.digest,
                role=role,
                environment_id=environment_id,
                expires_at=expires_at,
                created_at=utc_now(),
                created_by=actor.name,
                counts_as=counts_as,
                may_approve=may_approve,
            )
        )
        audit.record(
            session,
            actor,
            "api-token.create",
            environment_id=environment_id,
            subject_id=token_id,
            token=name,
            role=role,
            expiresAt=rfc3339(expires_at),
            mayApprove=may_approve,
        )

    transaction(work)
    return minted


def principal_of(account: Account) -> Principal:
    """What the account may do, as it was read."""
    grants = {grant.environment_id: grant.role for grant in account.grants if is_role(grant.role)}
    return Principal("account", account.id, account.email, account.role, grants)


def authenticate_api(header: str | None) -> Principal:
    """The API token in an ``Authorization`` *header*: one indexed read. That it was used is noted once a minute.

    :raises UnauthorizedError: no token, or a malformed, unknown, revoked or expired one.
    """
    text = tokens.bearer(header)
    token_id = tokens.owner_of(text, "api") if text else None
    if text is None or token_id is None:
        raise UnauthorizedError("An API token is needed (Authorization: Bearer sbx_api_…).")
    token = api_token_reads.read(token_id)
    now = utc_now()
    if not tokens.matches(text, token.digest if token else None) or token is None:
        raise UnauthorizedError("The API token is not valid.")
    if token.revoked_at is not None:
        raise UnauthorizedError("The API token was revoked.")
    if token.expires_at is not None and token.expires_at <= now:
        raise UnauthorizedError("The API token has expired.")
    if token.last_used_at is None or now - token.last_used_at >= USE_NOTED_AT_MOST_EVERY:
        _note_use(token_id, now)
    role = token.role if is_role(token.role) else None
    is_limited = token.environment_id is not None
    return Principal(
        "token",
        token.id,
        token.name,
        None if is_limited else role,
        {} if token.environment_id is None or role is None else {token.environment_id: role},
        counts_as=token.counts_as,
        may_approve=bool(token.may_approve),
        expires_at=token.expires_at,
    )


def _note_use(token_id: str, now: datetime) -> None:
    def work(session: Session) -> None:
        session.execute(update(ApiToken).where(ApiToken.id == token_id).values(last_used_at=now))

    try:
        transaction(work)
    except DatabaseBusyError:
        return  # a request that only reads must not fail for this; the next one notes it


def _refusal(field: str, message: str) -> InvalidInputError:
    return InvalidInputError(
        f"The {_WORDS.get(field, field)} cannot be used: {message}.",
        [{"field": field, "message": message}],
    )
