"""``/api/v1/audit``: every change of state, by whom."""

from __future__ import annotations

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from app import access, audit_log
from app.audit_log import AuditFilter
from app.operator_api import answers, queries, requests, rows
from app.operator_api.contract import declares

blueprint = Blueprint("audit", __name__, url_prefix="/audit")


@blueprint.get("")
@declares(answers.Page[answers.AuditEntry], query=queries.Audit)
def listing() -> ResponseReturnValue:
    """Newest first; a token that is limited to an environment sees what happened there."""
    asked = requests.query(queries.Audit)
    wanted = AuditFilter(
        environment_id=asked.environment_id,
        within=access.where("viewer"),
        actor=asked.actor,
        action=asked.action,
        subject=asked.subject,
        since=audit_log.read_moment(asked.since, "since"),
        until=audit_log.read_moment(asked.until, "until"),
    )
    page = audit_log.listing(wanted, limit=asked.limit, cursor=asked.cursor)
    return jsonify(rows.page(page, rows.audit_entry))
