"""Samples: a look at the events of a deployed pipeline."""

from __future__ import annotations

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from app import access, sample_views, samples
from app.operator_api import answers, requests, rows, schemas
from app.operator_api.contract import declares

blueprint = Blueprint("samples", __name__)


@blueprint.post("/pipelines/<pipeline_id>/samples")
@declares(answers.SamplesAsked, 202, body=schemas.NewSamples, refusals=(409,))
def ask(pipeline_id: str) -> ResponseReturnValue:
    """Ask the nodes that run it; ``202``, since they answer later."""
    body = requests.body(schemas.NewSamples)
    return jsonify(
        rows.samples_asked(samples.ask(pipeline_id, body.component_keys, body.limit, access.actor()))
    ), 202


@blueprint.get("/samples/<request_id>")
@declares(answers.Samples)
def show(request_id: str) -> ResponseReturnValue:
    """What has come of a request so far."""
    return jsonify(rows.samples(sample_views.get(request_id)))
