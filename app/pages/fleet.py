"""The fleet page: the counts that matter, and one page of nodes that keeps itself current."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue
from markupsafe import Markup

from app import access, environments, fleet, fleet_versions
from app.database import one_view
from app.errors import InvalidInputError
from app.fleet import FleetCounts, NodePage, NodeRow
from app.fleet_states import States
from app.pages import fleet_look, live, words
from app.pages.first_steps import Steps
from app.pages.fleet_counts import shared_counts
from app.pages.fleet_look import Look
from app.pages.live import Picture
from app.switchboard_process import switchboard

PAGE_SIZE = 50

bp = Blueprint("fleet", __name__)


@bp.get("/")
@one_view()
def index() -> ResponseReturnValue:
    """The page as it is now; a filter that cannot be understood is said on it."""
    look, problem = Look.of(request.args), None
    painter = Painter(look)
    try:
        picture = painter.paint()
    except InvalidInputError as error:
        problem, picture = error, painter.draw(NodePage([], None), States(look.environment_id))
    agents, vectors = fleet_versions.in_use(painter.within)
    return render_template(
        "fleet/index.html",
        look=look,
        picture=picture,
        problem=problem,
        statuses=fleet_look.STATUSES,
        connected=fleet_look.CONNECTED,
        environments=[(each.id, each.name) for each in environments.choices(painter.within)],
        agents=[(version, version) for version in agents],
        vectors=[(version, words.short_version(version)) for version in vectors],
        page_size=PAGE_SIZE,
    ), (problem.status if problem else 200)


@bp.get("/fleet/events")
def events() -> ResponseReturnValue:
    """What changes on the page, as it changes."""
    return live.events(Painter(Look.of(request.args)).paint)


@bp.get("/fleet/rows")
def rows() -> ResponseReturnValue:
    """The page's changing parts, for a browser that polls."""
    return live.rows(Painter(Look.of(request.args)).paint)


class Painter:
    """Draws one look again and again; a row that is the same as before is not rendered again."""

    def __init__(self, look: Look):
        self.look = look
        self.within = access.where("viewer")
        self._steps = Steps()
        self._drawn: dict[str, tuple[NodeRow, Markup]] = {}

    def paint(self) -> Picture:
        """Look at the fleet and draw it.

        :raises InvalidInputError: the label rules cannot be read, or the cursor is not one of this list.
        """
        look, states = self.look, States(self.look.environment_id)
        page = fleet.page(
            replace(look.filter(), within=self.within),
            look.order(),
            limit=PAGE_SIZE,
            cursor=look.cursor,
            before=look.before,
            states=states,
        )
        return self.draw(page, states)

    def draw(self, page: NodePage, states: States) -> Picture:
        """The picture of one *page* of nodes."""
        self._drawn = {node.id: (node, self._row(node)) for node in page.items}
        row_ids = [f"node-{node.id}" for node in page.items]
        # Where all that is counted stands on the page, it is the rows that are counted: the two cannot differ.
        is_all = self.look.begins_the_counted and page.next_cursor is None and page.items
        counts = fleet.counts_of(page.items) if is_all else self._counts(states)
        is_plain = not self.look.is_filtered
        parts = {
            "steps": self._steps.part(is_shown=is_plain, is_needed=is_plain and counts.nodes == 0),
            "counts": live.draw("fleet/counts.html", look=self.look, tiles=_tiles(counts)),
            "empty": live.draw(
                "fleet/empty.html",
                look=self.look,
                has_rows=bool(row_ids),
                is_empty_environment=self.look.environment_id is not None and counts.nodes == 0,
                is_empty=counts.nodes == 0 and not page.items,
                unknown_since=_unknown_since(page),
                is_unknown=counts.connected is None,
            ),
            "paging": live.draw("fleet/paging.html", look=self.look, page=page),
            "all-matching": live.draw(
                "fleet/all_matching.html", number=_number(self.look, counts), has_rows=bool(row_ids)
            ),
        }
        for node_id, (_, html) in self._drawn.items():
            parts[f"node-{node_id}"] = html
        return Picture(parts, {"nodes": row_ids}, frozenset(self._drawn))

    def _counts(self, states: States) -> FleetCounts:
        return shared_counts(self.look.environment_id, states, self.within)

    def _row(self, node: NodeRow) -> Markup:
        before = self._drawn.get(node.id)
        return before[1] if before and before[0] == node else live.draw("fleet/row.html", node=node)


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
        ("maintenance", "busy", counts.maintenance, "in maintenance"),
    )


def _number(look: Look, counts: FleetCounts) -> int | None:
    """How many nodes match, where the counts tell; counting others would cost as much as listing them."""
    if set(look.filters()) - {"environment", "status", "connected"} or look.tile is None:
        return None
    return {tile: number for tile, _, number, _ in _tiles(counts)}.get(look.tile)
