"""``/api/v1/…/taps``: live tails."""

from __future__ import annotations

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from app import pipelines, tail_stream, taps
from app.operator_api import access, requests, schemas
from app.push.taps import Tap

blueprint = Blueprint("taps", __name__)


@blueprint.post("/pipelines/<pipeline_id>/taps")
@access.needs("editor")
def start(pipeline_id: str) -> ResponseReturnValue:
    """Ask a node for the events of a component."""
    access.check_visible(pipelines.get(pipeline_id).environment_id, "pipeline")
    body = requests.body(schemas.NewTap)
    tap = taps.start(pipeline_id, body.component_id, access.actor(), body.node_id)
    return jsonify(requestId=tap.request_id, nodeId=tap.node_id), 202


@blueprint.get("/taps/<request_id>/events")
@access.needs("editor")
def events(request_id: str) -> ResponseReturnValue:
    """What comes, as server-sent events, until the tail ends."""
    return tail_stream.response(_visible(request_id))


@blueprint.delete("/taps/<request_id>")
@access.needs("editor")
def stop(request_id: str) -> ResponseReturnValue:
    """End it."""
    taps.stop(_visible(request_id).request_id)
    return "", 204


def _visible(request_id: str) -> Tap:
    tap = taps.get(request_id)
    access.check_visible(tap.environment_id, "live tail")
    return tap
