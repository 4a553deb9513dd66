"""People's accounts without the bcrypt hashes that each test would pay for: two quarters of a second of one core.

The first test of a process that needs somebody makes the account and signs in, as people do. The next ones put the
same row into their own database, with what the audit log has of it, and use the same cookie. That holds as long as
the application has the same secret key; where it has another, people sign in as ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import insert, inspect, select
from sqlalchemy.orm import Session

from app import accounts, audit, sessions
from app.audit import COMMAND_LINE, Actor
from app.clock import utc_now
from app.database import snapshot, transaction
from app.models import Account, AccountSession
from app.sessions import Origin

_COOKIE = "signalbox_session"

_rows: dict[tuple[str, str, str], dict[str, Any]] = {}
"""The account of who has this address, password and role."""
_cookies: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {}
"""The cookie of whose account has this id, under this secret key, and the session's row."""


def make_account(app: Flask, email: str, password: str, role: str) -> None:
    """An account in the database of *app*, as ``accounts.create_account`` makes it."""
    with app.app_context():
        known = _rows.get((email, password, role))
        if known is None or _row_of(email):  # whoever is there already is refused as ever
            accounts.create_account(email, password, role, COMMAND_LINE)
            _rows[email, password, role] = _row_of(email)
            return
        row = {**known, "created_at": utc_now()}

        def work(session: Session) -> None:
            session.execute(insert(Account).values(row))
            audit.record(
                session, COMMAND_LINE, "account.create", subject_id=row["id"], email=email, role=role
            )

        transaction(work)


def admit(app: Flask, client: FlaskClient, email: str, sign_in: Callable[[], object]) -> None:
    """Let *client* be signed in as *email*, who has not signed in yet; *sign_in* does it where it must be done."""
    with app.app_context():
        account_id = _row_of(email)["id"]
    session_of = (account_id, str(app.secret_key))
    if session_of not in _cookies:
        sign_in()
        cookie = client.get_cookie(_COOKIE)
        assert cookie is not None
        with app.app_context():
            query = select(AccountSession).where(AccountSession.account_id == account_id)
            _cookies[session_of] = (
                cookie.value,
                _columns(snapshot(lambda session: session.scalars(query).one())),
            )
        return
    value, row = _cookies[session_of]

    def work(session: Session) -> None:
        now = utc_now()
        session.get_one(Account, account_id).last_login_at = now
        session.execute(insert(AccountSession).values({**row, "created_at": now, "last_seen_at": now}))
        actor = Actor(email, "127.0.0.1")
        audit.record(session, actor, "account.sign-in", subject_id=account_id, method="password")

    with app.app_context():
        transaction(work)
    client.set_cookie(_COOKIE, value)


def account_id_of(email: str) -> str:
    """The id of who is there with that address, in the present application's database."""
    found: str = _row_of(email)["id"]
    return found


def _row_of(email: str) -> dict[str, Any]:
    """The account's columns; nothing where there is none."""
    query = select(Account).where(Account.email == email)
    account = snapshot(lambda session: session.scalars(query).one_or_none())
    return _columns(account) if account is not None else {}


def _columns(row: Account | AccountSession) -> dict[str, Any]:
    return {attribute.key: getattr(row, attribute.key) for attribute in inspect(type(row)).column_attrs}


def sign_in_as(app: Flask, client: FlaskClient, account_id: str) -> None:
    """Let *client* have a session of the account, whose password nobody need know."""
    with app.app_context():
        account = snapshot(lambda session: session.get_one(Account, account_id))
        token = sessions.begin(account, "password", Origin("127.0.0.1"))
    with client.session_transaction() as stored:
        stored.update({"_user_id": token, "_fresh": True})
