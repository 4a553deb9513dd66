"""Passwords: what can be one, and signing in with one.

They are what people choose, so they are hashed slowly, by bcrypt, outside of the event loop and two at a time: a
quarter of a second each would otherwise stop a worker.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import TypeVar

import bcrypt
import gevent
from gevent import monkey
from sqlalchemy import literal, select, update
from sqlalchemy.orm import Session

from app import audit, sessions, sign_in_limits
from app.audit import Actor
from app.database import snapshot, transaction
from app.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    TooManyRequestsError,
    UnauthorizedError,
)
from app.known_devices import Device
from app.models import Account, AccountSession
from app.sign_in_limits import Counter

Result = TypeVar("Result")

LEAST_PASSWORD_CHARACTERS = 8
MOST_PASSWORD_BYTES = 72
"""More than bcrypt looks at."""
HASHES_AT_ONCE = 2
HASHES_WAITING = 20
"""Sign-ins that may wait for a turn; at a quarter of a second each that is a few seconds."""
EMAIL = re.compile(r"[^\s@\x00-\x1f\x7f]{1,64}@[^\s@\x00-\x1f\x7f]{1,188}")

_HASH_OF_NOBODY = b"$2b$12$G4MWuThf5yl7ai18TvubDOvoFkhSwG5lQ1TZo3pOHv763FUDwqcUa"
"""What a password is compared with where there is no account, so that it takes as long. Of a random text that
nobody has kept, and of the cost of ``bcrypt.gensalt``."""
_turns = threading.BoundedSemaphore(HASHES_AT_ONCE)
_waiting = threading.BoundedSemaphore(HASHES_AT_ONCE + HASHES_WAITING)


def check(password: str, field: str = "password") -> None:
    """Refuse a password that cannot be used.

    :raises InvalidInputError: too short, or longer than bcrypt can look at.
    """
    if len(password) < LEAST_PASSWORD_CHARACTERS:
        raise _refusal(f"a password has at least {LEAST_PASSWORD_CHARACTERS} characters", field)
    if len(password.encode("utf-8", "surrogatepass")) > MOST_PASSWORD_BYTES:
        raise _refusal(f"a password has at most {MOST_PASSWORD_BYTES} bytes", field)
    if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in password):
        raise _refusal("it holds a character that cannot be typed", field)


def hash_of(password: str) -> str:
    """What is stored of a password that ``check`` has let pass.

    :raises TooManyRequestsError: too many people sign in just now.
    """
    return in_turn(lambda: bcrypt.hashpw(password.encode(), bcrypt.gensalt())).decode()


def sign_in(email: str, password: str, address: str | None = None, device: Device | None = None) -> Account:
    """The account of whoever knows its password. The answer does not tell which of the two was wrong.

    Holds no database connection while it hashes.

    :raises InvalidInputError: the password is longer than any can be.
    :raises UnauthorizedError: there is no such account, or that is not its password.
    :raises TooManyRequestsError: too many attempts, or too many people sign in just now.
    """
    email = email.strip().lower()
    given = _encoded(password)
    account, has_session_there = _look_up(email, address)
    known_place = None
    if account is not None and device is not None and device.knows(account.id):
        known_place = f"device {device.id}"
    elif account is not None and has_session_there:
        known_place = f"address {address}"
    counted = sign_in_limits.counters(email, address, known_place)
    if not _is_right(given, account, counted) or account is None or account.disabled_at is not None:
        raise UnauthorizedError("The e-mail address or the password is not right.")
    return account


def change(account_id: str, present: str, new: str, actor: Actor, *, session_id: str) -> int:
    """Give one's own account another password; ends its other sessions: how many.

    :raises InvalidInputError: *present* is not its password, or *new* cannot be used; ``details`` name which.
    :raises ConflictError: the account has no password, since it signs in elsewhere.
    :raises TooManyRequestsError: too many wrong ones were given for *present*.
    """
    check(new, "new")
    if new == present:
        raise _refusal("it is the one that you have", "new")
    account = snapshot(lambda session: session.get_one(Account, account_id))
    if not account.password_hash:
        raise ConflictError("Your account has no password here, so there is none to change.")
    # Whoever has found an open browser does not get to guess for ever; each account has its own tries.
    counted = [Counter(sign_in_limits.OF_AN_ACCOUNT, ("change", account_id))]
    if not _is_right(_encoded(present, "present"), account, counted):
        raise InvalidInputError(
            "The present password is not right.",
            [{"field": "present", "message": "that is not your present password"}],
        )
    return _store(account_id, hash_of(new), actor, but=session_id)


def set_for(email: str, password: str, actor: Actor) -> None:
    """Give an account a password without knowing its present one; ends all its sessions.

    :raises NotFoundError: there is no such account.
    :raises InvalidInputError: the password cannot be used.
    """
    check(password)
    query = select(Account.id).where(Account.email == email.strip().lower())
    account_id = snapshot(lambda session: session.scalar(query))
    if account_id is None:
        raise NotFoundError(f'There is no account for "{email[:80]}".')
    _store(account_id, hash_of(password), actor)


def in_turn(function: Callable[[], Result]) -> Result:
    """Run what takes a quarter of a second of one core in gevent's threads, at most two at once.

    :raises TooManyRequestsError: twenty wait already.
    """
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


def _store(account_id: str, password_hash: str, actor: Actor, *, but: str | None = None) -> int:
    def work(session: Session) -> int:
        session.execute(update(Account).where(Account.id == account_id).values(password_hash=password_hash))
        count = sessions.remove(session, account_id, but=but)
        audit.record(session, actor, "account.password", subject_id=account_id, sessions_ended=count)
        return count

    return transaction(work)


def _look_up(email: str, address: str | None) -> tuple[Account | None, bool]:
    """The account, and whether it has a session that was used from *address*: for an unknown one just as long."""
    if not EMAIL.fullmatch(email):
        return None, False
    from_there = (
        select(literal(1))
        .where(AccountSession.account_id == Account.id, AccountSession.address == (address or None))
        .exists()
    )

    def read(session: Session) -> tuple[Account | None, bool]:
        row = session.execute(select(Account, from_there).where(Account.email == email)).first()
        return (row[0], bool(row[1])) if row is not None else (None, False)

    return snapshot(read)


def _is_right(given: bytes, account: Account | None, counted: list[Counter]) -> bool:
    """Whether *given* is the account's password; a try that is counted unless it is."""
    limits = sign_in_limits.sign_in_limits()
    stored = account.password_hash.encode() if account and account.password_hash else None
    limits.attempt(counted)
    is_right = False
    try:
        is_right = in_turn(lambda: bcrypt.checkpw(given, stored or _HASH_OF_NOBODY)) and stored is not None
    except TooManyRequestsError:
        limits.give_back(counted)  # nothing was looked at
        raise
    if is_right:
        limits.give_back(counted)
    return is_right


def _encoded(password: str, field: str = "password") -> bytes:
    given = password.encode("utf-8", "surrogatepass")
    if len(given) > MOST_PASSWORD_BYTES:
        raise _refusal(f"a password has at most {MOST_PASSWORD_BYTES} bytes", field)
    return given


def _refusal(message: str, field: str) -> InvalidInputError:
    return InvalidInputError(
        f"The password cannot be used: {message}.", [{"field": field, "message": message}]
    )
