"""The alerts' page: what fires, what is about to, and what was resolved; and how many fire, for the navigation."""

from __future__ import annotations

import logging

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.exc import SQLAlchemyError

from app import access, alert_rules, alerts, environments
from app.alert_kinds import FIRING, PENDING, REASONS, RESOLVED, STATES
from app.alerts import MOST_COUNTED, AlertRow
from app.errors import SignalboxError
from app.pages import live
from app.pages.live import Picture
from app.paging import Page

SHOWN = {FIRING: 100, PENDING: 50, RESOLVED: 25}
"""Alerts of each state on the page of all states."""
PAGE_SIZE = 100

bp = Blueprint("alerts", __name__, url_prefix="/alerts")
log = logging.getLogger(__name__)


@bp.get("")
def index() -> ResponseReturnValue:
    """All states, or one page by page (``?state=``); of one environment (``?environment=``), or of all."""
    painter = Painter()
    known = environments.choices(access.where("viewer"))
    return render_template(
        "alerts/index.html",
        picture=painter.paint(),
        painter=painter,
        environments=known,
        environment_names={environment.id: environment.name for environment in known},
    )


@bp.get("/events")
def events() -> ResponseReturnValue:
    """What changes on the page, as it changes."""
    return live.events(Painter().paint)


@bp.get("/rows")
def rows() -> ResponseReturnValue:
    """The page's changing parts, for a browser that polls."""
    return live.rows(Painter().paint)


@bp.post("/<alert_id>/acknowledge")
def acknowledge(alert_id: str) -> ResponseReturnValue:
    """Note that somebody sees to it."""
    row = alerts.acknowledge(alert_id, access.actor())
    flash(f"Acknowledged: {row.alert.text} It goes on firing until it is well again.", "good")
    return redirect(url_for("pages.alerts.index"))


class Painter:
    """Draws the lists that the query string asks for."""

    def __init__(self) -> None:
        asked = request.args.get("state", "").upper()
        self.state = asked if asked in STATES else None
        self.environment = request.args.get("environment") or None
        self.cursor = request.args.get("cursor") or None

    @property
    def arguments(self) -> dict[str, str | None]:
        """The query string of this page."""
        return {"state": self.state, "environment": self.environment, "cursor": self.cursor}

    @property
    def states(self) -> tuple[str, ...]:
        """The lists of this page, in order."""
        return (self.state,) if self.state else (FIRING, PENDING, RESOLVED)

    def paint(self) -> Picture:
        """Look at the alerts and draw them.

        :raises InvalidInputError: the cursor is not one of this list.
        """
        within = access.where("viewer")
        has_rules = bool(alert_rules.listing(limit=1, within=within).items)
        parts = {}
        for state in self.states:
            page: Page[AlertRow] = alerts.listing(
                states=(state,),
                environment_id=self.environment,
                within=within,
                limit=PAGE_SIZE if self.state else SHOWN[state],
                cursor=self.cursor if self.state else None,
            )
            name = f"alerts-{state.lower()}"
            parts[name] = live.draw(
                "alerts/list.html",
                id=name,
                state=state,
                rows=page.items,
                next_cursor=page.next_cursor,
                environment=self.environment,
                is_whole=self.state is not None,
                has_rules=has_rules,
                reasons=REASONS,
            )
        return Picture(parts)


def count_for_navigation() -> str:
    """How many fire that nobody has acknowledged; empty where there are none, or where that cannot be known now."""
    if g.get("database_is_away"):
        return ""  # it has just been waited for; the page of that error has a navigation too
    try:
        count = alerts.count_firing(access.where("viewer"))
    except (SignalboxError, SQLAlchemyError) as error:
        # The page of an error has a navigation too.
        log.warning("alerts not counted: %s", error)
        return ""
    return f"{count}+" if count >= MOST_COUNTED else str(count or "")
