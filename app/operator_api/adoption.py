"""``/api/v1/refused-tokens``: agents that present another system's token, and making nodes of them."""

from __future__ import annotations

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from app import access, adoption, fleet
from app.operator_api import answers, history_answers, queries, requests, rows, schemas
from app.operator_api.contract import declares

blueprint = Blueprint("adoption", __name__, url_prefix="/refused-tokens")


@blueprint.get("")
@declares(answers.Page[history_answers.RefusedToken], query=queries.Listing)
def listing() -> ResponseReturnValue:
    """By fingerprint: what is refused again meanwhile keeps its place."""
    asked = requests.query(queries.Listing)
    return jsonify(rows.page(adoption.page(asked.limit, asked.cursor), rows.refused_token))


@blueprint.post("/<fingerprint>/adopt")
@declares(answers.Node, 201, body=schemas.Adoption, refusals=(409,))
def adopt(fingerprint: str) -> ResponseReturnValue:
    """Make a node of one."""
    adoption.find(fingerprint)
    body = requests.body(schemas.Adoption)
    node_id = adoption.adopt(fingerprint, body.environment_id, body.name, access.actor())
    return jsonify(rows.node(fleet.node(node_id))), 201
