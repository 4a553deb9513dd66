"""``/api/v1/alerts``: what is pending, fires, or was resolved."""

from __future__ import annotations

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from app import access, alerts
from app.operator_api import alert_answers, alert_rows, answers, queries, requests, rows
from app.operator_api.contract import declares

blueprint = Blueprint("alerts", __name__, url_prefix="/alerts")


@blueprint.get("")
@declares(answers.Page[alert_answers.Alert], query=queries.Alerts)
def listing() -> ResponseReturnValue:
    """Newest first, of all states unless one is asked for."""
    asked = requests.query(queries.Alerts)
    page = alerts.listing(
        states=(asked.state,) if asked.state else None,
        environment_id=asked.environment_id,
        within=access.where("viewer"),
        rule_id=asked.rule_id,
        limit=asked.limit,
        cursor=asked.cursor,
    )
    return jsonify(rows.page(page, alert_rows.alert))


@blueprint.get("/<alert_id>")
@declares(alert_answers.Alert)
def show(alert_id: str) -> ResponseReturnValue:
    """One of them."""
    return jsonify(alert_rows.alert(alerts.get(alert_id)))


@blueprint.post("/<alert_id>/acknowledge")
@declares(alert_answers.Alert, refusals=(409,))
def acknowledge(alert_id: str) -> ResponseReturnValue:
    """Note that somebody sees to it."""
    return jsonify(alert_rows.alert(alerts.acknowledge(alert_id, access.actor())))
