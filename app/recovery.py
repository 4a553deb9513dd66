"""The way back in from the command line: a code that signs an admin in once, within minutes.

For who has lost a password, and where local accounts are turned off or the provider is away. Whoever can run the
command has the database and the secret key within reach, and gains nothing by it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, NamedTuple

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app import audit, tokens
from app.audit import Actor
from app.clock import utc_now
from app.database import transaction
from app.errors import ConflictError, NotFoundError, UnauthorizedError
from app.ids import new_id
from app.models import Account, RecoveryCode

GOOD_FOR: Final = timedelta(minutes=10)


class Issued(NamedTuple):
    """A new code, which is in this answer only."""

    code: str
    expires_at: datetime


def issue(email: str, actor: Actor) -> Issued:
    """Make a code for an admin's account; it takes the place of any other of that account.

    :raises NotFoundError: there is no such account.
    :raises ConflictError: the account is no admin's, so that it is no way back in.
    """
    code_id, now = new_id(), utc_now()
    minted = tokens.mint("recover", code_id)
    query = select(Account).where(Account.email == email.strip().lower())

    def work(session: Session) -> None:
        account = session.scalar(query)
        if account is None:
            raise NotFoundError(
                f'There is no account for "{email[:80]}"; make one with: flask --app wsgi admin create EMAIL'
            )
        if account.role != "admin":
            raise ConflictError(
                f"{account.email} is no admin, so it would be no way back in; another one: flask --app wsgi"
                " admin create EMAIL"
            )
        session.execute(delete(RecoveryCode).where(RecoveryCode.account_id == account.id))
        session.execute(delete(RecoveryCode).where(RecoveryCode.expires_at < now))
        session.add(
            RecoveryCode(id=code_id, account_id=account.id, digest=minted.digest, expires_at=now + GOOD_FOR)
        )
        audit.record(session, actor, "account.recovery-code", subject_id=account.id, email=account.email)

    transaction(work)
    return Issued(minted.text, now + GOOD_FOR)


def redeem(code: str) -> Account:
    """The account that *code* signs in; it is used up by this. Of two at once one is let in.

    :raises UnauthorizedError: it is no code, or not good any more.
    """
    code = "".join(code.split())
    code_id = tokens.owner_of(code, "recover")
    refused = UnauthorizedError("That is no code, or it was used, or it is older than ten minutes.")
    if code_id is None:
        raise refused

    def work(session: Session) -> Account | None:
        found = session.scalar(select(RecoveryCode).where(RecoveryCode.id == code_id).with_for_update())
        if found is None or not tokens.matches(code, found.digest) or found.expires_at <= utc_now():
            return None
        account = session.get(Account, found.account_id)
        session.delete(found)
        return account if account is not None and account.role == "admin" else None

    account = transaction(work)
    if account is None:
        raise refused
    return account
