"""How many requests to deploy are open: a number in the navigation, which stays current on every live page."""

from __future__ import annotations

from flask import Flask, current_app, g, render_template
from markupsafe import Markup
from sqlalchemy.exc import SQLAlchemyError

from app import access, deploy_requests
from app.errors import UnavailableError
from app.shared_counts import SharedCounts

PART = "open-approvals"
"""The id of its element."""


def init_app(app: Flask) -> None:
    """Give the layout the number."""
    app.extensions["open-approvals"] = SharedCounts(deploy_requests.open_counts)
    app.add_template_global(number, "open_approvals")


def part() -> Markup:
    """Its element, for a live page's picture."""
    return Markup(render_template("approvals/count.html", count=number()))


def number() -> int:
    """How many are open where whoever has signed in may see them, a moment old; 0 while the database is away."""
    if g.get("database_is_away"):
        return 0
    shared: SharedCounts = current_app.extensions["open-approvals"]
    try:
        return shared.within(access.where("viewer"))
    except (SQLAlchemyError, UnavailableError):
        return 0  # the page itself says what is away, if it needs it
