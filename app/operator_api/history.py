"""``/api/v1/nodes/{id}/metrics``, ``/logs`` and ``/channels``: what was."""

from __future__ import annotations

from datetime import datetime, timedelta

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from app import channel_history, metrics_history, node_logs
from app.clock import rfc3339, utc_now
from app.errors import InvalidInputError
from app.metrics_points import HOST
from app.operator_api import answers, history_answers, queries, requests, rows
from app.operator_api.contract import declares

blueprint = Blueprint("history", __name__, url_prefix="/nodes/<node_id>")

DEFAULT_POINTS = 60


@blueprint.get("/metrics")
@declares(history_answers.Metrics, query=queries.Metrics)
def metrics(node_id: str) -> ResponseReturnValue:
    """``?level=minute|hour|day&since=&until=``, by default the last sixty points; at most 1,500."""
    asked = requests.query(queries.Metrics)
    level = metrics_history.LEVELS[asked.level]
    until = _moment(asked.until, "until") or utc_now()
    since = _moment(asked.since, "since") or until - timedelta(seconds=level * DEFAULT_POINTS)
    series = metrics_history.read(node_id, level, since.timestamp(), until.timestamp())
    host = series.pop(HOST, {})
    return jsonify(
        level=asked.level,
        since=rfc3339(since),
        until=rfc3339(until),
        host=[rows.host_point(start, point) for start, point in host.items()],
        pipelines={
            pipeline_id: [rows.pipeline_point(start, point) for start, point in points.items()]
            for pipeline_id, points in sorted(series.items())
            if points
        },
    )


@blueprint.get("/logs")
@declares(answers.Page[history_answers.PipelineLogs], query=queries.Logs)
def logs(node_id: str) -> ResponseReturnValue:
    """What each pipeline has printed last, by the pipelines' names; ``?pipelineId=``."""
    asked = requests.query(queries.Logs)
    page = node_logs.kept(node_id, asked.pipeline_id, asked.limit, asked.cursor)
    return jsonify(rows.page(page, rows.pipeline_logs))


@blueprint.get("/channels")
@declares(answers.Page[history_answers.Channel], query=queries.Listing)
def channels(node_id: str) -> ResponseReturnValue:
    """The push channels that have ended, the latest first."""
    asked = requests.query(queries.Listing)
    page = channel_history.of_node(node_id, asked.limit, asked.cursor)
    return jsonify(rows.page(page, rows.channel))


def _moment(text: str | None, name: str) -> datetime | None:
    """A moment in RFC 3339, with its zone.

    :raises InvalidInputError: it is not one.
    """
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None and 1970 < moment.year < 3000:
            return moment
    except ValueError:
        pass
    message = "it is a moment such as 2026-01-31T12:00:00Z"
    raise InvalidInputError(
        f'The parameter "{name}" is not valid: {message}.', [{"field": name, "message": message}]
    )
