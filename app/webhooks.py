"""Webhooks: make, change, delete, list; their deliveries; a test; sending one again.

What is sent is signed as https://www.standardwebhooks.com asks for. The secret is shown when it is made, and never
again; addresses may hold a receiver's token, so only admins see them, and the audit log has their hosts alone.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import audit, names, outbound, preconditions
from app.audit import Actor
from app.clock import rfc3339, utc_now
from app.database import snapshot, transaction
from app.encryption import Sealed, keyring
from app.errors import ConflictError, InvalidInputError, NotFoundError
from app.ids import is_id, new_id
from app.models import Environment, Webhook, WebhookDelivery
from app.paging import DEFAULT_LIMIT, Page, decode_cursor, first_of
from app.principal import Within
from app.webhook_events import EVENTS, TEST, queue

MOST_WEBHOOKS = 100
SECRET_BYTES = 24
PLACE = "webhook"
"""Where its secret is sealed (``app/encryption.py``), with the webhook's id."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody wants a webhook to be; ``None``: as it is."""

    name: str | None = None
    url: str | None = None
    events: Sequence[str] | None = None
    enabled: bool | None = None


@dataclass(frozen=True, slots=True)
class WebhookRow:
    """A webhook as admins see it: all but its secret."""

    id: str
    environment_id: str | None
    name: str
    url: str
    events: list[str]
    is_enabled: bool
    disabled_reason: str | None
    created_by: str
    created_at: datetime
    waiting: int
    """Deliveries in the queue."""
    last: WebhookDelivery | None
    """The newest delivery."""


def create(
    name: str, url: str, events: Sequence[str], actor: Actor, *, environment_id: str | None = None
) -> tuple[WebhookRow, str]:
    """Make a webhook; with its secret, which nobody sees again.

    :raises InvalidInputError: the name, the address or the events cannot be used.
    :raises NotFoundError: there is no such environment.
    :raises ConflictError: there are too many.
    """
    values = _checked(Wanted(name, url, events, True))
    webhook_id, secret = new_id(), _new_secret()
    sealed = _seal(webhook_id, secret)

    def work(session: Session) -> None:
        if environment_id is not None and session.get(Environment, environment_id) is None:
            raise NotFoundError("There is no such environment.")
        if (session.scalar(select(func.count()).select_from(Webhook)) or 0) >= MOST_WEBHOOKS:
            raise ConflictError(f"There are {MOST_WEBHOOKS} webhooks already, and there can be no more.")
        webhook = Webhook(
            id=webhook_id,
            environment_id=environment_id,
            created_by=actor.name,
            created_at=utc_now(),
            **values,
        )
        webhook.sealed = sealed
        session.add(webhook)
        audit.record(
            session,
            actor,
            "webhook.create",
            environment_id=environment_id,
            subject_id=webhook_id,
            **_told(values),
        )

    transaction(work)
    return get(webhook_id), secret


def update(webhook_id: str, wanted: Wanted, actor: Actor) -> WebhookRow:
    """Change what is given; what waits in its queue goes to the new address. Enabled again, it goes on.

    :raises NotFoundError: there is no such webhook.
    :raises InvalidInputError: the name, the address or the events cannot be used.
    """
    values = _checked(wanted)

    def work(session: Session) -> None:
        webhook = _locked(session, webhook_id)
        preconditions.check(edit_revision(webhook))
        before = {key: getattr(webhook, key) for key in values}
        changed = {key: value for key, value in values.items() if before[key] != value}
        if not changed:
            return
        for key, value in changed.items():
            setattr(webhook, key, value)
        if "is_enabled" in changed:
            webhook.disabled_reason = None
        audit.record(
            session,
            actor,
            "webhook.update",
            environment_id=webhook.environment_id,
            subject_id=webhook_id,
            before=_told({key: before[key] for key in changed}),
            after=_told(changed),
        )

    transaction(work)
    return get(webhook_id)


def new_secret(webhook_id: str, actor: Actor) -> str:
    """Give it another secret, which signs from the next attempt on; shown in this answer only.

    :raises NotFoundError: there is no such webhook.
    """
    secret = _new_secret()
    sealed = _seal(webhook_id, secret)

    def work(session: Session) -> None:
        webhook = _locked(session, webhook_id)
        webhook.sealed = sealed
        audit.record(
            session,
            actor,
            "webhook.secret",
            environment_id=webhook.environment_id,
            subject_id=webhook_id,
            name=webhook.name,
        )

    transaction(work)
    return secret


def delete(webhook_id: str, actor: Actor) -> None:
    """Delete it, with its queue and its log.

    :raises NotFoundError: there is no such webhook.
    """

    def work(session: Session) -> None:
        webhook = _locked(session, webhook_id)
        preconditions.check(edit_revision(webhook))
        audit.record(
            session,
            actor,
            "webhook.delete",
            environment_id=webhook.environment_id,
            subject_id=webhook_id,
            name=webhook.name,
        )
        session.flush()
        session.delete(webhook)

    transaction(work)


def get(webhook_id: str) -> WebhookRow:
    """One webhook.

    :raises NotFoundError: there is no such webhook.
    """

    def read(session: Session) -> WebhookRow | None:
        webhook = session.get(Webhook, webhook_id) if is_id(webhook_id) else None
        return _rows(session, [webhook])[0] if webhook is not None else None

    row = snapshot(read)
    if row is None:
        raise _unknown()
    return row


def listing(
    environment_id: str | None = None,
    *,
    within: Within = None,
    limit: int = DEFAULT_LIMIT,
    cursor: str | None = None,
) -> Page[WebhookRow]:
    """A page of the webhooks of one environment (``None``: of all, and of none) that are *within*, newest first.

    :raises InvalidInputError: the cursor is not one of this list.
    """
    query = select(Webhook).order_by(Webhook.id.desc()).limit(limit + 1)
    if environment_id is not None:
        query = query.where(Webhook.environment_id == environment_id)
    if within is not None:
        query = query.where(Webhook.environment_id.in_(within))
    if cursor is not None:
        query = query.where(Webhook.id < decode_cursor(cursor, 1)[0])
    rows = snapshot(lambda session: _rows(session, session.scalars(query).all()))
    return first_of(rows, limit, lambda row: [row.id])


def deliveries(
    webhook_id: str, *, status: str | None = None, limit: int = DEFAULT_LIMIT, cursor: str | None = None
) -> Page[WebhookDelivery]:
    """A page of what was or is to be sent to the webhook, newest first.

    :raises InvalidInputError: the cursor is not one of this list.
    """
    query = (
        select(WebhookDelivery)
        .where(WebhookDelivery.webhook_id == webhook_id)
        .order_by(WebhookDelivery.id.desc())
        .limit(limit + 1)
    )
    if status is not None:
        query = query.where(WebhookDelivery.status == status)
    if cursor is not None:
        query = query.where(WebhookDelivery.id < decode_cursor(cursor, 1)[0])
    rows = list(snapshot(lambda session: session.scalars(query).all()))
    return first_of(rows, limit, lambda row: [row.id])


def send_test(webhook_id: str, actor: Actor) -> str:
    """Put a test into its queue; the delivery's id.

    :raises NotFoundError: there is no such webhook.
    :raises ConflictError: it is disabled.
    """

    def work(session: Session) -> str:
        webhook = _sending(session, webhook_id)
        now = utc_now()
        payload = {"type": TEST, "timestamp": rfc3339(now), "data": {"webhook": webhook.name}}
        _note_sending(session, webhook, actor, TEST)
        return queue(session, webhook_id, payload, now)

    delivery_id: str = transaction(work)
    return delivery_id


def resend(webhook_id: str, delivery_id: str, actor: Actor) -> str:
    """Send what was sent, or could not be, once more, as a delivery of its own; that one's id.

    :raises NotFoundError: there is no such webhook or delivery.
    :raises ConflictError: the webhook is disabled, or the delivery is still waiting.
    """

    def work(session: Session) -> str:
        webhook = _sending(session, webhook_id)
        old = session.get(WebhookDelivery, delivery_id) if is_id(delivery_id) else None
        if old is None or old.webhook_id != webhook_id:
            raise NotFoundError("There is no such delivery.")
        if old.status == "PENDING":
            raise ConflictError("It is still waiting, and will be sent.")
        _note_sending(session, webhook, actor, old.event)
        return queue(session, webhook_id, old.payload, utc_now())

    new_delivery: str = transaction(work)
    return new_delivery


def edit_revision(webhook: Webhook | WebhookRow) -> str:
    """Another one for each thing that people can make of it."""
    return preconditions.revision_of(webhook.name, webhook.url, webhook.events, webhook.is_enabled)


def secret_of(webhook: Webhook) -> bytes:
    """The key that signs.

    :raises DecryptionError: the encryption key is gone.
    """
    return base64.b64decode(keyring().open(webhook.sealed, PLACE, webhook.id))


def _checked(wanted: Wanted) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if wanted.name is not None:
        values["name"] = names.checked(wanted.name)
    if wanted.url is not None:
        values["url"] = wanted.url.strip()
        if (problem := outbound.problem_of(values["url"])) is not None:
            raise _refusal("url", "address", problem)
    if wanted.events is not None:
        unknown = sorted(set(wanted.events) - EVENTS.keys())
        if unknown or not wanted.events:
            known = ", ".join(EVENTS)
            raise _refusal("events", "choice of events", f"it is one or more of {known}")
        values["events"] = [event for event in EVENTS if event in wanted.events]
    if wanted.enabled is not None:
        values["is_enabled"] = wanted.enabled
    return values


def _told(values: dict[str, Any]) -> dict[str, Any]:
    """For the audit log, which everybody reads: of the address only where it leads."""
    told = {key: value for key, value in values.items() if key != "url"}
    if "url" in values:
        parts = urlsplit(values["url"])
        told["host"] = parts.hostname
    return told


def _rows(session: Session, webhooks: Sequence[Webhook]) -> list[WebhookRow]:
    ids = [webhook.id for webhook in webhooks]
    waiting = dict(
        iter(
            session.execute(
                select(WebhookDelivery.webhook_id, func.count())
                .where(WebhookDelivery.webhook_id.in_(ids), WebhookDelivery.status == "PENDING")
                .group_by(WebhookDelivery.webhook_id)
            )
        )
    )
    newest = select(func.max(WebhookDelivery.id)).where(WebhookDelivery.webhook_id.in_(ids))
    newest = newest.group_by(WebhookDelivery.webhook_id)
    last = {
        delivery.webhook_id: delivery
        for delivery in session.scalars(select(WebhookDelivery).where(WebhookDelivery.id.in_(newest)))
    }
    return [
        WebhookRow(
            id=webhook.id,
            environment_id=webhook.environment_id,
            name=webhook.name,
            url=webhook.url,
            events=webhook.events,
            is_enabled=webhook.is_enabled,
            disabled_reason=webhook.disabled_reason,
            created_by=webhook.created_by,
            created_at=webhook.created_at,
            waiting=waiting.get(webhook.id, 0),
            last=last.get(webhook.id),
        )
        for webhook in webhooks
    ]


def _locked(session: Session, webhook_id: str) -> Webhook:
    webhook = session.get(Webhook, webhook_id, with_for_update=True) if is_id(webhook_id) else None
    if webhook is None:
        raise _unknown()
    return webhook


def _sending(session: Session, webhook_id: str) -> Webhook:
    webhook = _locked(session, webhook_id)
    if not webhook.is_enabled:
        raise ConflictError("The webhook is disabled; enable it first.")
    return webhook


def _note_sending(session: Session, webhook: Webhook, actor: Actor, event: str) -> None:
    audit.record(
        session,
        actor,
        "webhook.send",
        environment_id=webhook.environment_id,
        subject_id=webhook.id,
        name=webhook.name,
        event=event,
    )


def _new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def _seal(webhook_id: str, secret: str) -> Sealed:
    return keyring().seal(secret.removeprefix("whsec_").encode(), PLACE, webhook_id)


def _unknown() -> NotFoundError:
    return NotFoundError("There is no such webhook.")


def _refusal(field: str, word: str, message: str) -> InvalidInputError:
    return InvalidInputError(f"The {word} cannot be used: {message}.", [{"field": field, "message": message}])
