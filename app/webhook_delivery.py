"""Sending what waits in the queues of webhooks: at least once, signed, again with longer and longer pauses.

Any worker takes what is due. While it sends, ``next_attempt_at`` is the moment at which another one takes it over, so
that a worker that is killed loses nothing; a receiver that saw it already knows it by its ``webhook-id``.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import random
from dataclasses import dataclass
from datetime import datetime, timedelta

from flask import current_app
from gevent.pool import Pool
from sqlalchemy import bindparam, literal_column, select
from sqlalchemy.orm import Session

from app import audit, outbound
from app.audit import SERVER
from app.clock import utc_now
from app.database import transaction
from app.encryption import DecryptionError
from app.kept_connection import KeptConnection
from app.models import Webhook, WebhookDelivery
from app.models.columns import UtcDateTime
from app.outbound import Answer, OutboundError
from app.webhooks import secret_of

AT_ONCE = 10
"""Requests under way in one worker."""
TAKEN_FOR = timedelta(seconds=60)
"""Longer than one request can take."""
PAUSES = tuple(
    timedelta(seconds=seconds) for seconds in (5, 30, 120, 600, 1800, 3600, 7200, 14400, 28800, 43200)
)
"""Between the attempts, each with a fifth of jitter; after the last one, 28 hours in all, it has failed."""
MOST_ANSWER_CHARACTERS = 300
MOST_RETRY_AFTER = 3600
GONE = 410
"""The receiver wants no more: the webhook is disabled."""
LAST_OF_SUCCESS = 299

log = logging.getLogger("signalbox.webhooks")


@dataclass(frozen=True, slots=True)
class Due:
    """One request to be made."""

    delivery_id: str
    webhook_id: str
    url: str
    body: bytes
    secret: bytes
    attempts: int
    """Made before this one."""


def deliver_due() -> int:
    """Send what is due, some at once; how many. To be called again soon while there was something."""
    due = transaction(_take)
    if due:
        pool = Pool(AT_ONCE)
        app = current_app._get_current_object()  # type: ignore[attr-defined]

        def attempt(each: Due) -> None:
            with app.app_context():
                try:
                    _attempt(each)
                except Exception:
                    log.exception("delivery failed delivery=%s", each.delivery_id)

        for each in due:
            pool.spawn(attempt, each)
        pool.join()
    return len(due)


_DUE = (
    select(WebhookDelivery.id)
    .join(Webhook, Webhook.id == WebhookDelivery.webhook_id)
    .where(
        WebhookDelivery.status == literal_column("'PENDING'"),
        WebhookDelivery.next_attempt_at <= bindparam("now", type_=UtcDateTime()),
        Webhook.is_enabled,
    )
    .limit(literal_column("1"))
)


def has_due(connection: KeptConnection, now: datetime) -> bool:
    """Whether something is due: one look in an index of what waits, which every worker takes each second."""
    return bool(connection.rows(_DUE, {"now": now}))


def signature(secret: bytes, delivery_id: str, seconds: int, body: bytes) -> str:
    """The header ``webhook-signature``: ``v1,`` and base64 of HMAC-SHA256 over ``id.timestamp.body``."""
    signed = hmac.new(secret, f"{delivery_id}.{seconds}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(signed).decode()}"


def _take(session: Session) -> list[Due]:
    now = utc_now()
    query = (
        select(WebhookDelivery, Webhook)
        .join(Webhook, Webhook.id == WebhookDelivery.webhook_id)
        .where(
            WebhookDelivery.status == "PENDING",
            WebhookDelivery.next_attempt_at <= now,
            Webhook.is_enabled.is_(True),
        )
        .order_by(WebhookDelivery.next_attempt_at, WebhookDelivery.id)
        .limit(AT_ONCE)
        .with_for_update(of=WebhookDelivery, skip_locked=True)
    )
    due = []
    for delivery, webhook in session.execute(query).all():
        delivery.next_attempt_at = now + TAKEN_FOR
        try:
            secret = secret_of(webhook)
        except DecryptionError as error:
            delivery.last_error = f"its secret {error}"
            continue
        body = json.dumps(delivery.payload, separators=(",", ":"), sort_keys=True).encode()
        due.append(Due(delivery.id, webhook.id, webhook.url, body, secret, delivery.attempts))
    return due


def _attempt(due: Due) -> None:
    seconds = int(utc_now().timestamp())
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "Signalbox",
        "webhook-id": due.delivery_id,
        "webhook-timestamp": str(seconds),
        "webhook-signature": signature(due.secret, due.delivery_id, seconds, due.body),
    }
    answer: Answer | None = None
    problem: str | None = None
    try:
        answer = outbound.post(
            due.url, due.body, headers, current_app.extensions["settings"].webhook_networks
        )
    except OutboundError as error:
        problem = str(error)
    transaction(lambda session: _note(session, due, answer, problem))


def _note(session: Session, due: Due, answer: Answer | None, problem: str | None) -> None:
    webhook = session.get(Webhook, due.webhook_id, with_for_update=True)
    delivery = session.get(WebhookDelivery, due.delivery_id, with_for_update=True)
    if webhook is None or delivery is None or delivery.status != "PENDING":
        return  # deleted meanwhile, or another worker was quicker
    now = utc_now()
    delivery.attempts = due.attempts + 1
    delivery.last_status = answer.status if answer else None
    delivery.last_milliseconds = answer.milliseconds if answer else None
    if answer is not None and 200 <= answer.status <= LAST_OF_SUCCESS:
        delivery.status, delivery.last_error, delivery.finished_at = "DELIVERED", None, now
        return
    delivery.last_error = problem or _complaint(answer)
    if answer is not None and answer.status == GONE:
        delivery.status, delivery.finished_at = "FAILED", now
        webhook.is_enabled = False
        webhook.disabled_reason = "its address answered 410 Gone"
        audit.record(
            session,
            SERVER,
            "webhook.disable",
            environment_id=webhook.environment_id,
            subject_id=webhook.id,
            name=webhook.name,
            reason=webhook.disabled_reason,
        )
    elif delivery.attempts > len(PAUSES):
        delivery.status, delivery.finished_at = "FAILED", now
    else:
        delivery.next_attempt_at = now + _pause(delivery.attempts, answer)
    log.warning(
        "delivery not taken webhook=%s delivery=%s attempt=%d: %s",
        webhook.id,
        delivery.id,
        delivery.attempts,
        delivery.last_error,
    )


def _pause(attempts: int, answer: Answer | None) -> timedelta:
    pause = PAUSES[attempts - 1] * random.uniform(0.8, 1.2)
    asked = answer.retry_after if answer is not None else None
    if asked is not None and asked.isascii() and asked.isdecimal() and len(asked) <= 9:
        pause = max(pause, timedelta(seconds=min(int(asked), MOST_RETRY_AFTER) * random.uniform(1, 1.2)))
    return pause


def _complaint(answer: Answer | None) -> str:
    if answer is None:
        return "no answer"
    if 300 <= answer.status <= 399:
        return f"it answered {answer.status}, and redirects are not followed"
    text = " ".join("".join(c if c.isprintable() else " " for c in answer.text).split())
    return f"it answered {answer.status}" + (f": {text[:MOST_ANSWER_CHARACTERS]}" if text else "")
