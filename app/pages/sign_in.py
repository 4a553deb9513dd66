"""Signing in and out, and who the session belongs to."""

from __future__ import annotations

from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

from flask import (
    Blueprint,
    Flask,
    Response,
    current_app,
    g,
    make_response,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from flask.typing import ResponseReturnValue
from flask_login import UserMixin, current_user, login_user, logout_user
from sqlalchemy.exc import SQLAlchemyError

from app import access, first_account, known_devices, oidc, passwords, sessions
from app.config import Settings
from app.errors import (
    ForbiddenError,
    InvalidInputError,
    SignalboxError,
    TooManyRequestsError,
    UnauthorizedError,
    UnavailableError,
)
from app.extensions import login_manager
from app.models import Account, AccountSession
from app.pages import security
from app.server_settings import MOST_SESSION_DAYS
from app.sessions import Method, Origin

COOKIE_LIFETIME: Final = timedelta(days=MOST_SESSION_DAYS)
"""Counted from the last request. When a session expires is decided by the server (``sessions``)."""

bp = Blueprint("sign_in", __name__)


def init_app(app: Flask) -> None:
    """Tell Flask-Login how a session finds its account."""
    app.config["PERMANENT_SESSION_LIFETIME"] = COOKIE_LIFETIME
    login_manager.user_loader(account_of)


@bp.get("/sign-in")
def form() -> ResponseReturnValue:
    """The form; whoever has signed in already goes on, and where there is no account the first one is made."""
    wanted = safe_next(request.args.get("next"))
    if current_user.is_authenticated:
        return redirect(wanted)
    if first_account.is_needed() and oidc.provider() is None:
        return redirect(url_for("setup.form"))
    return page(wanted)


@bp.post("/sign-in")
def sign_in() -> ResponseReturnValue:
    """Check e-mail and password; the answer does not tell which of the two was wrong.

    :raises ForbiddenError: local accounts are turned off.
    """
    require_local_accounts()
    email = request.form.get("email", "").strip()
    wanted = safe_next(request.form.get("next"))
    try:
        account = passwords.sign_in(email, request.form.get("password", ""), request.remote_addr, _device())
    except (UnauthorizedError, InvalidInputError, TooManyRequestsError) as error:
        return refusal(page(wanted, email, error.sentence), error)
    return enter(account, "password", wanted)


@bp.post("/sign-out")
def sign_out() -> ResponseReturnValue:
    """End this session: the browser's cookie is worth nothing from now on, wherever a copy of it is.

    Who came from the provider may still be signed in there, which the form then says.
    """
    has_left = None
    if current_user.is_authenticated:
        sessions.sign_out(current_user.id, own_session_id(), access.actor())
        has_left = "provider" if own_session().method == "oidc" and oidc.provider() is not None else None
    logout_user()
    session.clear()
    return redirect(url_for("sign_in.form", left=has_left))


def enter(account: Account, method: Method, wanted: str) -> Response:
    """Begin a session of *account* in this browser, which is known from now on, and go to *wanted*."""
    token = sessions.begin(account, method, origin())
    session.clear()
    session.permanent = True
    login_user(_Session(token))
    answer = make_response(redirect(wanted))
    answer.set_cookie(
        known_devices.COOKIE,
        _device().with_account(account.id).to_cookie(),
        max_age=known_devices.COOKIE_SECONDS,
        path=url_for("sign_in.form"),
        secure=security.is_https(),
        httponly=True,
        samesite="Lax",
    )
    return answer


def refusal(page: str, error: SignalboxError) -> Response:
    """*page* as the answer to what *error* refuses."""
    answer = make_response(page, error.status)
    if error.retry_after is not None:
        answer.headers["Retry-After"] = str(error.retry_after)
    return answer


def origin() -> Origin:
    """Where the present request comes from."""
    return Origin(request.remote_addr, request.user_agent.string)


def own_session() -> AccountSession:
    """The session with which the present request comes; somebody has signed in."""
    found: AccountSession = g.own_session
    return found


def own_session_id() -> str:
    """As ``own_session``, its id."""
    return own_session().id


def require_local_accounts() -> None:
    """Refuse whoever comes with a password where none is taken.

    :raises ForbiddenError: local accounts are turned off.
    """
    if not settings().local_accounts:
        raise ForbiddenError("Local accounts are turned off on this server: sign in at the provider.")


def settings() -> Settings:
    """The server's."""
    found: Settings = current_app.extensions["settings"]
    return found


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


def page(wanted: str | None = None, email: str = "", sentence: str | None = None) -> str:
    """The form, and the way to the provider, with what was typed and what was wrong with it."""
    provider = oidc.provider()
    return render_template(
        "sign_in.html",
        next=wanted or url_for("pages.fleet.index"),
        email=email,
        sentence=sentence,
        is_local=settings().local_accounts,
        is_fresh=first_account.is_needed(),
        label=provider.settings.label if provider is not None else None,
        has_left=provider is not None and request.args.get("left") == "provider",
    )


class _Session(UserMixin):  # type: ignore[misc]
    """What Flask-Login puts into the cookie: a session's token, not an account."""

    def __init__(self, token: str) -> None:
        self.id = token


def _device() -> known_devices.Device:
    return known_devices.read(request.cookies.get(known_devices.COOKIE))


def account_of(token: str) -> Account | None:
    """The account whose session the cookie names, unless that has been ended since or nobody may use it."""
    if g.get("database_is_away"):
        return None  # the error page asks again; it must not fail as well
    try:
        found = sessions.find(token, origin())
    except (SQLAlchemyError, UnavailableError):
        if g.get("shows_an_error"):
            return None  # of another kind, whose page would rather know, but can do without
        raise
    if found is None:
        return None
    g.own_session = found.session
    return found.account
