"""Pages that stay current: a picture of what is shown, what differs since the last one, and its stream.

A picture is made of named parts (HTML of single elements) and lists (which of them stand where). The stream
sends the whole first, then what has changed, as ``change`` events; ``static/fleet.js`` puts it in place. The
same picture as JSON serves a browser that cannot hold a stream.
"""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from flask import Response, jsonify, render_template, stream_with_context
from markupsafe import Markup
from sqlalchemy.exc import SQLAlchemyError

from app import access
from app.database import db, one_view
from app.errors import SignalboxError
from app.pages import open_approvals
from app.push.fleet_watch import FleetWatch
from app.push.switchboard import Switchboard
from app.switchboard_process import switchboard

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
"""How often a page is looked at without a hint: a presence entry that expires tells nobody (hazard 21)."""
PAUSE_SECONDS = 0.25
"""The shortest time between two looks, so that a burst of hints costs one."""
LOOK_SHARE = 0.1
"""How much of a worker's time one open page may take: one that is dear to draw is drawn less often."""
STILL_SECONDS = 10.0
"""How often something is said when nothing changes. An event, not a comment: scripts do not see comments."""
CHECK_SECONDS = 5.0
"""How often an open page makes sure that it may still be seen: no session ended, no role or environment changed."""
LIFE_SECONDS = 300.0
"""After this the browser connects again, perhaps to another worker."""
BROWSER_RETRY_MS = 1000
NAVIGATION = "alerts-count"


@dataclass(frozen=True)
class Picture:
    """What a page shows at one moment."""

    parts: dict[str, Markup]
    """HTML of one element by the element's id."""
    lists: dict[str, list[str]] = field(default_factory=dict)
    """Ids of a list's elements, in order, by the list's own id."""
    node_ids: frozenset[str] = frozenset()
    """The nodes that it shows: a hint about one of them is a reason to look again."""


Paint = Callable[[], Picture]
"""Looks at the database and Redis and draws the page as it is now."""


def draw(template: str, **values: Any) -> Markup:
    """One part: the HTML of a template that draws a single element."""
    return Markup(render_template(template, **values))


def difference(before: Picture | None, now: Picture) -> dict[str, Any]:
    """The parts and lists of *now* that are not the same in *before*; empty when nothing has changed."""
    if before is None:
        return {"parts": now.parts, "lists": now.lists}
    changed: dict[str, Any] = {
        "parts": {name: html for name, html in now.parts.items() if before.parts.get(name) != html},
        "lists": {name: ids for name, ids in now.lists.items() if before.lists.get(name) != ids},
    }
    return {name: value for name, value in changed.items() if value}


def with_navigation(paint: Paint) -> Paint:
    """*paint*, and how many alerts fire and approvals are open: both stand in the navigation of every page."""

    def painted() -> Picture:
        with one_view():
            picture = paint()
        own = {NAVIGATION: draw("alerts/count.html"), open_approvals.PART: open_approvals.part()}
        return replace(picture, parts={**picture.parts, **own})

    return painted


def rows(paint: Paint) -> Response:
    """The whole picture as JSON, for a browser that polls."""
    return jsonify(difference(None, with_navigation(paint)()))


def events(paint: Paint) -> Response:
    """The stream. The first look happens here, so that what cannot be shown is an answer with a status.

    No database connection is held between two looks.
    """
    paint = with_navigation(paint)
    first = paint()
    db.session.remove()
    lines = _lines(switchboard(), first, paint, access.still_allowed())
    response = Response(stream_with_context(lines), mimetype="text/event-stream")
    response.headers["Cache-Control"] = "no-cache, no-transform"
    response.headers["X-Accel-Buffering"] = "no"
    return response


def _lines(
    board: Switchboard, shown: Picture, paint: Paint, still_allowed: Callable[[], bool]
) -> Iterator[str]:
    with board.watch_fleet() as hints:
        yield f"retry: {BROWSER_RETRY_MS}\n\n"
        yield _event("change", difference(None, shown))
        said_at = checked_at = time.monotonic()
        ends = said_at + LIFE_SECONDS * random.uniform(0.8, 1.0)
        cost = 0.0
        while not board.draining and time.monotonic() < ends:
            _wait(board, hints, shown.node_ids, cost)
            try:
                picture, cost = _timed(paint)
                now = time.monotonic()
                if now > checked_at + CHECK_SECONDS:
                    if not still_allowed():
                        return
                    checked_at = now
            except (SignalboxError, SQLAlchemyError) as error:
                # The browser connects again and gets the reason as the status of that answer.
                log.warning("ended a live page: %s", error)
                return
            finally:
                db.session.remove()
            changed = difference(shown, picture)
            shown = picture
            if changed or now > said_at + STILL_SECONDS:
                yield _event("change", changed) if changed else _event("still", {})
                said_at = now


def _timed(paint: Paint) -> tuple[Picture, float]:
    """The picture, and the seconds that it took."""
    started = time.monotonic()
    return paint(), time.monotonic() - started


def _wait(board: Switchboard, hints: FleetWatch, node_ids: frozenset[str], cost: float) -> None:
    """Return when it is time to look: soon after a hint about *node_ids*, else after ``LOOK_SECONDS``.

    Later where the last look took long; *cost* is how many seconds.
    """
    started = time.monotonic()
    look_at = started + max(LOOK_SECONDS, cost / LOOK_SHARE)
    pause_until = started + max(PAUSE_SECONDS, cost / LOOK_SHARE)
    while (left := look_at - time.monotonic()) > 0 and not board.draining:
        if not node_ids.isdisjoint(hints.wait(left)):
            look_at = min(look_at, pause_until)


def _event(name: str, data: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"
