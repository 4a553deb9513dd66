"""``/api/v1/deployments``."""

from __future__ import annotations

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from app import deployments
from app.operator_api import requests

blueprint = Blueprint("deployments", __name__, url_prefix="/deployments")


@blueprint.get("/<deployment_id>")
def show(deployment_id: str) -> ResponseReturnValue:
    """How far a deployment has come, with one page of its nodes."""
    return jsonify(deployments.report(deployment_id, requests.limit(), requests.cursor()))
