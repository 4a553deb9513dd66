"""What alert rules look at, as SQL: one statement finds what is new, one what has changed, whatever the fleet's size.

Each subject is *bad*, *well*, *between* (within the margin), or *unknown* where nobody has said anything lately;
what is gone has the reason in place of these.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from sqlalchemy import (
    ColumnElement,
    Float,
    Select,
    String,
    and_,
    case,
    cast,
    false,
    func,
    null,
    or_,
    select,
    true,
)
from sqlalchemy.orm import Session
from sqlalchemy.sql.selectable import FromClause

from app import alert_kinds, matching, selectors
from app.alert_kinds import FIRING, PENDING, REASONS
from app.many_ids import is_there
from app.models import Alert, Certificate, Environment, Node, NodePipeline, Pipeline
from app.models.alert import IS_OPEN
from app.node_status import FAILED_STATUSES, Clock

BAD, WELL, BETWEEN, UNKNOWN = "bad", "well", "between", "unknown"

_SUBJECTS: dict[str, Any] = {
    "node": Node.id,
    "pipeline": NodePipeline.pipeline_id + ":" + NodePipeline.node_id,
    "certificate": Certificate.environment_id + ":" + Certificate.name,
}
_TABLES: dict[str, Any] = {
    "node": Node.__table__,
    "pipeline": NodePipeline.__table__,
    "certificate": Certificate.__table__,
}
_RATES: dict[str, Any] = {
    alert_kinds.ERRORS_ABOVE: NodePipeline.errors_rate,
    alert_kinds.DISCARDED_ABOVE: NodePipeline.discarded_rate,
    alert_kinds.THROUGHPUT_BELOW: NodePipeline.events_out_rate,
}


class RuleLike(Protocol):
    """A rule, or one that somebody thinks of making."""

    @property
    def kind(self) -> str: ...
    @property
    def threshold(self) -> float | None: ...
    @property
    def environment_id(self) -> str | None: ...
    @property
    def pipeline_id(self) -> str | None: ...
    @property
    def node_selector(self) -> str: ...


@dataclass(slots=True)
class Seen:
    """A silent node, of which ``presence.of`` is to say whether it is connected."""

    id: str
    last_seen_at: datetime | None


@dataclass(frozen=True, slots=True)
class Measure:
    """How a kind's subjects are judged."""

    value: Any
    """A column."""
    moment: Any
    """A column: since when a node is silent, or when a certificate expires."""
    is_known: ColumnElement[bool]
    is_bad: ColumnElement[bool]
    is_well: ColumnElement[bool]


@dataclass(frozen=True, slots=True)
class Look:
    """A rule and a moment: what its subjects are and how they are judged."""

    rule: RuleLike
    clock: Clock
    scope: ColumnElement[bool]
    """What it is about, whatever state that is in."""
    measure: Measure

    @classmethod
    def at(cls, session: Session, rule: RuleLike, clock: Clock) -> Look:
        """The look of *rule* at the moment of *clock*.

        :raises InvalidInputError: its selector cannot be read.
        """
        return cls(rule, clock, _scope(session, rule), _measure(rule, clock))

    @property
    def subject(self) -> str:
        """``node``, ``pipeline`` or ``certificate``."""
        return alert_kinds.KINDS[self.rule.kind].subject

    @property
    def eligible(self) -> ColumnElement[bool]:
        """Of the subjects in the scope those that may alert: nodes in maintenance, or revoked, do not."""
        if self.subject == "certificate":
            return self.scope
        return and_(self.scope, Node.revoked_at.is_(None), Node.maintenance_mode.is_(False))

    @property
    def is_new(self) -> ColumnElement[bool]:
        """What is bad, and known to be."""
        return and_(self.measure.is_known, self.measure.is_bad)


def fresh(look: Look, rule_id: str, after: str, limit: int) -> Select[*tuple[Any, ...]]:
    """Subjects that are bad and have no alert of this rule yet, those after the subject *after*."""
    key = _SUBJECTS[look.subject]
    has_alert = is_there(
        select(Alert.id).where(Alert.rule_id == rule_id, Alert.subject == key, IS_OPEN), _TABLES[look.subject]
    )
    return (
        select(key.label("key"), *_columns(look))
        .select_from(_source(look))
        .where(look.eligible, look.is_new, ~has_alert, key > after)
        .order_by(key)
        .limit(limit)
    )


def changed(
    look: Look, rule_id: str, spans: tuple[timedelta, timedelta], may_be_bad: bool, after: str, limit: int
) -> Select[*tuple[Any, ...]]:
    """Open alerts of the rule with which something is to be done now, with ``verdict``.

    *spans* are for how long it must be bad to fire, and well to be resolved. Not *may_be_bad*: that something is
    bad is no evidence now.
    """
    found = (
        select(
            Alert.id.label("key"),
            Alert.state.label("state"),
            Alert.since.label("since"),
            Alert.clear_since.label("clear_since"),
            _verdict(look).label("verdict"),
            *_columns(look),
        )
        .select_from(_source(look, around_alerts=True))
        .where(Alert.rule_id == rule_id, IS_OPEN, Alert.id > after)
        .subquery()
    )
    bad_before, well_before = look.clock.now - spans[0], look.clock.now - spans[1]
    verdict, columns = found.c.verdict, found.c
    is_pending, is_firing = columns.state == PENDING, columns.state == FIRING
    is_due = or_(
        verdict.in_(list(REASONS)),
        and_(is_pending, verdict != BAD),
        and_(is_pending, verdict == BAD, columns.since <= bad_before),
        and_(
            is_firing,
            verdict == WELL,
            or_(columns.clear_since.is_(None), columns.clear_since <= well_before),
        ),
        and_(is_firing, verdict.in_((BAD, BETWEEN, UNKNOWN)), columns.clear_since.is_not(None)),
    )
    query = select(found).where(is_due).order_by(columns.key).limit(limit)
    return query if may_be_bad else query.where(verdict != BAD)


def counts(look: Look) -> Select[int, int, int]:
    """How many subjects there are, how many are bad now, and of how many nobody knows."""
    known = look.measure.is_known
    return (
        select(
            func.count(),
            func.coalesce(func.sum(case((look.is_new, 1), else_=0)), 0),
            func.coalesce(func.sum(case((known, 0), else_=1)), 0),
        )
        .select_from(_source(look))
        .where(look.eligible)
    )


def bad_ones(look: Look, limit: int) -> Select[*tuple[Any, ...]]:
    """Those that are bad now, whatever alerts there are."""
    key = _SUBJECTS[look.subject]
    query = select(key.label("key"), *_columns(look)).select_from(_source(look))
    return query.where(look.eligible, look.is_new).order_by(key).limit(limit)


def _source(look: Look, around_alerts: bool = False) -> FromClause:
    """The tables; *around_alerts* begins with those and leaves out none whose subject is gone."""
    node, runs, pipeline, certificate = (
        each.__table__ for each in (Node, NodePipeline, Pipeline, Certificate)
    )
    if not around_alerts:
        match look.subject:
            case "node":
                return node
            case "pipeline":
                return runs.join(node, Node.id == NodePipeline.node_id).join(
                    pipeline, Pipeline.id == NodePipeline.pipeline_id
                )
        return certificate
    alert = Alert.__table__
    match look.subject:
        case "node":
            return alert.outerjoin(node, Node.id == Alert.node_id)
        case "pipeline":
            return (
                alert.outerjoin(node, Node.id == Alert.node_id)
                .outerjoin(pipeline, Pipeline.id == Alert.pipeline_id)
                .outerjoin(
                    runs,
                    and_(
                        NodePipeline.node_id == Alert.node_id, NodePipeline.pipeline_id == Alert.pipeline_id
                    ),
                )
            )
    return alert.outerjoin(
        certificate,
        and_(Certificate.environment_id == Alert.environment_id, Certificate.name == Alert.certificate),
    )


def _columns(look: Look) -> list[ColumnElement[Any]]:
    nothing = cast(null(), String)
    is_run, is_certificate = look.subject == "pipeline", look.subject == "certificate"
    return [
        (Certificate if is_certificate else Node).environment_id.label("environment_id"),
        (nothing if is_certificate else Node.id).label("node_id"),
        (nothing if is_certificate else Node.name).label("node_name"),
        (NodePipeline.pipeline_id if is_run else nothing).label("pipeline_id"),
        (Pipeline.name if is_run else nothing).label("pipeline_name"),
        (Certificate.name if is_certificate else nothing).label("certificate"),
        (NodePipeline.status if is_run else nothing).label("status"),
        (NodePipeline.failed_version if is_run else nothing).label("failed_version"),
        look.measure.value.label("value"),
        look.measure.moment.label("moment"),
    ]


def _verdict(look: Look) -> ColumnElement[str]:
    measure = look.measure
    # What is not known compares to nothing: each case says what must be true for it.
    judged = case(
        (and_(measure.is_known, measure.is_bad), BAD),
        (and_(measure.is_known, measure.is_well), WELL),
        (measure.is_known, BETWEEN),
        else_=UNKNOWN,
    )
    if look.subject == "certificate":
        return case(
            (Certificate.name.is_(None), "certificate_deleted"), (look.scope, judged), else_="out_of_scope"
        )
    gone: list[tuple[ColumnElement[bool], str]] = [
        (Node.id.is_(None), "node_deleted"),
        (Node.revoked_at.is_not(None), "node_revoked"),
        (Node.maintenance_mode.is_(True), "maintenance"),
    ]
    if look.subject == "pipeline":
        gone += [
            (Pipeline.id.is_(None), "pipeline_deleted"),
            (NodePipeline.node_id.is_(None), "pipeline_stopped"),
        ]
    return case(*gone, (look.scope, judged), else_="out_of_scope")


def _measure(rule: RuleLike, clock: Clock) -> Measure:
    threshold = rule.threshold or 0.0
    # A node's rows are all written by its last heartbeat, whose time stands in the narrow table.
    is_fresh = Node.last_heartbeat_at >= clock.silent_before(None)
    no_value, no_moment = cast(null(), Float), cast(null(), Node.last_seen_at.type)
    match rule.kind:
        case alert_kinds.NODE_UNREACHABLE:
            is_silent = Node.last_seen_at < clock.silent_before(False)
            return Measure(
                no_value, Node.last_seen_at, Node.last_heartbeat_at.is_not(None), is_silent, ~is_silent
            )
        case alert_kinds.PIPELINE_FAILED:
            has_failed = or_(
                NodePipeline.status.in_(FAILED_STATUSES), NodePipeline.failed_version.is_not(None)
            )
            runs_well = and_(NodePipeline.status == "RUNNING", NodePipeline.failed_version.is_(None))
            return Measure(no_value, no_moment, is_fresh, has_failed, runs_well)
        case alert_kinds.CERTIFICATE_EXPIRES:
            expires = Certificate.expires_at
            limit = clock.now + timedelta(days=threshold)
            margin = timedelta(days=alert_kinds.MARGIN_DAYS)
            return Measure(
                no_value, expires, expires.is_not(None), expires <= limit, expires > limit + margin
            )
    rate = _RATES[rule.kind]
    is_known = and_(rate.is_not(None), is_fresh)
    if rule.kind == alert_kinds.THROUGHPUT_BELOW:
        # One that does not run is another rule's affair.
        is_known = and_(is_known, NodePipeline.status == "RUNNING")
        well_from = threshold * (1 + alert_kinds.MARGIN)
        return Measure(rate, no_moment, is_known, rate < threshold, rate >= well_from)
    well_to = threshold * (1 - alert_kinds.MARGIN)
    return Measure(rate, no_moment, is_known, rate > threshold, rate <= well_to)


def _scope(session: Session, rule: RuleLike) -> ColumnElement[bool]:
    if alert_kinds.KINDS[rule.kind].subject == "certificate":
        if rule.environment_id is None:
            return true()
        return Certificate.environment_id == rule.environment_id
    conditions: list[ColumnElement[bool]] = []
    if rule.environment_id is not None:
        conditions.append(Node.environment_id == rule.environment_id)
    if rule.pipeline_id is not None:
        conditions.append(NodePipeline.pipeline_id == rule.pipeline_id)
    selector = selectors.parse(rule.node_selector)
    if selector.requirements:
        conditions.append(_matches(session, rule, selector))
    return and_(true(), *conditions)


def _matches(session: Session, rule: RuleLike, selector: selectors.Selector) -> ColumnElement[bool]:
    """The selector as each environment reads it: which of the agents' own labels count differs."""
    query = select(Environment.id, Environment.selectable_agent_labels)
    if rule.environment_id is not None:
        query = query.where(Environment.id == rule.environment_id)
    named = {requirement.key for requirement in selector.requirements}
    alike: dict[frozenset[str], list[str]] = {}
    for environment_id, allowed in session.execute(query):
        alike.setdefault(frozenset(named & set(allowed)), []).append(environment_id)
    return or_(
        false(),
        *(
            and_(Node.environment_id.in_(ids), matching.condition(selector.requirements, allowed))
            for allowed, ids in alike.items()
        ),
    )
