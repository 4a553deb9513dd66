"""``/api/v1/webhooks``: who is told of what happens, and how that went. For admins: addresses may hold tokens."""

from __future__ import annotations

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from app import access, webhooks
from app.operator_api import answers, history_answers, queries, requests, rows, schemas
from app.operator_api.contract import declares
from app.operator_api.etags import tagged
from app.webhooks import Wanted

blueprint = Blueprint("webhooks", __name__, url_prefix="/webhooks")


@blueprint.get("")
@declares(answers.Page[history_answers.Webhook], query=queries.InEnvironment)
def listing() -> ResponseReturnValue:
    """Newest first; a token that is limited to an environment sees those of it."""
    asked = requests.query(queries.InEnvironment)
    page = webhooks.listing(
        asked.environment_id, within=access.where("admin"), limit=asked.limit, cursor=asked.cursor
    )
    return jsonify(rows.page(page, rows.webhook))


@blueprint.post("")
@declares(
    history_answers.MadeWebhook,
    201,
    body=schemas.NewWebhook,
    refusals=(404, 409),
    is_tagged=True,
    shows_once=True,
)
def create() -> ResponseReturnValue:
    """Make one; the only answer that shows its secret."""
    body = requests.body(schemas.NewWebhook)
    if body.environment_id is None:
        access.require_overall("admin")
    else:
        access.require("admin", body.environment_id)
    row, secret = webhooks.create(
        body.name, body.url, body.events, access.actor(), environment_id=body.environment_id
    )
    return tagged({**rows.webhook(row), "secret": secret}, webhooks.edit_revision(row), 201)


@blueprint.get("/<webhook_id>")
@declares(history_answers.Webhook, is_tagged=True)
def show(webhook_id: str) -> ResponseReturnValue:
    """One of them."""
    row = webhooks.get(webhook_id)
    return tagged(rows.webhook(row), webhooks.edit_revision(row))


@blueprint.patch("/<webhook_id>")
@declares(history_answers.Webhook, body=schemas.WebhookChanges, is_tagged=True, is_guarded=True)
def update(webhook_id: str) -> ResponseReturnValue:
    """Change its name, address, events, or whether it is enabled."""
    given = requests.body(schemas.WebhookChanges).given()
    row = webhooks.update(webhook_id, Wanted(**given), access.actor())
    return tagged(rows.webhook(row), webhooks.edit_revision(row))


@blueprint.delete("/<webhook_id>")
@declares(None, 204, is_guarded=True)
def delete(webhook_id: str) -> ResponseReturnValue:
    """Delete it, with its queue and its log."""
    webhooks.delete(webhook_id, access.actor())
    return "", 204


@blueprint.post("/<webhook_id>/secret")
@declares(history_answers.WebhookSecret, 201, shows_once=True)
def rotate(webhook_id: str) -> ResponseReturnValue:
    """Give it another secret; the only answer that shows it."""
    return jsonify({"secret": webhooks.new_secret(webhook_id, access.actor())}), 201


@blueprint.post("/<webhook_id>/test")
@declares(history_answers.WebhookSent, 202, refusals=(409,))
def test(webhook_id: str) -> ResponseReturnValue:
    """Put a test into its queue."""
    return jsonify({"deliveryId": webhooks.send_test(webhook_id, access.actor())}), 202


@blueprint.get("/<webhook_id>/deliveries")
@declares(answers.Page[history_answers.WebhookDelivery], query=queries.Deliveries)
def deliveries(webhook_id: str) -> ResponseReturnValue:
    """What was or is to be sent, newest first."""
    asked = requests.query(queries.Deliveries)
    page = webhooks.deliveries(webhook_id, status=asked.status, limit=asked.limit, cursor=asked.cursor)
    return jsonify(rows.page(page, rows.webhook_delivery))


@blueprint.post("/<webhook_id>/deliveries/<delivery_id>/resend")
@declares(history_answers.WebhookSent, 202, refusals=(409,))
def resend(webhook_id: str, delivery_id: str) -> ResponseReturnValue:
    """Send it once more, as a delivery of its own."""
    return jsonify({"deliveryId": webhooks.resend(webhook_id, delivery_id, access.actor())}), 202
