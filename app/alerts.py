"""Alerts: listed, one, acknowledged, counted for the navigation, and those of a node or a pipeline."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from flask import current_app
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from app import audit
from app.alert_kinds import FIRING, RESOLVED
from app.audit import Actor
from app.clock import utc_now
from app.database import snapshot, transaction
from app.errors import ConflictError, NotFoundError
from app.ids import is_id
from app.models import Alert, AlertRule, Environment, Node, Pipeline
from app.models.alert import IS_FIRING
from app.paging import DEFAULT_LIMIT, Page, decode_cursor, first_of
from app.principal import Within
from app.shared_counts import SharedCounts

MOST_COUNTED = 1000
"""Firing alerts that the navigation counts; more are said to be more."""
MOST_BESIDE = 20
"""Alerts that the page of a node or a pipeline shows."""


@dataclass(frozen=True, slots=True)
class AlertRow:
    """An alert, the name of its environment, and what of it is still there to be looked at."""

    alert: Alert
    environment_name: str
    has_node: bool
    has_pipeline: bool
    has_rule: bool
    rule_environment_id: str | None
    """What the rule is about; ``None``: all environments."""


def listing(
    *,
    states: Collection[str] | None = None,
    environment_id: str | None = None,
    rule_id: str | None = None,
    within: Within = None,
    limit: int = DEFAULT_LIMIT,
    cursor: str | None = None,
) -> Page[AlertRow]:
    """A page of the alerts that are *within*, newest first.

    :raises InvalidInputError: the cursor is not one of this list.
    """
    conditions: list[ColumnElement[bool]] = []
    if states is not None:
        conditions.append(Alert.state.in_(sorted(states)))
    if environment_id is not None:
        conditions.append(Alert.environment_id == environment_id)
    if within is not None:
        conditions.append(Alert.environment_id.in_(within))
    if rule_id is not None:
        conditions.append(Alert.rule_id == rule_id)
    if cursor is not None:
        conditions.append(Alert.id < decode_cursor(cursor, 1)[0])
    rows = _read(*conditions, limit=limit + 1)
    return first_of(rows, limit, lambda row: [row.alert.id])


def get(alert_id: str) -> AlertRow:
    """One alert.

    :raises NotFoundError: there is no such alert.
    """
    rows = _read(Alert.id == alert_id, limit=1) if is_id(alert_id) else []
    if not rows:
        raise _unknown()
    return rows[0]


def of_node(node_id: str) -> list[AlertRow]:
    """What fires on a node, its pipelines there included, newest first."""
    return _read(Alert.node_id == node_id, IS_FIRING, limit=MOST_BESIDE)


def of_pipeline(pipeline_id: str) -> list[AlertRow]:
    """What fires of a pipeline, newest first."""
    return _read(Alert.pipeline_id == pipeline_id, IS_FIRING, limit=MOST_BESIDE)


def acknowledge(alert_id: str, actor: Actor) -> AlertRow:
    """Note that somebody sees to it: it goes on firing, and is not counted in the navigation any more.

    :raises NotFoundError: there is no such alert.
    :raises ConflictError: it does not fire, or somebody has acknowledged it already.
    """

    def work(session: Session) -> None:
        alert = session.get(Alert, alert_id, with_for_update=True) if is_id(alert_id) else None
        if alert is None:
            raise _unknown()
        if alert.state != FIRING:
            raise ConflictError("It is resolved." if alert.state == RESOLVED else "It does not fire yet.")
        if alert.acknowledged_at is not None:
            raise ConflictError(f"{alert.acknowledged_by} has acknowledged it already.")
        alert.acknowledged_by, alert.acknowledged_at = actor.name, utc_now()
        audit.record(
            session,
            actor,
            "alert.acknowledge",
            environment_id=alert.environment_id,
            subject_id=alert.id,
            rule=alert.rule_name,
            text=alert.text,
        )

    transaction(work)
    _counts().forget()
    return get(alert_id)


def count_firing(within: Within) -> int:
    """How many alerts *within* fire that nobody has acknowledged; a moment old, ``MOST_COUNTED`` in all at most."""
    return _counts().within(within)


def _counts() -> SharedCounts:
    """This worker's."""
    shared: SharedCounts = current_app.extensions.setdefault(
        "alert-counts", SharedCounts(lambda: snapshot(_count))
    )
    return shared


def _count(session: Session) -> dict[str, int]:
    some = (
        select(Alert.environment_id)
        .where(IS_FIRING, Alert.acknowledged_at.is_(None))
        .limit(MOST_COUNTED)
        .subquery()
    )
    query = select(some.c.environment_id, func.count()).group_by(some.c.environment_id)
    return dict(iter(session.execute(query)))


def _read(*conditions: ColumnElement[bool], limit: int) -> list[AlertRow]:
    query = (
        select(
            Alert,
            Environment.name,
            Node.id.is_not(None),
            Pipeline.id.is_not(None),
            AlertRule.id.is_not(None),
            AlertRule.environment_id,
        )
        .join(Environment, Environment.id == Alert.environment_id)
        .outerjoin(Node, Node.id == Alert.node_id)
        .outerjoin(Pipeline, Pipeline.id == Alert.pipeline_id)
        .outerjoin(AlertRule, AlertRule.id == Alert.rule_id)
        .where(*conditions)
        .order_by(Alert.id.desc())
        .limit(limit)
    )
    rows: list[Any] = list(snapshot(lambda session: session.execute(query).all()))
    return [AlertRow(*row) for row in rows]


def _unknown() -> NotFoundError:
    return NotFoundError("There is no such alert.")
