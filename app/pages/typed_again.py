"""What was typed into a form that was not taken, so that its error page can offer to send it a second time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from flask import Flask, request
from flask_login import current_user
from werkzeug.exceptions import HTTPException

from app.errors import SignalboxError

NEVER_KEPT = frozenset({"password", "again", "code", "value"})
"""Fields that hold secrets, which no answer shows."""


@dataclass(frozen=True)
class Typed:
    """A form to send again."""

    address: str
    fields: list[tuple[str, str]]
    is_signed_in: bool


def init_app(app: Flask) -> None:
    """Give the error page what was typed."""
    app.add_template_global(typed_again)


def typed_again() -> Typed | None:
    """The form of this request; ``None`` where there is none, or it cannot or must not be sent again.

    Only what a page of ours has sent: a stranger's form must not wait for one click of somebody who has signed in.
    """
    if request.method != "POST" or not _is_from_here():
        return None
    try:
        files: Iterable[str] = request.files
        pairs = [(name, value) for name, value in request.form.items(multi=True) if name != "csrf_token"]
        is_signed_in = bool(current_user.is_authenticated)
    except (SignalboxError, HTTPException):
        return None
    if any(files) or NEVER_KEPT.intersection(name for name, _ in pairs):
        return None
    return Typed(request.full_path.rstrip("?"), pairs, is_signed_in)


def _is_from_here() -> bool:
    """As the browser says, which no page can make it say."""
    return request.headers.get("Sec-Fetch-Site") == "same-origin" or request.headers.get(
        "Origin"
    ) == request.host_url.rstrip("/")
