"""``/api/v1/audit``: every change of state, by whom."""

from __future__ import annotations

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from app import access, audit_log
from app.audit_log import AuditFilter
from app.operator_api import requests, rows

blueprint = Blueprint("audit", __name__, url_prefix="/audit")


@blueprint.get("")
def listing() -> ResponseReturnValue:
    """Newest first; a token that is limited to an environment sees what happened there."""
    wanted = AuditFilter(
        environment_id=requests.text("environmentId"),
        within=access.where("viewer"),
        actor=requests.text("actor"),
        action=requests.text("action"),
        subject=requests.text("subject"),
        since=audit_log.read_moment(requests.text("since"), "since"),
        until=audit_log.read_moment(requests.text("until"), "until"),
    )
    page = audit_log.listing(wanted, limit=requests.limit(), cursor=requests.cursor())
    return jsonify(rows.page(page, rows.audit_entry))
