"""``/api/v1/nodes``."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify
from flask.typing import ResponseReturnValue

from app import access, fleet, nodes, selectors
from app.operator_api import answers, queries, requests, rows, schemas
from app.operator_api.contract import declares
from app.operator_api.etags import tagged

EDITORS_FIELDS = {"labels", "maintenance_mode"}
"""What of a node an editor may change."""

blueprint = Blueprint("nodes", __name__, url_prefix="/nodes")


@blueprint.get("")
@declares(answers.Page[answers.Node], query=queries.Nodes)
def listing() -> ResponseReturnValue:
    """By name; ``?environmentId=&status=&connected=&label=&q=``."""
    asked = requests.query(queries.Nodes)
    page = fleet.nodes(
        environment_id=asked.environment_id,
        within=access.where("viewer"),
        status=asked.status,
        connected=asked.connected,
        label=selectors.parse(asked.label, field="label") if asked.label else None,
        q=asked.q,
        limit=asked.limit,
        cursor=asked.cursor,
    )
    return jsonify(rows.page(page, rows.node))


@blueprint.get("/<node_id>")
@declares(answers.Node, is_tagged=True)
def show(node_id: str) -> ResponseReturnValue:
    """One."""
    return _answer(node_id)


@blueprint.patch("/<node_id>")
@declares(answers.Node, body=schemas.NodeChanges, refusals=(409,), is_tagged=True, is_guarded=True)
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
    return _answer(node_id)


@blueprint.delete("/<node_id>")
@declares(None, 204, is_guarded=True)
def delete(node_id: str) -> ResponseReturnValue:
    """Forget one; its token ends."""
    nodes.delete(node_id, access.actor())
    return "", 204


@blueprint.post("/<node_id>/revoke")
@declares(answers.Node, is_tagged=True)
def revoke(node_id: str) -> ResponseReturnValue:
    """End its token at once and close its socket; the row stays."""
    nodes.revoke(node_id, access.actor())
    return _answer(node_id)


def _answer(node_id: str) -> Response:
    node = fleet.node(node_id)
    return tagged(rows.node(node), nodes.edit_revision(node))
