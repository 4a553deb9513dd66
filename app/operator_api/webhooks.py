"""``/api/v1/webhooks``: who is told of what happens, and how that went. For admins: addresses may hold tokens."""

from __future__ import annotations

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from app import access, webhooks
from app.operator_api import requests, rows, schemas
from app.webhooks import Wanted

STATUSES = ("PENDING", "DELIVERED", "FAILED")

blueprint = Blueprint("webhooks", __name__, url_prefix="/webhooks")


@blueprint.get("")
def listing() -> ResponseReturnValue:
    """Newest first; a token that is limited to an environment sees those of it."""
    page = webhooks.listing(
        requests.text("environmentId"),
        within=access.where("admin"),
        limit=requests.limit(),
        cursor=requests.cursor(),
    )
    return jsonify(rows.page(page, rows.webhook))


@blueprint.post("")
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
    return jsonify({**rows.webhook(row), "secret": secret}), 201


@blueprint.get("/<webhook_id>")
def show(webhook_id: str) -> ResponseReturnValue:
    """One of them."""
    return jsonify(rows.webhook(webhooks.get(webhook_id)))


@blueprint.patch("/<webhook_id>")
def update(webhook_id: str) -> ResponseReturnValue:
    """Change its name, address, events, or whether it is enabled."""
    given = requests.body(schemas.WebhookChanges).given()
    return jsonify(rows.webhook(webhooks.update(webhook_id, Wanted(**given), access.actor())))


@blueprint.delete("/<webhook_id>")
def delete(webhook_id: str) -> ResponseReturnValue:
    """Delete it, with its queue and its log."""
    webhooks.delete(webhook_id, access.actor())
    return "", 204


@blueprint.post("/<webhook_id>/secret")
def rotate(webhook_id: str) -> ResponseReturnValue:
    """Give it another secret; the only answer that shows it."""
    return jsonify({"secret": webhooks.new_secret(webhook_id, access.actor())}), 201


@blueprint.post("/<webhook_id>/test")
def test(webhook_id: str) -> ResponseReturnValue:
    """Put a test into its queue."""
    return jsonify({"deliveryId": webhooks.send_test(webhook_id, access.actor())}), 202


@blueprint.get("/<webhook_id>/deliveries")
def deliveries(webhook_id: str) -> ResponseReturnValue:
    """What was or is to be sent, newest first."""
    page = webhooks.deliveries(
        webhook_id,
        status=requests.choice("status", STATUSES),
        limit=requests.limit(),
        cursor=requests.cursor(),
    )
    return jsonify(rows.page(page, rows.webhook_delivery))


@blueprint.post("/<webhook_id>/deliveries/<delivery_id>/resend")
def resend(webhook_id: str, delivery_id: str) -> ResponseReturnValue:
    """Send it once more, as a delivery of its own."""
    return jsonify({"deliveryId": webhooks.resend(webhook_id, delivery_id, access.actor())}), 202
