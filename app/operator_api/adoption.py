"""``/api/v1/refused-tokens``: agents that present another system's token, and making nodes of them."""

from __future__ import annotations

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from app import access, adoption, fleet
from app.clock import rfc3339
from app.operator_api import requests, rows, schemas

blueprint = Blueprint("adoption", __name__, url_prefix="/refused-tokens")


@blueprint.get("")
def listing() -> ResponseReturnValue:
    """All of them, the one seen last first."""
    items = [
        {
            "fingerprint": each.fingerprint,
            "address": each.address,
            "firstSeenAt": rfc3339(each.first_seen_at),
            "lastSeenAt": rfc3339(each.last_seen_at),
        }
        for each in adoption.listing()
    ]
    return jsonify(items=items, nextCursor=None)


@blueprint.post("/<fingerprint>/adopt")
def adopt(fingerprint: str) -> ResponseReturnValue:
    """Make a node of one."""
    adoption.find(fingerprint)
    body = requests.body(schemas.Adoption)
    node_id = adoption.adopt(fingerprint, body.environment_id, body.name, access.actor())
    return jsonify(rows.node(fleet.node(node_id))), 201
