"""The events that webhooks are told of, and putting them into the queue, in the transaction of the change."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from app.clock import rfc3339
from app.ids import new_id
from app.models import Webhook, WebhookDelivery

DEPLOYMENT_FINISHED = "deployment.finished"
NODE_UNREACHABLE = "node.unreachable"
NODE_BACK = "node.back"
PIPELINE_FAILED = "pipeline.failed"
UPDATE_FAILED = "update.failed"
ALERT_FIRING = "alert.firing"
ALERT_RESOLVED = "alert.resolved"
DEPLOY_REQUESTED = "deploy.requested"
EVENTS = {
    DEPLOYMENT_FINISHED: "A deployment has finished: every node runs it, has failed, or an hour has passed.",
    NODE_UNREACHABLE: "Nodes are not connected and have missed three heartbeats.",
    NODE_BACK: "Nodes that were unreachable answer again.",
    PIPELINE_FAILED: "A pipeline has failed on nodes, or crashes again and again.",
    UPDATE_FAILED: "Agents were told to update themselves and did not.",
    ALERT_FIRING: "What an alert rule asks has been so for as long as the rule says.",
    ALERT_RESOLVED: "What fired is well again, or gone.",
    DEPLOY_REQUESTED: "Somebody asks for a deploy in a protected environment; somebody else must approve it.",
}
"""Each with what it means, for people."""
TEST = "test"
"""Sent when somebody presses *Send a test*."""
MOST_WAITING = 1000
"""Deliveries that may wait for one webhook; one more fails at once, and the log says so."""


def emit(session: Session, event: str, environment_id: str, now: datetime, data: dict[str, Any]) -> list[str]:
    """Put *event* into the queue of every webhook that is to hear of it; the ids of the deliveries.

    *data* must hold no secret; it is sent as it is, in ``{"type", "timestamp", "data"}``.
    """
    concerned: ColumnElement[bool] = or_(
        Webhook.environment_id.is_(None), Webhook.environment_id == environment_id
    )
    webhooks = session.scalars(
        select(Webhook).where(Webhook.is_enabled.is_(True), concerned).order_by(Webhook.id)
    ).all()
    payload = {"type": event, "timestamp": rfc3339(now), "data": {"environmentId": environment_id, **data}}
    return [queue(session, webhook.id, payload, now) for webhook in webhooks if event in webhook.events]


def queue(session: Session, webhook_id: str, payload: dict[str, Any], now: datetime) -> str:
    """Put one delivery into the queue; its id. Where too many wait already it has failed."""
    waiting = session.scalar(
        select(func.count())
        .select_from(WebhookDelivery)
        .where(WebhookDelivery.webhook_id == webhook_id, WebhookDelivery.status == "PENDING")
    )
    is_full = (waiting or 0) >= MOST_WAITING
    delivery_id = new_id()
    session.add(
        WebhookDelivery(
            id=delivery_id,
            webhook_id=webhook_id,
            event=payload["type"],
            payload=payload,
            status="FAILED" if is_full else "PENDING",
            attempts=0,
            next_attempt_at=now,
            last_error=f"it was not sent: {MOST_WAITING} others were waiting already" if is_full else None,
            created_at=now,
            finished_at=now if is_full else None,
        )
    )
    session.flush()
    return delivery_id
