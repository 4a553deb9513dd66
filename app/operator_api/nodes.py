"""``/api/v1/nodes``."""

from __future__ import annotations

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from app import access, fleet, nodes, selectors
from app.operator_api import requests, rows, schemas

EDITORS_FIELDS = {"labels", "maintenance_mode"}
"""What of a node an editor may change."""

blueprint = Blueprint("nodes", __name__, url_prefix="/nodes")


@blueprint.get("")
def listing() -> ResponseReturnValue:
    """By name; ``?environmentId=&status=&connected=&label=&q=``."""
    limit, cursor = requests.limit(), requests.cursor()
    label, status = requests.text("label"), requests.text("status")
    page = fleet.nodes(
        environment_id=requests.text("environmentId"),
        within=access.where("viewer"),
        status=status.upper() if status else None,
        connected=requests.flag("connected"),
        label=selectors.parse(label, field="label") if label else None,
        q=requests.text("q"),
        limit=limit,
        cursor=cursor,
    )
    return jsonify(rows.page(page, rows.node))


@blueprint.get("/<node_id>")
def show(node_id: str) -> ResponseReturnValue:
    """One."""
    return jsonify(rows.node(fleet.node(node_id)))


@blueprint.patch("/<node_id>")
def update(node_id: str) -> ResponseReturnValue:
    """Change name, labels, maintenance mode or environment; an editor may change the middle two."""
    given = requests.body(schemas.NodeChanges).given()
    if given.keys() - EDITORS_FIELDS:
        access.require("admin", nodes.environment_of(node_id), "node")
    if "environment_id" in given:
        access.require("admin", given["environment_id"])
    if "labels" in given:
        given["labels"] = {key: value for key, value in given["labels"].items() if value is not None}
    nodes.update(node_id, access.actor(), **given)
    return jsonify(rows.node(fleet.node(node_id)))


@blueprint.delete("/<node_id>")
def delete(node_id: str) -> ResponseReturnValue:
    """Forget one; its token ends."""
    nodes.delete(node_id, access.actor())
    return "", 204


@blueprint.post("/<node_id>/revoke")
def revoke(node_id: str) -> ResponseReturnValue:
    """End its token at once and close its socket; the row stays."""
    nodes.revoke(node_id, access.actor())
    return jsonify(rows.node(fleet.node(node_id)))
