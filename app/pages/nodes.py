"""A node's page: what runs there and what should, its push channel, labels, logs, and its end."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from markupsafe import Markup

from app import access, alerts, channel_history, fleet, node_actions, node_changes, node_charts, nodes
from app.clock import utc_now
from app.database import one_view
from app.errors import InvalidInputError, SignalboxError
from app.fleet import NodeRow
from app.metrics_points import HOST
from app.pages import live, questions, words
from app.pages.live import Picture

ACTIONS_SHOWN = 10
CHANNELS_SHOWN = 5
CHARTS_SECONDS = 10.0
"""How long the charts of an open page are left as they are: a heartbeat says little more within that time."""

bp = Blueprint("nodes", __name__, url_prefix="/nodes/<node_id>")


@dataclass(frozen=True)
class Draft:
    """What stands in the form."""

    name: str
    labels: str
    maintenance_mode: bool


@bp.get("")
def show(node_id: str) -> ResponseReturnValue:
    """The page as it is now."""
    return _page(node_id)


@bp.get("/events")
def events(node_id: str) -> ResponseReturnValue:
    """What changes on the page, as it changes."""
    return live.events(Painter(node_id, _span()).paint)


@bp.get("/rows")
def rows(node_id: str) -> ResponseReturnValue:
    """The page's changing parts, for a browser that polls."""
    return live.rows(Painter(node_id, _span()).paint)


@bp.get("/channels")
def channels(node_id: str) -> ResponseReturnValue:
    """All push channels that have ended, page by page."""
    node = fleet.node(node_id)
    page = channel_history.of_node(node_id, cursor=request.args.get("cursor") or None)
    return render_template("nodes/all_channels.html", node=node, page=page)


@bp.post("")
def save(node_id: str) -> ResponseReturnValue:
    """Change name, the operator's labels and maintenance mode; the node is nudged by the use."""
    draft = Draft(
        name=request.form.get("name", "").strip(),
        labels=request.form.get("labels", "").replace("\r\n", "\n"),
        maintenance_mode=request.form.get("maintenance_mode") == "yes",
    )
    try:
        labels = parse_labels(draft.labels)
        stops = (
            []
            if questions.is_confirmed()
            else node_changes.would_stop(node_id, labels, draft.maintenance_mode)
        )
        if stops:
            name = fleet.node(node_id).name
            why = (
                "In maintenance it runs nothing." if draft.maintenance_mode else "Its labels match no longer."
            )
            return questions.ask(
                f"Stop {words.plural(len(stops), 'pipeline')} on {name}?",
                [f"Saving this stops {words.plural(len(stops), 'pipeline')} on 1 node, {name}. {why}"],
                names=stops,
                button=f"Save, and stop {'it' if len(stops) == 1 else 'them'}",
                back=url_for("pages.nodes.show", node_id=node_id),
            )
        nodes.update(
            node_id,
            access.actor(),
            name=draft.name,
            labels=labels,
            maintenance_mode=draft.maintenance_mode,
        )
    except InvalidInputError as error:
        return _page(node_id, error, draft), error.status
    flash("Saved.", "good")
    return redirect(url_for("pages.nodes.show", node_id=node_id))


@bp.post("/revoke")
def revoke(node_id: str) -> ResponseReturnValue:
    """End the node's token and close its socket."""
    nodes.revoke(node_id, access.actor())
    flash("Revoked: its token no longer works.", "good")
    return redirect(url_for("pages.nodes.show", node_id=node_id))


@bp.post("/delete")
def delete(node_id: str) -> ResponseReturnValue:
    """Forget the node."""
    name = fleet.node(node_id).name
    nodes.delete(node_id, access.actor())
    flash(f"Deleted the node {name}.", "good")
    return redirect(url_for("pages.fleet.index"))


class Painter:
    """Draws one node's page again and again; its charts no more often than they can change to the eye."""

    def __init__(self, node_id: str, span: str) -> None:
        self._node_id = node_id
        self._span = span
        self._charts = Markup()
        self._charts_at = -math.inf
        self._names: dict[str, str] = {}

    def paint(self) -> Picture:
        """Look at the node and draw it.

        :raises NotFoundError: there is none of that id.
        """
        node = fleet.node(self._node_id)
        names = {run.pipeline_id: run.name for run in node.pipelines}
        if names != self._names or time.monotonic() > self._charts_at + CHARTS_SECONDS:
            self._charts, self._charts_at, self._names = self._draw_charts(names), time.monotonic(), names
        picture = paint(node)
        return replace(picture, parts={**picture.parts, "charts": self._charts})

    def _draw_charts(self, names: dict[str, str]) -> Markup:
        charts = node_charts.of_node(self._node_id, self._span, names, utc_now().timestamp())
        groups = [
            (name, [chart for chart in charts if chart.subject == subject])
            for subject, name in ((HOST, "The machine"), *sorted(names.items(), key=lambda each: each[1]))
        ]
        return live.draw("nodes/charts.html", groups=groups, span=self._span)


def _span() -> str:
    """What the charts are of: an hour, unless the query string says a day or a week."""
    span = request.args.get("span", "hour")
    return span if span in node_charts.SPANS else "hour"


def paint(node: NodeRow) -> Picture:
    """The picture of one node, without its charts."""
    logs = [(name, lines) for name, lines in nodes.recent_logs(node.id) if lines]
    actions = node_actions.of_node(node.id, limit=ACTIONS_SHOWN).items
    parts = {
        "alerts": live.draw("alerts/beside.html", rows=alerts.of_node(node.id), most=alerts.MOST_BESIDE),
        "facts": live.draw("nodes/facts.html", node=node),
        "runs": live.draw("nodes/runs.html", node=node),
        "actions": live.draw("nodes/actions.html", actions=actions),
        "channels": live.draw(
            "nodes/channels.html", node=node, page=channel_history.of_node(node.id, CHANNELS_SHOWN)
        ),
        "logs": live.draw("nodes/logs.html", logs=logs),
    }
    return Picture(parts, node_ids=frozenset([node.id]))


def parse_labels(text: str) -> dict[str, str]:
    """``key=value`` a line, as a dictionary; a line without ``=`` has an empty value.

    :raises InvalidInputError: a line has no key, or a key stands twice.
    """
    labels: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        key, _, value = (part.strip() for part in line.partition("="))
        if not line.strip():
            continue
        if not key or key in labels:
            message = f'the key "{key}" stands twice' if key else "there is no key before the ="
            raise InvalidInputError(
                f"Line {number} of the labels cannot be used: {message}.",
                [{"field": "labels", "message": message, "line": number}],
            )
        labels[key] = value
    return labels


@one_view()
def _page(node_id: str, problem: SignalboxError | None = None, draft: Draft | None = None) -> str:
    node = fleet.node(node_id)
    if draft is None:
        lines = "".join(f"{key}={value}\n" for key, value in sorted(node.operator_labels.items()))
        draft = Draft(node.name, lines, node.maintenance_mode)
    span = _span()
    return render_template(
        "nodes/show.html",
        node=node,
        picture=Painter(node_id, span).paint(),
        problem=problem,
        draft=draft,
        span=span,
        spans=node_charts.SPANS,
    )
