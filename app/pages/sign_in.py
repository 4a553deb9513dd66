"""Signing in and out, and who the session belongs to."""

from __future__ import annotations

import hmac
from datetime import timedelta
from urllib.parse import urlsplit

from flask import Blueprint, Flask, g, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user, login_user, logout_user
from sqlalchemy.exc import SQLAlchemyError

from app import access, accounts, first_account
from app.database import snapshot
from app.errors import InvalidInputError, TooManyRequestsError, UnauthorizedError, UnavailableError
from app.extensions import login_manager
from app.models import Account

SESSION_LIFETIME = timedelta(hours=12)
"""Counted from the last request, and an open live page makes one every few minutes."""

bp = Blueprint("sign_in", __name__)


def init_app(app: Flask) -> None:
    """Tell Flask-Login how a session finds its account."""
    app.config["PERMANENT_SESSION_LIFETIME"] = SESSION_LIFETIME
    login_manager.user_loader(account_of)


@bp.get("/sign-in")
def form() -> ResponseReturnValue:
    """The form; whoever has signed in already goes on, and where there is no account the first one is made."""
    wanted = safe_next(request.args.get("next"))
    if current_user.is_authenticated:
        return redirect(wanted)
    if first_account.is_needed():
        return redirect(url_for("setup.form"))
    return _form(wanted)


@bp.post("/sign-in")
def sign_in() -> ResponseReturnValue:
    """Check e-mail and password; the answer does not tell which of the two was wrong."""
    email = request.form.get("email", "").strip()
    wanted = safe_next(request.form.get("next"))
    try:
        account = accounts.sign_in(email, request.form.get("password", ""), request.remote_addr)
    except (UnauthorizedError, InvalidInputError, TooManyRequestsError) as error:
        return _form(wanted, email, error.sentence), error.status
    session.clear()
    session.permanent = True
    login_user(account)
    return redirect(wanted)


@bp.post("/sign-out")
def sign_out() -> ResponseReturnValue:
    """End the account's sessions: this browser's cookie is worth nothing from now on, wherever a copy of it is."""
    if current_user.is_authenticated:
        accounts.end_sessions(current_user.id, access.actor())
    logout_user()
    session.clear()
    return redirect(url_for("sign_in.form"))


def send_to_form() -> ResponseReturnValue:
    """Send whoever has not signed in to the form; a script of a page gets a 401 instead.

    :raises UnauthorizedError: for the addresses that only scripts ask for.
    """
    if (request.endpoint or "").endswith((".events", ".rows")):
        raise UnauthorizedError("You are signed out; sign in again.")
    back = request.full_path.rstrip("?") if request.method == "GET" else None
    return redirect(url_for("sign_in.form", next=back if back != "/" else None))


def safe_next(address: str | None) -> str:
    """*address* if it is a path on this server, else the fleet page: a stranger's link leads nowhere else.

    Browsers read ``\\`` as ``/`` and skip control characters, so neither may occur.
    """
    fleet = url_for("pages.fleet.index")
    if not address or not address.startswith("/") or address.startswith("//"):
        return fleet
    if "\\" in address or any(ord(character) <= 0x20 or ord(character) == 0x7F for character in address):
        return fleet
    parts = urlsplit(address)
    return fleet if parts.scheme or parts.netloc else address


def _form(wanted: str, email: str = "", sentence: str | None = None) -> str:
    return render_template("sign_in.html", next=wanted, email=email, sentence=sentence)


def account_of(cookie_id: str) -> Account | None:
    """The account that a session cookie names, unless its sessions have been ended since or nobody may use it."""
    if g.get("database_is_away"):
        return None  # the error page asks again; it must not fail as well
    account_id, _, session_key = cookie_id.partition(".")
    try:
        # In a transaction of its own: what the request reads later must not be as old as this (hazard 6).
        account = snapshot(lambda session: session.get(Account, account_id))
    except (SQLAlchemyError, UnavailableError):
        if g.get("shows_an_error"):
            return None  # of another kind, whose page would rather know, but can do without
        raise
    if account is None or not hmac.compare_digest(account.session_key.encode(), session_key.encode()):
        return None
    return account if account.disabled_at is None else None
