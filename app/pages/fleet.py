"""The fleet page: the counts that matter, and one page of nodes that keeps itself current."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from flask import Blueprint, current_app, render_template, request
from flask.typing import ResponseReturnValue
from markupsafe import Markup

from app import environments, fleet
from app.errors import InvalidInputError
from app.fleet import FleetCounts, NodePage, NodeRow
from app.pages import live
from app.pages.live import Picture
from app.switchboard_process import switchboard

PAGE_SIZE = 50
COUNTS_SECONDS = 1.0
"""How long, at least, this worker's open pages share one count of the fleet."""
COUNTS_SHARE = 0.05
"""How much of its time a worker may spend on counting, whatever the fleet's size: then counts get older.

Except after a deploy or another change of what nodes should run: then they are counted again at once, and the
worker rests for as long as that took.
"""

STATUSES = (
    ("connected", "Connected"),
    ("polling", "Not connected"),
    ("behind", "Behind"),
    ("failed", "Failed"),
    ("unreachable", "Unreachable"),
    ("healthy", "Healthy"),
    ("unknown", "Not seen yet"),
    ("revoked", "Revoked"),
)

bp = Blueprint("fleet", __name__)


@dataclass(frozen=True)
class Look:
    """What part of the fleet a page looks at: the query string, understood."""

    environment_id: str | None = None
    status: str | None = None
    q: str | None = None
    cursor: str | None = None

    @classmethod
    def from_request(cls) -> Look:
        """Read the query string; an unknown status counts as none."""
        status = request.args.get("status")
        return cls(
            environment_id=request.args.get("environment") or None,
            status=status if status in dict(STATUSES) else None,
            q=request.args.get("q", "").replace("\0", "").strip()[:253] or None,
            cursor=request.args.get("cursor") or None,
        )

    @property
    def is_filtered(self) -> bool:
        """Whether some nodes are left out."""
        return bool(self.environment_id or self.status or self.q)

    @property
    def begins_the_counted(self) -> bool:
        """Whether its nodes are the first of those that the counts are about."""
        return not (self.status or self.q or self.cursor)

    def query(self) -> dict[str, str]:
        """The query string that means this look."""
        pairs = (
            ("environment", self.environment_id),
            ("status", self.status),
            ("q", self.q),
            ("cursor", self.cursor),
        )
        return {name: value for name, value in pairs if value}

    def with_status(self, status: str) -> Look:
        """From the first page on, only nodes of *status*; all statuses if that is what it is already."""
        return replace(self, status=None if status in ("", self.status) else status, cursor=None)

    def at(self, cursor: str | None) -> Look:
        """The same nodes from *cursor* on."""
        return replace(self, cursor=cursor)


@bp.get("/")
def index() -> ResponseReturnValue:
    """The page as it is now; a filter that cannot be understood is said on it."""
    look, problem = Look.from_request(), None
    painter = Painter(look)
    try:
        picture = painter.paint()
    except InvalidInputError as error:
        problem, picture = error, painter.draw(NodePage([], None))
    return render_template(
        "fleet/index.html",
        look=look,
        picture=picture,
        problem=problem,
        statuses=STATUSES,
        environments=environments.choices(),
    ), (problem.status if problem else 200)


@bp.get("/fleet/events")
def events() -> ResponseReturnValue:
    """What changes on the page, as it changes."""
    return live.events(Painter(Look.from_request()).paint)


@bp.get("/fleet/rows")
def rows() -> ResponseReturnValue:
    """The page's changing parts, for a browser that polls."""
    return live.rows(Painter(Look.from_request()).paint)


class Painter:
    """Draws one look again and again; a row that is the same as before is not rendered again."""

    def __init__(self, look: Look):
        self.look = look
        self._drawn: dict[str, tuple[NodeRow, Markup]] = {}

    def paint(self) -> Picture:
        """Look at the fleet and draw it.

        :raises InvalidInputError: the cursor is not one of this list.
        """
        look = self.look
        page = fleet.nodes(
            environment_id=look.environment_id,
            q=look.q,
            limit=PAGE_SIZE,
            cursor=look.cursor,
            **_conditions(look.status),
        )
        return self.draw(page)

    def draw(self, page: NodePage) -> Picture:
        """The picture of one *page* of nodes."""
        self._drawn = {node.id: (node, self._row(node)) for node in page.items}
        row_ids = [f"node-{node.id}" for node in page.items]
        # Where all that is counted stands on the page, it is the rows that are counted: the two cannot differ.
        is_all = self.look.begins_the_counted and page.next_cursor is None and page.items
        counts = fleet.counts_of(page.items) if is_all else shared_counts(self.look.environment_id)
        parts = {
            "counts": live.draw("fleet/counts.html", look=self.look, tiles=_tiles(counts)),
            "empty": live.draw(
                "fleet/empty.html",
                look=self.look,
                has_rows=bool(row_ids),
                is_empty_environment=self.look.environment_id is not None and counts.nodes == 0,
                unknown_since=_unknown_since(page),
                is_unknown=counts.connected is None,
            ),
            "paging": live.draw("fleet/paging.html", look=self.look, next_cursor=page.next_cursor),
        }
        for node_id, (_, html) in self._drawn.items():
            parts[f"node-{node_id}"] = html
        return Picture(parts, {"nodes": row_ids}, frozenset(self._drawn))

    def _row(self, node: NodeRow) -> Markup:
        before = self._drawn.get(node.id)
        return before[1] if before and before[0] == node else live.draw("fleet/row.html", node=node)


def _conditions(status: str | None) -> dict[str, Any]:
    """What ``fleet.nodes`` is asked for a status of the page."""
    if status in ("connected", "polling"):
        return {"connected": status == "connected"}
    return {"status": status.upper()} if status else {}


def _unknown_since(page: NodePage) -> datetime | None:
    """Since when nobody knows who is connected: Redis may refuse one question and answer the next."""
    return switchboard().unknown_since or min(
        (node.push.unknown_since for node in page.items if node.push.unknown_since), default=None
    )


def _tiles(counts: FleetCounts) -> tuple[tuple[str, str, int | None, str], ...]:
    return (
        ("", "", counts.nodes, "node" if counts.nodes == 1 else "nodes"),
        ("connected", "good", counts.connected, "connected"),
        ("behind", "busy", counts.behind, "behind"),
        ("failed", "bad", counts.failed, "failed"),
        ("unreachable", "bad", counts.unreachable, "unreachable"),
    )


def shared_counts(environment_id: str | None) -> FleetCounts:
    """The counts, a moment old: nothing else here grows with the fleet."""
    shared: SharedCounts = current_app.extensions.setdefault("fleet-counts", SharedCounts())
    return shared.of(environment_id)


class SharedCounts:
    """The last counts of each environment that this worker's pages have asked for."""

    def __init__(self) -> None:
        self._counting = threading.Lock()
        self._known: dict[str | None, _Counted] = {}

    def of(self, environment_id: str | None) -> FleetCounts:
        """Count, or repeat what was counted a moment ago."""
        with self._counting:
            nonce = environments.nonce(environment_id)
            known = self._known.get(environment_id)
            if known is not None and time.monotonic() <= known.good_until(nonce):
                return known.counts
            if len(self._known) > 100:
                self._known.clear()
            started = time.monotonic()
            counts = fleet.counts(environment_id)
            ended = time.monotonic()
            self._known[environment_id] = _Counted(counts, nonce, ended, ended - started)
            return counts


@dataclass(frozen=True)
class _Counted:
    """Counts, when they were made, how many seconds that took, and what nodes should run at the time."""

    counts: FleetCounts
    nonce: str
    at: float
    cost: float

    def good_until(self, nonce: str) -> float:
        """Until when (``time.monotonic``) they may be shown, now that what nodes should run is *nonce*."""
        if nonce != self.nonce:
            return self.at + self.cost
        return self.at + max(COUNTS_SECONDS, self.cost / COUNTS_SHARE)
