"""Evaluating alert rules: one worker at a time, under a lease that each step looks at again.

What is pending and what fires stands in the table ``alert``, and changes in the transaction that puts the event into
the webhooks' queues: a worker that is killed in the middle has done all of a step or nothing. Missing data changes
nothing: while nobody can say, an alert neither fires nor is resolved.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app import alert_events, alert_kinds, alert_queries, leases, presence, server_settings, webhook_events
from app.alert_kinds import FIRING, PENDING, REASONS, RECOVERED
from app.alert_queries import BAD, WELL, Look, Seen
from app.database import snapshot, transaction
from app.errors import InvalidInputError, SignalboxError, UnavailableError
from app.ids import new_id
from app.leases import Held, LeaseLostError
from app.models import Alert, AlertRule, Pipeline
from app.models.alert import IS_OPEN
from app.node_status import Clock
from app.push.deadlines import deadline
from app.server_settings import Intervals

LEASE = "alerts"
LEAST_SPAN = timedelta(seconds=5)
SPAN_INTERVALS = 3
"""A lease outlives so many intervals between two turns."""
GAP = timedelta(seconds=60)
"""After a rule was not evaluated for so long, and for six intervals, what is pending begins anew."""
ROWS_A_STEP = 500
STEPS_SECONDS = 3.0
"""For the steps of one rule in one turn, while there are more rows; the rest is for the next one."""
MOST_OPEN = 20_000
"""Alerts of one rule that are not resolved."""
RULE_SECONDS = 10.0
TURN_SECONDS = 30.0
"""Then the rules that are left wait for the next turn, which begins with them."""
PAUSE_SECONDS = 0.005
"""Between two rules: a worker has sockets to serve."""

log = logging.getLogger("signalbox.alerts")

Row = Any


@dataclass(slots=True)
class _Turn:
    """One turn of the worker that holds the lease."""

    held: Held
    span: timedelta
    gap: timedelta
    intervals: Intervals
    taken_at: float
    """By ``time.monotonic``."""

    def renew(self) -> None:
        """Hold the lease for a whole span again, once a third of it is over.

        :raises LeaseLostError: another worker has it.
        """
        if time.monotonic() < self.taken_at + self.span.total_seconds() / 3:
            return
        held = leases.take(LEASE, self.held.holder, self.span)
        if held is None:
            raise LeaseLostError(LEASE)
        self.held, self.taken_at = held, time.monotonic()


def evaluate(holder: str, interval: float) -> int:
    """One turn, if it is this worker's: every enabled rule; how many alerts have changed.

    *holder* is the worker's id, *interval* the seconds between two turns.
    """
    span = max(LEAST_SPAN, timedelta(seconds=SPAN_INTERVALS * interval))
    taken_at = time.monotonic()
    held = leases.take(LEASE, holder, span)
    if held is None:
        return 0
    gap = max(GAP, timedelta(seconds=6 * interval))
    turn = _Turn(held, span, gap, server_settings.intervals(), taken_at)
    # What could not be evaluated comes last: it may take its whole time again.
    query = (
        select(AlertRule)
        .where(AlertRule.is_enabled.is_(True))
        .order_by(AlertRule.problem.is_not(None), AlertRule.evaluated_at.nulls_first(), AlertRule.id)
    )
    rules = snapshot(lambda session: session.scalars(query).all())
    ends, changes = time.monotonic() + TURN_SECONDS, 0
    evaluated: list[str] = []
    try:
        for rule in rules:
            if time.monotonic() > ends:
                log.warning("alert rules left for the next turn: %d", len(rules) - len(evaluated))
                break
            turn.renew()
            changes += _evaluate_and_note(turn, rule, evaluated)
            time.sleep(PAUSE_SECONDS)
        if evaluated:
            transaction(lambda session: _note_evaluated(session, turn.held, evaluated))
    except LeaseLostError:
        log.info("another worker evaluates alert rules now; this one stops")
    return changes


def stop(holder: str, interval: float) -> None:
    """Let another worker evaluate at once."""
    held = leases.take(LEASE, holder, max(LEAST_SPAN, timedelta(seconds=SPAN_INTERVALS * interval)))
    if held is not None:
        leases.give_up(held)


def _evaluate_and_note(turn: _Turn, rule: AlertRule, evaluated: list[str]) -> int:
    """One rule; one that cannot be evaluated says why, and stops no other."""
    problem: str | None = None
    changes = 0
    try:
        with deadline(RULE_SECONDS):
            changes = evaluate_rule(turn.held, rule, turn.gap, turn.intervals)
        evaluated.append(rule.id)
    except (LeaseLostError, UnavailableError):
        raise
    except SignalboxError as error:
        problem = error.sentence
    except TimeoutError:
        problem = f"It was not evaluated within {RULE_SECONDS:g} seconds."
    except Exception:
        log.exception("alert rule not evaluated rule=%s", rule.id)
        problem = "It could not be evaluated; the server's log says why."
    if problem != rule.problem:
        transaction(lambda session: _note_problem(session, turn.held, rule.id, problem))
    return changes


def evaluate_rule(held: Held, rule: AlertRule, gap: timedelta, intervals: Intervals) -> int:
    """Evaluate *rule* once, as it was read; how many of its alerts have changed.

    :raises LeaseLostError: nothing more was written.
    :raises InvalidInputError: its selector cannot be read, or what it is about is gone.
    """
    now = snapshot(leases.database_now)
    clock = Clock(intervals, now)
    if rule.evaluated_at is not None and now - rule.evaluated_at > gap:
        transaction(lambda session: _begin_anew(session, held, rule, now))
    may_be_bad = True
    if rule.kind == alert_kinds.NODE_UNREACHABLE:
        # After an outage of the server all nodes have been silent: not before somebody has watched for long enough.
        may_be_bad = held.unbroken_since <= min(clock.silent_before(False), clock.silent_before(None))
    changes = _run(held, _Changed(rule, clock, may_be_bad))
    if rule.pipeline_id is not None and snapshot(lambda session: _is_gone(session, rule.pipeline_id)):
        raise InvalidInputError("The pipeline that it is about was deleted.")
    return changes + (_run(held, _Fresh(rule, clock)) if may_be_bad else 0)


def _is_gone(session: Session, pipeline_id: str | None) -> bool:
    return session.scalar(select(Pipeline.id).where(Pipeline.id == pipeline_id)) is None


def _run(held: Held, step: _Step) -> int:
    """Read some rows, ask what nobody may ask within a transaction, write; again while there are more."""
    changes, after = 0, ""
    ends = time.monotonic() + STEPS_SECONDS
    while time.monotonic() < ends:
        rows = step.read(after)
        if rows:
            verdicts = _verdicts(step.rule, step.clock, rows)
            changes += transaction(partial(_write, held=held, step=step, after=after, verdicts=verdicts))
        if len(rows) < ROWS_A_STEP:
            break
        after = rows[-1].key
    return changes


class _Step:
    """Some rows that ask for a change, and what that is."""

    def __init__(self, rule: AlertRule, clock: Clock) -> None:
        self.rule, self.clock = rule, clock

    def read(self, after: str) -> Sequence[Row]:
        return snapshot(lambda session: self.rows(session, after))

    def rows(self, session: Session, after: str) -> Sequence[Row]:
        raise NotImplementedError

    def apply(self, session: Session, rows: Sequence[Row], verdicts: Mapping[str, str]) -> int:
        raise NotImplementedError


class _Changed(_Step):
    """Alerts that are open."""

    def __init__(self, rule: AlertRule, clock: Clock, may_be_bad: bool) -> None:
        super().__init__(rule, clock)
        self._may_be_bad = may_be_bad

    def rows(self, session: Session, after: str) -> Sequence[Row]:
        spans = timedelta(seconds=self.rule.for_seconds), timedelta(seconds=self.rule.clear_seconds)
        look = Look.at(session, self.rule, self.clock)
        query = alert_queries.changed(look, self.rule.id, spans, self._may_be_bad, after, ROWS_A_STEP)
        return session.execute(query).all()

    def apply(self, session: Session, rows: Sequence[Row], verdicts: Mapping[str, str]) -> int:
        now = self.clock.now
        found = session.scalars(
            select(Alert).where(Alert.id.in_([row.key for row in rows])).with_for_update()
        )
        alerts = {alert.id: alert for alert in found}
        fired: list[Alert] = []
        resolved: list[Alert] = []
        for row in rows:
            alert, verdict = alerts.get(row.key), verdicts[row.key]
            if alert is None or alert.state != row.state:
                continue
            if alert.state == PENDING and verdict == BAD:
                alert.state, alert.fired_at = FIRING, now
                alert.value, alert.text = _value(self.rule, row, now), _text(self.rule, row, now)
                fired.append(alert)
            elif alert.state == PENDING:
                session.delete(alert)
            elif verdict in REASONS:
                alert_events.resolve(alert, verdict, now)
                resolved.append(alert)
            elif verdict != WELL:
                alert.clear_since = None
            elif alert.clear_since is None:
                alert.clear_since = now
            elif alert.clear_since <= now - timedelta(seconds=self.rule.clear_seconds):
                alert_events.resolve(alert, RECOVERED, now)
                resolved.append(alert)
        session.flush()
        alert_events.tell(session, webhook_events.ALERT_RESOLVED, resolved, self.rule.threshold, now)
        alert_events.tell(session, webhook_events.ALERT_FIRING, fired, self.rule.threshold, now)
        return len(fired) + len(resolved)


class _Fresh(_Step):
    """Subjects that are bad, and of which there is no alert yet."""

    def rows(self, session: Session, after: str) -> Sequence[Row]:
        look = Look.at(session, self.rule, self.clock)
        return session.execute(alert_queries.fresh(look, self.rule.id, after, ROWS_A_STEP)).all()

    def apply(self, session: Session, rows: Sequence[Row], verdicts: Mapping[str, str]) -> int:
        rule, now = self.rule, self.clock.now
        rows = [row for row in rows if verdicts[row.key] == BAD]
        is_open = select(func.count()).select_from(Alert).where(Alert.rule_id == rule.id, IS_OPEN)
        if (session.scalar(is_open) or 0) + len(rows) > MOST_OPEN:
            raise InvalidInputError(
                f"It has {MOST_OPEN:,} open alerts and opens no more: narrow what it is about."
            )
        fires_at_once = rule.for_seconds == 0
        alerts = [
            Alert(
                id=new_id(),
                rule_id=rule.id,
                environment_id=row.environment_id,
                rule_name=rule.name,
                kind=rule.kind,
                severity=rule.severity,
                subject=row.key,
                node_id=row.node_id,
                node_name=row.node_name,
                pipeline_id=row.pipeline_id,
                pipeline_name=row.pipeline_name,
                certificate=row.certificate,
                state=FIRING if fires_at_once else PENDING,
                since=now,
                fired_at=now if fires_at_once else None,
                value=_value(rule, row, now),
                text=_text(rule, row, now),
            )
            for row in rows
        ]
        session.add_all(alerts)
        session.flush()
        if fires_at_once:
            alert_events.tell(session, webhook_events.ALERT_FIRING, alerts, rule.threshold, now)
        return len(alerts) if fires_at_once else 0


def _write(session: Session, held: Held, step: _Step, after: str, verdicts: Mapping[str, str]) -> int:
    """Look at lease, rule and rows again, and do what *verdicts* (by key) allow."""
    leases.check(session, held)
    rule = session.get(AlertRule, step.rule.id, with_for_update=True)
    if rule is None or not rule.is_enabled or rule.revision != step.rule.revision:
        return 0  # changed meanwhile: the next turn evaluates it as it is then
    rows = [row for row in step.rows(session, after) if row.key in verdicts]
    return step.apply(session, rows, verdicts) if rows else 0


def _verdicts(rule: AlertRule, clock: Clock, rows: Sequence[Row]) -> dict[str, str]:
    """By key: what the database says, and of silent nodes what Redis does. Left out is what nobody knows."""
    verdicts = {row.key: getattr(row, "verdict", BAD) for row in rows}
    if rule.kind != alert_kinds.NODE_UNREACHABLE:
        return verdicts
    silent = [row for row in rows if verdicts[row.key] == BAD]
    seen = [Seen(row.node_id, row.moment) for row in silent]
    connected = presence.of(seen, clock) if seen else {}
    for row in silent:
        match connected[row.node_id].connected:
            case True:
                verdicts[row.key] = WELL
            case None:
                del verdicts[row.key]
    return verdicts


def _value(rule: AlertRule, row: Row, now: datetime) -> float | None:
    value: float | None = row.value
    if rule.kind == alert_kinds.CERTIFICATE_EXPIRES:
        value = round((row.moment - now).total_seconds() / 86400, 3)
    return value


def _text(rule: AlertRule, row: Row, now: datetime) -> str:
    return alert_kinds.sentence(rule.kind, row, rule.threshold, now)


def _begin_anew(session: Session, held: Held, rule: AlertRule, now: datetime) -> None:
    """Nobody has looked for a while: how long it has been bad, or well, is counted from now on."""
    leases.check(session, held)
    mine = (Alert.rule_id == rule.id, IS_OPEN)
    session.execute(update(Alert).where(*mine, Alert.state == PENDING).values(since=now))
    session.execute(update(Alert).where(*mine, Alert.clear_since.is_not(None)).values(clear_since=None))


def _note_evaluated(session: Session, held: Held, rule_ids: Sequence[str]) -> None:
    leases.check(session, held)
    now = leases.database_now(session)
    session.execute(update(AlertRule).where(AlertRule.id.in_(rule_ids)).values(evaluated_at=now))


def _note_problem(session: Session, held: Held, rule_id: str, problem: str | None) -> None:
    leases.check(session, held)
    now = leases.database_now(session) if problem is not None else None
    session.execute(
        update(AlertRule).where(AlertRule.id == rule_id).values(problem=problem, problem_since=now)
    )
