"""What each role may do on the pages: a viewer sees, an editor deploys, an admin does everything."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Literal, ParamSpec, TypeVar

from flask import request
from flask_login import current_user

from app.audit import Actor
from app.errors import ForbiddenError

Role = Literal["viewer", "editor", "admin"]

Parameters = ParamSpec("Parameters")
Answer = TypeVar("Answer")

_RANK: dict[str, int] = {"viewer": 0, "editor": 1, "admin": 2}


def may(role: Role) -> bool:
    """Whether whoever has signed in may do what *role* may."""
    return current_user.is_authenticated and _RANK.get(current_user.role, -1) >= _RANK[role]


def needs(role: Role) -> Callable[[Callable[Parameters, Answer]], Callable[Parameters, Answer]]:
    """Refuse a view to those who may less than *role*.

    :raises ForbiddenError: by the view, in words for its page.
    """

    def refuse_others(view: Callable[Parameters, Answer]) -> Callable[Parameters, Answer]:
        @wraps(view)
        def checked(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Answer:
            require(role)
            return view(*args, **kwargs)

        return checked

    return refuse_others


def require(role: Role) -> None:
    """Refuse whoever may less than *role*.

    :raises ForbiddenError: in words for its page.
    """
    if not may(role):
        raise ForbiddenError(f"Your account is a {current_user.role}; this needs the role {role}.")


def actor() -> Actor:
    """Whoever has signed in, for the audit log."""
    return Actor(current_user.email, request.remote_addr)
