"""``/api/v1/…/taps``: live tails."""

from __future__ import annotations

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from app import access, tail_stream, taps
from app.operator_api import answers, requests, schemas
from app.operator_api.contract import EVENT_STREAM, declares

blueprint = Blueprint("taps", __name__)


@blueprint.post("/pipelines/<pipeline_id>/taps")
@declares(answers.TapAsked, 202, body=schemas.NewTap, refusals=(409,))
def start(pipeline_id: str) -> ResponseReturnValue:
    """Ask a node for the events of a component."""
    body = requests.body(schemas.NewTap)
    tap = taps.start(pipeline_id, body.component_id, access.actor(), body.node_id)
    return jsonify(requestId=tap.request_id, nodeId=tap.node_id), 202


@blueprint.get("/taps/<request_id>/events")
@declares(str, media_type=EVENT_STREAM)
def events(request_id: str) -> ResponseReturnValue:
    """What comes, as server-sent events, until the tail ends."""
    return tail_stream.response(taps.get(request_id), access.still_allowed())


@blueprint.delete("/taps/<request_id>")
@declares(None, 204)
def stop(request_id: str) -> ResponseReturnValue:
    """End it."""
    taps.stop(taps.get(request_id).request_id)
    return "", 204
