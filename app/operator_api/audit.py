"""``/api/v1/audit``: every change of state, by whom."""

from __future__ import annotations

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from app import audit_log
from app.operator_api import access, requests, rows

blueprint = Blueprint("audit", __name__, url_prefix="/audit")


@blueprint.get("")
def listing() -> ResponseReturnValue:
    """Newest first; a token that is limited to an environment sees what happened there."""
    page = audit_log.listing(
        environment_id=access.token().environment_id, limit=requests.limit(), cursor=requests.cursor()
    )
    return jsonify(rows.page(page, rows.audit_entry))
