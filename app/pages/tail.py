"""The live tail on a pipeline's page: ``static/tail.js`` starts it, reads it and stops it."""

from __future__ import annotations

from flask import Blueprint, jsonify, request, url_for
from flask.typing import ResponseReturnValue

from app import access, tail_stream, taps
from app.errors import NotFoundError, SignalboxError
from app.push.taps import Tap

bp = Blueprint("tail", __name__, url_prefix="/pipelines/<pipeline_id>/tail")


@bp.post("")
def start(pipeline_id: str) -> ResponseReturnValue:
    """Ask a node; ``{events, stop}``, the addresses to read and to stop at, or ``{error}`` for the page."""
    try:
        tap = taps.start(pipeline_id, request.form.get("component_id", ""), access.actor())
    except SignalboxError as error:
        return jsonify(error=error.sentence), error.status
    events, stop = (
        url_for(f"pages.tail.{view}", pipeline_id=pipeline_id, request_id=tap.request_id)
        for view in ("events", "stop")
    )
    return jsonify(events=events, stop=stop)


@bp.get("/<request_id>/events")
def events(pipeline_id: str, request_id: str) -> ResponseReturnValue:
    """What comes, as server-sent events."""
    return tail_stream.response(_of(pipeline_id, request_id), access.still_allowed())


@bp.post("/<request_id>/stop")
def stop(pipeline_id: str, request_id: str) -> ResponseReturnValue:
    """End it."""
    taps.stop(_of(pipeline_id, request_id).request_id)
    return "", 204


def _of(pipeline_id: str, request_id: str) -> Tap:
    tap = taps.get(request_id)
    if tap.pipeline_id != pipeline_id:
        raise NotFoundError("There is no such live tail (any more).")
    return tap
