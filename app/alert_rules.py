"""Alert rules: make, change, delete, list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import alert_events, audit, preconditions
from app.alert_drafts import Draft, checked, placed
from app.alert_kinds import FIRING, PENDING
from app.audit import Actor
from app.clock import utc_now
from app.database import snapshot, transaction
from app.errors import ConflictError, NotFoundError
from app.ids import is_id, new_id
from app.models import Alert, AlertRule, Environment, Pipeline
from app.models.alert import IS_OPEN
from app.paging import DEFAULT_LIMIT, Page, decode_cursor, first_of
from app.principal import Within

MOST_RULES = 100


@dataclass(frozen=True, slots=True)
class RuleRow:
    """A rule, and how many of its alerts are open."""

    id: str
    environment_id: str | None
    environment_name: str | None
    pipeline_id: str | None
    pipeline_name: str | None
    name: str
    kind: str
    threshold: float | None
    for_seconds: int
    clear_seconds: int
    node_selector: str
    severity: str
    is_enabled: bool
    revision: int
    problem: str | None
    problem_since: datetime | None
    evaluated_at: datetime | None
    created_by: str
    created_at: datetime
    updated_at: datetime
    firing: int
    pending: int


def create(draft: Draft, actor: Actor) -> RuleRow:
    """Make a rule; it is evaluated from the next turn on.

    :raises InvalidInputError: something of it cannot be used; ``details`` name the fields.
    :raises NotFoundError: there is no such environment or pipeline.
    :raises ConflictError: there are too many.
    """
    draft = checked(draft)
    rule_id = new_id()

    def work(session: Session) -> None:
        wanted = placed(session, draft)
        if (session.scalar(select(func.count()).select_from(AlertRule)) or 0) >= MOST_RULES:
            raise ConflictError(f"There are {MOST_RULES} alert rules already, and there can be no more.")
        now = utc_now()
        values = _values(wanted)
        session.add(
            AlertRule(
                id=rule_id,
                is_enabled=True,
                revision=1,
                created_by=actor.name,
                created_at=now,
                updated_at=now,
                **values,
            )
        )
        audit.record(
            session,
            actor,
            "alert_rule.create",
            environment_id=wanted.environment_id,
            subject_id=rule_id,
            **{name: value for name, value in values.items() if name != "environment_id"},
        )

    transaction(work)
    return get(rule_id)


def update(rule_id: str, changes: Mapping[str, Any], actor: Actor) -> RuleRow:
    """Change what is given of name, threshold, for_seconds, clear_seconds, node_selector, severity, is_enabled.

    What it is about and its kind stay. Disabled, it resolves its alerts. Alerts of what a new selector does not
    match are resolved by the next turn.

    :raises NotFoundError: there is no such rule.
    :raises InvalidInputError: something of it cannot be used.
    """

    def work(session: Session) -> None:
        rule = _locked(session, rule_id)
        preconditions.check(edit_revision(rule))
        kept = {name: getattr(rule, name) for name in _FIELDS}
        draft = checked(Draft(**{**kept, **{name: v for name, v in changes.items() if name in CHANGEABLE}}))
        after: dict[str, Any] = {name: getattr(draft, name) for name in CHANGEABLE}
        after["is_enabled"] = changes.get("is_enabled", rule.is_enabled)
        changed = {name: value for name, value in after.items() if getattr(rule, name) != value}
        if not changed:
            return
        before = {name: getattr(rule, name) for name in changed}
        for name, value in changed.items():
            setattr(rule, name, value)
        now = utc_now()
        rule.revision += 1
        rule.updated_at, rule.problem, rule.problem_since = now, None, None
        if not rule.is_enabled:
            rule.evaluated_at = None
            alert_events.resolve_open(session, Alert.rule_id == rule.id, "rule_disabled", rule.threshold, now)
        audit.record(
            session,
            actor,
            "alert_rule.update",
            environment_id=rule.environment_id,
            subject_id=rule.id,
            name=rule.name,
            before=before,
            after=changed,
        )

    transaction(work)
    return get(rule_id)


def delete(rule_id: str, actor: Actor) -> None:
    """Delete it; its open alerts are resolved for that reason, and their history stays.

    :raises NotFoundError: there is no such rule.
    """

    def work(session: Session) -> None:
        rule = _locked(session, rule_id)
        preconditions.check(edit_revision(rule))
        resolved = alert_events.resolve_open(
            session, Alert.rule_id == rule.id, "rule_deleted", rule.threshold, utc_now()
        )
        audit.record(
            session,
            actor,
            "alert_rule.delete",
            environment_id=rule.environment_id,
            subject_id=rule.id,
            name=rule.name,
            kind=rule.kind,
            resolved=resolved,
        )
        session.delete(rule)

    transaction(work)


def get(rule_id: str) -> RuleRow:
    """One rule.

    :raises NotFoundError: there is no such rule.
    """

    def read(session: Session) -> RuleRow | None:
        rule = session.get(AlertRule, rule_id) if is_id(rule_id) else None
        return _rows(session, [rule])[0] if rule is not None else None

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
) -> Page[RuleRow]:
    """A page of the rules of one environment (``None``: of all, and those about all) that are *within*, newest first.

    :raises InvalidInputError: the cursor is not one of this list.
    """
    query = select(AlertRule).order_by(AlertRule.id.desc()).limit(limit + 1)
    if environment_id is not None:
        query = query.where(AlertRule.environment_id == environment_id)
    if within is not None:
        query = query.where(AlertRule.environment_id.in_(within))
    if cursor is not None:
        query = query.where(AlertRule.id < decode_cursor(cursor, 1)[0])
    rows = snapshot(lambda session: _rows(session, session.scalars(query).all()))
    return first_of(rows, limit, lambda row: [row.id])


def edit_revision(rule: AlertRule | RuleRow) -> str:
    """Another one for each thing that people can make of it."""
    return preconditions.revision_of(rule.is_enabled, *(getattr(rule, name) for name in CHANGEABLE))


_FIELDS = (
    "name", "kind", "threshold", "for_seconds", "clear_seconds", "environment_id", "pipeline_id", "node_selector",
    "severity",
)  # fmt: skip
CHANGEABLE = ("name", "threshold", "for_seconds", "clear_seconds", "node_selector", "severity")


def _values(draft: Draft) -> dict[str, Any]:
    return {name: getattr(draft, name) for name in _FIELDS}


def _rows(session: Session, rules: Sequence[AlertRule]) -> list[RuleRow]:
    ids = [rule.id for rule in rules]
    counts: dict[tuple[str, str], int] = {
        (rule_id, state): count
        for rule_id, state, count in session.execute(
            select(Alert.rule_id, Alert.state, func.count())
            .where(Alert.rule_id.in_(ids), IS_OPEN)
            .group_by(Alert.rule_id, Alert.state)
        )
    }

    def named(model: type[Environment] | type[Pipeline], own: set[str | None]) -> dict[str, str]:
        query = select(model.id, model.name).where(model.id.in_(own - {None}))
        return dict(iter(session.execute(query)))

    environments = named(Environment, {rule.environment_id for rule in rules})
    pipelines = named(Pipeline, {rule.pipeline_id for rule in rules})
    return [
        RuleRow(
            id=rule.id,
            environment_name=environments.get(rule.environment_id or ""),
            pipeline_name=pipelines.get(rule.pipeline_id or ""),
            is_enabled=rule.is_enabled,
            revision=rule.revision,
            problem=rule.problem,
            problem_since=rule.problem_since,
            evaluated_at=rule.evaluated_at,
            created_by=rule.created_by,
            created_at=rule.created_at,
            updated_at=rule.updated_at,
            firing=counts.get((rule.id, FIRING), 0),
            pending=counts.get((rule.id, PENDING), 0),
            **{name: getattr(rule, name) for name in _FIELDS},
        )
        for rule in rules
    ]


def _locked(session: Session, rule_id: str) -> AlertRule:
    rule = session.get(AlertRule, rule_id, with_for_update=True) if is_id(rule_id) else None
    if rule is None:
        raise _unknown()
    return rule


def _unknown() -> NotFoundError:
    return NotFoundError("There is no such alert rule.")
