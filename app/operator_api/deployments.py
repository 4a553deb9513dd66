"""``/api/v1/deployments``."""

from __future__ import annotations

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from app import deployments
from app.operator_api import history_answers, queries, requests
from app.operator_api.contract import declares

blueprint = Blueprint("deployments", __name__, url_prefix="/deployments")


@blueprint.get("/<deployment_id>")
@declares(history_answers.Deployment, query=queries.Listing)
def show(deployment_id: str) -> ResponseReturnValue:
    """How far a deployment has come, with one page of its nodes."""
    asked = requests.query(queries.Listing)
    return jsonify(deployments.report(deployment_id, asked.limit, asked.cursor))
