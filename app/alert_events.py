"""Telling webhooks that alerts fire or are resolved, in the transaction in which they do."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from app import webhook_events
from app.alert_kinds import FIRING, KINDS, RESOLVED
from app.clock import rfc3339
from app.models import Alert, AlertRule, Environment
from app.models.alert import IS_OPEN

ALERTS_AN_EVENT = 50
"""Of one rule and environment; more are told in several events, so that each alert is in exactly one."""


def tell(session: Session, event: str, alerts: Sequence[Any], threshold: float | None, now: datetime) -> None:
    """Put *event* into the queues for *alerts* (rows of ``Alert``), of one rule with *threshold*."""
    by_environment: dict[str, list[Any]] = defaultdict(list)
    for alert in alerts:
        by_environment[alert.environment_id].append(alert)
    for environment_id, own in sorted(by_environment.items()):
        name = session.scalar(select(Environment.name).where(Environment.id == environment_id))
        for start in range(0, len(own), ALERTS_AN_EVENT):
            some = own[start : start + ALERTS_AN_EVENT]
            first = some[0]
            webhook_events.emit(
                session,
                event,
                environment_id,
                now,
                {
                    "environment": name,
                    "ruleId": first.rule_id,
                    "rule": first.rule_name,
                    "kind": first.kind,
                    "severity": first.severity,
                    "threshold": threshold,
                    "unit": KINDS[first.kind].unit,
                    "count": len(some),
                    "alerts": [_told(alert) for alert in some],
                },
            )


def resolve_open(
    session: Session, which: ColumnElement[bool], reason: str, threshold: float | None, now: datetime
) -> int:
    """Resolve the firing alerts of one rule that are *which*, and forget the pending ones; how many were firing."""
    firing = []
    for alert in session.scalars(select(Alert).where(which, IS_OPEN).order_by(Alert.id).with_for_update()):
        if alert.state == FIRING:
            resolve(alert, reason, now)
            firing.append(alert)
        else:
            session.delete(alert)
    session.flush()
    tell(session, webhook_events.ALERT_RESOLVED, firing, threshold, now)
    return len(firing)


def resolve_all_in(session: Session, environment_id: str, now: datetime) -> None:
    """Resolve the alerts of an environment that is about to be deleted, whichever rules they are of."""
    is_here = Alert.environment_id == environment_id
    query = (
        select(Alert.rule_id, AlertRule.threshold)
        .outerjoin(AlertRule, AlertRule.id == Alert.rule_id)
        .where(is_here, IS_OPEN)
        .distinct()
    )
    for rule_id, threshold in session.execute(query).all():
        resolve_open(session, is_here & (Alert.rule_id == rule_id), "environment_deleted", threshold, now)


def resolve(alert: Alert, reason: str, now: datetime) -> None:
    """Note that it is over."""
    alert.state, alert.resolved_at, alert.resolved_reason, alert.clear_since = RESOLVED, now, reason, None


def _told(alert: Any) -> dict[str, Any]:
    return {
        "alertId": alert.id,
        "state": alert.state,
        "nodeId": alert.node_id,
        "node": alert.node_name,
        "pipelineId": alert.pipeline_id,
        "pipeline": alert.pipeline_name,
        "certificate": alert.certificate,
        "text": alert.text,
        "value": alert.value,
        "since": rfc3339(alert.since),
        "firedAt": rfc3339(alert.fired_at),
        "resolvedAt": rfc3339(alert.resolved_at),
        "resolvedReason": alert.resolved_reason,
    }
