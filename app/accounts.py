"""People and scripts that operate the fleet: accounts with passwords, API tokens without.

Passwords are what people choose, so they are hashed slowly, by bcrypt, outside of the event loop and two at a
time: a quarter of a second each would otherwise stop a worker. API tokens are random and looked up by their id.
"""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cache
from typing import TypeVar

import bcrypt
import gevent
from gevent import monkey
from sqlalchemy import select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app import audit, names, tokens
from app.audit import Actor
from app.clock import utc_now
from app.database import DatabaseBusyError, snapshot, transaction
from app.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    TooManyRequestsError,
    UnauthorizedError,
)
from app.ids import new_id
from app.models import Account, ApiToken, Environment
from app.principal import ROLES, Principal, Role, is_role

Result = TypeVar("Result")

LEAST_PASSWORD_CHARACTERS = 8
MOST_PASSWORD_BYTES = 72
"""More than bcrypt looks at."""
HASHES_AT_ONCE = 2
HASHES_WAITING = 20
"""Sign-ins that may wait for a turn; at a quarter of a second each that is a few seconds."""
USE_NOTED_AT_MOST_EVERY = timedelta(minutes=1)

_WORDS = {"email": "e-mail address", "expires": "expiry"}
_EMAIL = re.compile(r"[^\s@\x00-\x1f\x7f]{1,64}@[^\s@\x00-\x1f\x7f]{1,188}")
_turns = threading.BoundedSemaphore(HASHES_AT_ONCE)
_waiting = threading.BoundedSemaphore(HASHES_AT_ONCE + HASHES_WAITING)


def create_account(
    email: str, password: str, role: str, actor: Actor, *, only_first: bool = False
) -> Account:
    """Make an account for a person; with *only_first* no second one, whoever asks at the same time.

    :raises InvalidInputError: the e-mail address, the password or the role cannot be used.
    :raises ConflictError: there is an account of that address or, with *only_first*, any.
    """
    email = email.strip().lower()
    if not _EMAIL.fullmatch(email) or not email.isprintable():
        raise _refusal("email", f'"{email[:80]}" is not an e-mail address')
    role = _checked_role(role)
    check_password(password)
    password_hash = _in_turn(lambda: bcrypt.hashpw(password.encode(), bcrypt.gensalt())).decode()
    account = Account(
        id=new_id(),
        email=email,
        password_hash=password_hash,
        role=role,
        session_key=secrets.token_hex(16),
        created_at=utc_now(),
    )

    def work(session: Session) -> Account:
        if only_first:
            _refuse_a_second(session)
        audit.record(session, actor, "account.create", subject_id=account.id, email=email, role=role)
        merged: Account = session.merge(account)
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


def sign_in(email: str, password: str, address: str | None = None) -> Account:
    """The account of whoever knows its password. The answer does not tell which of the two was wrong.

    Holds no database connection while it hashes.

    :raises InvalidInputError: the password is longer than any can be.
    :raises UnauthorizedError: there is no such account, or that is not its password.
    :raises TooManyRequestsError: too many people sign in just now.
    """
    email = email.strip().lower()
    given = password.encode("utf-8", "surrogatepass")
    if len(given) > MOST_PASSWORD_BYTES:
        raise _refusal("password", f"a password has at most {MOST_PASSWORD_BYTES} bytes")
    query = select(Account).where(Account.email == email)
    account: Account | None = (
        snapshot(lambda session: session.scalar(query)) if _EMAIL.fullmatch(email) else None
    )
    stored = account.password_hash.encode() if account else _hash_of_nobody()
    is_right = _in_turn(lambda: bcrypt.checkpw(given, stored))
    if account is None or not is_right or account.disabled_at is not None:
        raise UnauthorizedError("The e-mail address or the password is not right.")

    def work(session: Session) -> None:
        session.execute(update(Account).where(Account.id == account.id).values(last_login_at=utc_now()))
        audit.record(session, Actor(account.email, address), "account.sign-in", subject_id=account.id)

    transaction(work)
    return account


def end_sessions(account_id: str, actor: Actor) -> None:
    """End every session of the account: the cookies of all browsers, and their open pages within seconds."""

    def work(session: Session) -> None:
        session.execute(
            update(Account).where(Account.id == account_id).values(session_key=secrets.token_hex(16))
        )
        audit.record(session, actor, "account.sign-out", subject_id=account_id)

    transaction(work)


def check_password(password: str) -> None:
    """Refuse a password that cannot be used.

    :raises InvalidInputError: too short, or longer than bcrypt can look at.
    """
    if len(password) < LEAST_PASSWORD_CHARACTERS:
        raise _refusal("password", f"a password has at least {LEAST_PASSWORD_CHARACTERS} characters")
    if len(password.encode("utf-8", "surrogatepass")) > MOST_PASSWORD_BYTES:
        raise _refusal("password", f"a password has at most {MOST_PASSWORD_BYTES} bytes")
    if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in password):
        raise _refusal("password", "it holds a character that cannot be typed")


def create_api_token(
    name: str,
    actor: Actor,
    *,
    role: str = "admin",
    environment_id: str | None = None,
    expires_at: datetime | None = None,
) -> tokens.MintedToken:
    """Make a token for scripts; its text is in this answer only. Names may repeat.

    :raises InvalidInputError: the name, the role or the moment cannot be used.
    :raises NotFoundError: there is no such environment.
    """
    name = names.checked(name)
    role = _checked_role(role)
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
    token = snapshot(lambda session: session.get(ApiToken, token_id))
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
    if token.environment_id is None or role is None:
        return Principal("token", token.id, token.name, role if token.environment_id is None else None)
    return Principal("token", token.id, token.name, None, {token.environment_id: role})


def _note_use(token_id: str, now: datetime) -> None:
    def work(session: Session) -> None:
        session.execute(update(ApiToken).where(ApiToken.id == token_id).values(last_used_at=now))

    try:
        transaction(work)
    except DatabaseBusyError:
        return  # a request that only reads must not fail for this; the next one notes it


def _in_turn(function: Callable[[], Result]) -> Result:
    """Run what takes a quarter of a second of one core in gevent's threads, at most two at once."""
    if not _waiting.acquire(blocking=False):
        raise TooManyRequestsError("Too many people sign in just now; try again shortly.", retry_after=5)
    try:
        with _turns:
            if monkey.is_module_patched("threading"):
                result: Result = gevent.get_hub().threadpool.apply(function)
                return result
            return function()  # a command or the development server: nothing else waits for this thread
    finally:
        _waiting.release()


@cache
def _hash_of_nobody() -> bytes:
    """What a password is compared with where there is no account, so that it takes as long."""
    return _in_turn(lambda: bcrypt.hashpw(secrets.token_bytes(16).hex().encode(), bcrypt.gensalt()))


def _checked_role(role: str) -> Role:
    if not is_role(role):
        raise _refusal("role", f"it is one of {', '.join(ROLES)}")
    return role


def _refusal(field: str, message: str) -> InvalidInputError:
    return InvalidInputError(
        f"The {_WORDS.get(field, field)} cannot be used: {message}.",
        [{"field": field, "message": message}],
    )
