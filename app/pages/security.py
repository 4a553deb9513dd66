"""What protects a browser: the headers of every answer, and a session cookie that stays on https."""

from __future__ import annotations

from typing import Final

from flask import Flask, Request, Response, current_app, request
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionMixin
from flask_wtf.csrf import CSRFError

from app.config import Settings
from app.errors import InvalidInputError, respond

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
)
YEAR_SECONDS: Final = 365 * 24 * 3600


class Sessions(SecureCookieSessionInterface):
    """Flask's signed cookie, ``Secure`` whenever the request or the public URL is https."""

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        """As Flask does, but none below ``/api``, where tokens say who somebody is: it costs as much as routing."""
        return None if request.path.startswith("/api/") else super().open_session(app, request)

    def get_cookie_secure(self, app: Flask) -> bool:
        """Whether the browser may send the cookie over https only."""
        return is_https()

    def should_set_cookie(self, app: Flask, session: SessionMixin) -> bool:
        """As Flask does, but never beside a static file, which any cache may keep and hand to others."""
        return request.endpoint != "static" and super().should_set_cookie(app, session)


def init_app(app: Flask) -> None:
    """Set the headers of every answer, the session cookie's rules and the page for a refused form."""
    app.session_interface = Sessions()
    app.after_request(_set_headers)
    app.register_error_handler(CSRFError, _refuse_form)


def keep_private(response: Response) -> Response:
    """Keep a page that somebody signed in for out of every cache, unless the view has said more."""
    response.headers.setdefault("Cache-Control", "private, no-store")
    return response


def _set_headers(response: Response) -> Response:
    headers = response.headers
    headers["X-Content-Type-Options"] = "nosniff"
    if request.path.startswith("/api/"):
        return response
    headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    headers["X-Frame-Options"] = "DENY"
    # Not no-referrer: over https the CSRF check compares the referrer with the host.
    headers["Referrer-Policy"] = "same-origin"
    headers["Cross-Origin-Opener-Policy"] = "same-origin"
    if is_https():
        headers["Strict-Transport-Security"] = f"max-age={YEAR_SECONDS}"
    if request.endpoint == "static" and "v" in request.args and response.status_code in (200, 304):
        # The address names the content (see words.asset), so it never changes.
        headers["Cache-Control"] = f"public, max-age={YEAR_SECONDS}, immutable"
    return response


def is_https() -> bool:
    """Whether the request or the public URL is https."""
    settings: Settings = current_app.extensions["settings"]
    return request.is_secure or (settings.public_url or "").startswith("https://")


class FormTooOldError(InvalidInputError):
    """A form without the token of the session that sends it."""

    title = "The page was open too long"
    may_send_again = True


def _refuse_form(_error: CSRFError) -> Response:
    return respond(
        FormTooOldError(
            "The form was not accepted, and nothing was changed: since its page was opened you have signed in"
            " or out, or the form came from elsewhere."
        )
    )
