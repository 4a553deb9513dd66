"""How many requests to deploy are open: a number in the navigation, which stays current on every live page."""

from __future__ import annotations

import threading
import time

from flask import Flask, current_app, g, render_template
from markupsafe import Markup
from sqlalchemy.exc import SQLAlchemyError

from app import access, deploy_requests
from app.errors import UnavailableError

COUNT_SECONDS = 2.0
"""How long this worker's pages share one count: it is one read of an index that has only open ones."""
PART = "open-approvals"
"""The id of its element."""


def init_app(app: Flask) -> None:
    """Give the layout the number."""
    app.extensions["open-approvals"] = SharedCounts()
    app.add_template_global(number, "open_approvals")


def part() -> Markup:
    """Its element, for a live page's picture."""
    return Markup(render_template("approvals/count.html", count=number()))


def number() -> int:
    """How many are open where whoever has signed in may see them, a moment old; 0 while the database is away."""
    if g.get("database_is_away"):
        return 0
    shared: SharedCounts = current_app.extensions["open-approvals"]
    within = access.where("viewer")
    try:
        counts = shared.read()
    except (SQLAlchemyError, UnavailableError):
        return 0  # the page itself says what is away, if it needs it
    return sum(
        count for environment_id, count in counts.items() if within is None or environment_id in within
    )


class SharedCounts:
    """The numbers of open requests as one worker's pages share them."""

    def __init__(self, seconds: float = COUNT_SECONDS) -> None:
        """Counts again after so many *seconds*."""
        self._seconds = seconds
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}
        self._good_until = 0.0

    def read(self) -> dict[str, int]:
        """By environment."""
        with self._lock:
            if time.monotonic() >= self._good_until:
                self._counts = deploy_requests.open_counts()
                self._good_until = time.monotonic() + self._seconds
            return self._counts
