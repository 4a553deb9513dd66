"""Sessions of people: each sign-in is a row, so that it can be listed, and ended in every worker at once.

The cookie carries a random token of which only the hash is stored. A session ends when somebody ends it, when it
was not used for long or has lasted long (both settings), or with its account.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from flask import current_app
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from app import audit, server_settings, tokens
from app.audit import Actor
from app.clock import utc_now
from app.database import DatabaseBusyError, snapshot, transaction
from app.errors import NotFoundError
from app.ids import is_id, new_id
from app.models import Account, AccountSession

Method = Literal["password", "setup", "oidc", "recovery"]
METHODS: Final[dict[Method, str]] = {
    "password": "with a password",
    "setup": "on the first-run page",
    "oidc": "with single sign-on",
    "recovery": "with a code from the command line",
}
"""How somebody can sign in, each with its words."""
LOCAL: Final = ("password", "setup")
"""Those that are worth nothing where local accounts are turned off."""

MOST_SESSIONS = 100
"""Of one account; a newer one ends the one that was not used for longest."""
MOST_AGENT_CHARACTERS = 300
MOST_ADDRESS_CHARACTERS = 45
SEEN_NOTED_AT_MOST_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request comes from, as far as it says."""

    address: str | None
    user_agent: str | None = None


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session that is good, and whose it is."""

    account: Account
    session: AccountSession


def begin(account: Account, method: Method, origin: Origin) -> str:
    """Sign *account* in; the token for the cookie, which is in this answer only."""
    now, session_id = utc_now(), new_id()
    minted = tokens.mint("session", session_id)

    def work(session: Session) -> None:
        session.execute(update(Account).where(Account.id == account.id).values(last_login_at=now))
        kept = (
            select(AccountSession.id)
            .where(AccountSession.account_id == account.id)
            .order_by(AccountSession.last_seen_at.desc(), AccountSession.id.desc())
            .limit(MOST_SESSIONS - 1)
        )
        session.execute(
            delete(AccountSession).where(
                AccountSession.account_id == account.id, AccountSession.id.not_in(kept)
            )
        )
        session.add(
            AccountSession(
                id=session_id,
                account_id=account.id,
                digest=minted.digest,
                method=method,
                address=_bounded(origin.address, MOST_ADDRESS_CHARACTERS),
                user_agent=_bounded(origin.user_agent, MOST_AGENT_CHARACTERS),
                created_at=now,
                last_seen_at=now,
            )
        )
        actor = Actor(account.email, origin.address)
        audit.record(session, actor, "account.sign-in", subject_id=account.id, method=method)

    transaction(work)
    return minted.text


def find(text: str, origin: Origin) -> SignedIn | None:
    """Whose session the token *text* is, if it is good now. That it was used, and from where, is noted."""
    session_id = tokens.owner_of(text, "session")
    if session_id is None:
        return None
    now = utc_now()

    def read(session: Session) -> SignedIn | None:
        # In a transaction of its own: what the request reads later must not be as old as this (hazard 6).
        found = session.get(AccountSession, session_id)
        if not tokens.matches(text, found.digest if found else None) or found is None:
            return None
        if not _is_good(session, found, now):
            return None
        account = session.get_one(Account, found.account_id)
        return SignedIn(account, found) if account.disabled_at is None else None

    found = snapshot(read)
    if found is not None and now - found.session.last_seen_at >= SEEN_NOTED_AT_MOST_EVERY:
        _note_use(session_id, origin, now)
    return found


def listing(account_id: str) -> list[AccountSession]:
    """The account's sessions that are good now, the one used last first; at most ``MOST_SESSIONS`` of them."""
    query = (
        select(AccountSession)
        .where(AccountSession.account_id == account_id)
        .order_by(AccountSession.last_seen_at.desc(), AccountSession.id.desc())
    )

    def read(session: Session) -> list[AccountSession]:
        now = utc_now()
        return [found for found in session.scalars(query) if _is_good(session, found, now)]

    return snapshot(read)


def end(account_id: str, session_id: str, actor: Actor) -> None:
    """End one session of the account: its next request is a stranger's, and its open pages end within seconds.

    :raises NotFoundError: the account has no such session (any more).
    """

    def work(session: Session) -> None:
        found = session.get(AccountSession, session_id) if is_id(session_id) else None
        if found is None or found.account_id != account_id:
            raise NotFoundError("There is no such session any more.")
        session.delete(found)
        audit.record(session, actor, "account.session-end", subject_id=account_id, session_id=session_id)

    transaction(work)


def sign_out(account_id: str, session_id: str, actor: Actor) -> None:
    """End the session whose owner signs out; nothing where it has ended already."""

    def work(session: Session) -> None:
        session.execute(delete(AccountSession).where(AccountSession.id == session_id))
        audit.record(session, actor, "account.sign-out", subject_id=account_id, session_id=session_id)

    transaction(work)


def end_all(account_id: str, actor: Actor, *, but: str | None = None) -> int:
    """End every session of the account, in all browsers, except the one with the id *but*; how many.

    :raises NotFoundError: there is no such account.
    """

    def work(session: Session) -> int:
        if not is_id(account_id) or session.get(Account, account_id) is None:
            raise NotFoundError("There is no such account.")
        count = remove(session, account_id, but=but)
        audit.record(session, actor, "account.sessions-end", subject_id=account_id, sessions=count)
        return count

    return transaction(work)


def remove(session: Session, account_id: str, *, but: str | None = None) -> int:
    """As ``end_all``, in the transaction of whatever is the reason; recorded by that."""
    ids = list(
        session.scalars(
            select(AccountSession.id).where(
                AccountSession.account_id == account_id, AccountSession.id != (but or "")
            )
        )
    )
    session.execute(delete(AccountSession).where(AccountSession.id.in_(ids)))
    # What cookies of the release before carry: its workers, which run on during an upgrade, end those.
    session.execute(update(Account).where(Account.id == account_id).values(session_key=secrets.token_hex(16)))
    return len(ids)


def last_moments(now: datetime, idle_hours: int, days: int) -> tuple[datetime, datetime]:
    """A session that was last used before the first moment, or began before the second, has expired."""
    return now - timedelta(hours=idle_hours), now - timedelta(days=days)


def _is_good(session: Session, found: AccountSession, now: datetime) -> bool:
    if found.method in LOCAL and not current_app.extensions["settings"].local_accounts:
        return False
    idle_hours, days = server_settings.values_in(session, "sessionIdleHours", "sessionDays")
    idle_before, begun_before = last_moments(now, idle_hours, days)
    return found.last_seen_at >= idle_before and found.created_at >= begun_before


def _note_use(session_id: str, origin: Origin, now: datetime) -> None:
    def work(session: Session) -> None:
        session.execute(
            update(AccountSession)
            .where(AccountSession.id == session_id)
            .values(
                last_seen_at=now,
                address=_bounded(origin.address, MOST_ADDRESS_CHARACTERS),
                user_agent=_bounded(origin.user_agent, MOST_AGENT_CHARACTERS),
            )
        )

    try:
        transaction(work)
    except DatabaseBusyError:
        return  # a request that only reads must not fail for this; the next one notes it


def _bounded(text: str | None, most: int) -> str | None:
    """*text* as a column can hold it and a page can show it; ``None`` where nothing is left."""
    return "".join(each for each in text or "" if each.isprintable() and each.isascii())[:most] or None
