"""``/api/v1/alert-rules``: what is to be told of, and what a rule would find now."""

from __future__ import annotations

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from app import access, alert_drafts, alert_preview, alert_rules
from app.alert_drafts import Draft
from app.operator_api import alert_answers, alert_rows, alert_schemas, answers, queries, requests, rows
from app.operator_api.contract import declares
from app.operator_api.etags import tagged

blueprint = Blueprint("alert_rules", __name__, url_prefix="/alert-rules")


@blueprint.get("")
@declares(answers.Page[alert_answers.AlertRule], query=queries.InEnvironment)
def listing() -> ResponseReturnValue:
    """Newest first; a token that is limited to an environment sees those of it."""
    asked = requests.query(queries.InEnvironment)
    page = alert_rules.listing(
        asked.environment_id, within=access.where("viewer"), limit=asked.limit, cursor=asked.cursor
    )
    return jsonify(rows.page(page, alert_rows.alert_rule))


@blueprint.post("")
@declares(alert_answers.AlertRule, 201, body=alert_schemas.NewAlertRule, refusals=(404, 409), is_tagged=True)
def create() -> ResponseReturnValue:
    """Make one; it is evaluated within seconds, and from then on."""
    row = alert_rules.create(_draft(), access.actor())
    return tagged(alert_rows.alert_rule(row), alert_rules.edit_revision(row), 201)


@blueprint.post("/preview")
@declares(alert_answers.AlertPreview, body=alert_schemas.NewAlertRule, refusals=(404,))
def preview() -> ResponseReturnValue:
    """What such a rule would find now; nothing is made."""
    return jsonify(alert_rows.alert_preview(alert_preview.preview(_draft())))


@blueprint.get("/<rule_id>")
@declares(alert_answers.AlertRule, is_tagged=True)
def show(rule_id: str) -> ResponseReturnValue:
    """One of them."""
    row = alert_rules.get(rule_id)
    return tagged(alert_rows.alert_rule(row), alert_rules.edit_revision(row))


@blueprint.patch("/<rule_id>")
@declares(alert_answers.AlertRule, body=alert_schemas.AlertRuleChanges, is_tagged=True, is_guarded=True)
def update(rule_id: str) -> ResponseReturnValue:
    """Change it, all but its kind and what it is about."""
    given = requests.body(alert_schemas.AlertRuleChanges).given()
    if "enabled" in given:
        given["is_enabled"] = given.pop("enabled")
    row = alert_rules.update(rule_id, given, access.actor())
    return tagged(alert_rows.alert_rule(row), alert_rules.edit_revision(row))


@blueprint.delete("/<rule_id>")
@declares(None, 204, is_guarded=True)
def delete(rule_id: str) -> ResponseReturnValue:
    """Delete it; its alerts are resolved, and their history stays."""
    alert_rules.delete(rule_id, access.actor())
    return "", 204


def _draft() -> Draft:
    draft = alert_drafts.located(requests.body(alert_schemas.NewAlertRule).draft())
    if draft.environment_id is None:
        access.require_overall("editor")
    else:
        access.require("editor", draft.environment_id, "pipeline" if draft.pipeline_id else "environment")
    return draft
