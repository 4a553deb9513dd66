"""Who may use which route: checked here, before the view and before the body is read.

Every route that only reads is open to every role. Every other one needs an admin, unless it is marked with
``@needs("editor")``. A token that is limited to an environment is told of nothing outside of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from flask import current_app, g, request

from app import accounts
from app.accounts import ROLES, AuthenticatedToken
from app.audit import Actor
from app.errors import ForbiddenError, NotFoundError

NO_ENVIRONMENT = "-"
"""No environment's id."""

View = TypeVar("View", bound=Callable[..., Any])


def needs(role: str) -> Callable[[View], View]:
    """Mark a view with the least role that may use it."""

    def mark(view: View) -> View:
        view.needed_role = role  # type: ignore[attr-defined]
        return view

    return mark


def check() -> None:
    """Know the token before anything of its request's body is read.

    :raises UnauthorizedError: no token, or not a good one.
    :raises ForbiddenError: its role does not allow the route.
    """
    g.api_token = accounts.authenticate_api(request.headers.get("Authorization"))
    view = current_app.view_functions[request.endpoint or ""]
    is_reading = request.method in ("GET", "HEAD", "OPTIONS")
    require(getattr(view, "needed_role", "viewer" if is_reading else "admin"))


def require(role: str) -> None:
    """Refuse a token that may do less than *role*.

    :raises ForbiddenError: with a sentence.
    """
    own = token().role
    if ROLES.index(own) < ROLES.index(role):
        raise ForbiddenError(f"This token has the role {own}; this needs the role {role}.")


def require_unlimited(what: str) -> None:
    """Refuse a token that is limited to an environment *what* lies outside of every environment.

    :raises ForbiddenError: with a sentence.
    """
    if token().environment_id is not None:
        raise ForbiddenError(f"This token is limited to one environment; {what} are outside of it.")


def check_visible(environment_id: str, kind: str) -> None:
    """Hide what lies in an environment that the token may not see, as if it did not exist.

    :raises NotFoundError: the token is limited to another environment.
    """
    if token().environment_id not in (None, environment_id):
        raise NotFoundError(f"There is no such {kind}.")


def listed_environment(wanted: str | None) -> str | None:
    """The environment that a list is of (``None``: of all), when *wanted* was asked for.

    One that the token may not see has no rows for it, like one that does not exist.
    """
    own = token().environment_id
    if own is None or wanted in (None, own):
        return wanted or own
    return NO_ENVIRONMENT


def token() -> AuthenticatedToken:
    """The API token behind this request."""
    own: AuthenticatedToken = g.api_token
    return own


def actor() -> Actor:
    """The token as the audit log names it."""
    return Actor(f"token {token().name}", request.remote_addr)
