"""What heartbeats change in the database: many of them in few statements.

Rows are locked by node, then by deployment, then by action, always in order, so that two workers never wait for
each other in a ring.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Connection, Row, Table, bindparam, select
from sqlalchemy.orm import Session

from app import action_states, component_rates, deployments, many_rows, node_labels
from app.heartbeat_body import (
    MAX_COMPLETED_ACTIONS,
    MAX_LOG_LINES,
    Heartbeat,
    ReportedPipeline,
    bounded_health,
    bounded_metrics,
)
from app.many_ids import among, listed
from app.many_rows import Values
from app.models import Node, NodePipeline, Pipeline
from app.models.columns import UtcDateTime

AnyRow = Row[*tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Beat:
    """One heartbeat, and when it came."""

    node_id: str
    heartbeat: Heartbeat
    at: datetime


@dataclass(slots=True)
class Outcome:
    """What has become of one heartbeat."""

    node_id: str
    environment_id: str | None = None
    """Whose pages are to be told; ``None`` where nothing has changed."""
    batch_ids: set[str] = field(default_factory=set)
    """The batches of actions in which it has ended something."""
    has_other_labels: bool = False
    """Whether its agent gives itself other labels than the node has; see ``app/reported_labels.py``."""


_NODE = cast(Table, Node.__table__)
_RUNS = cast(Table, NodePipeline.__table__)
# Made once and without the ORM. Not FOR UPDATE: a deploy's new rows refer to the node's key, and must not wait for
# heartbeats (nor in a ring).
_LOCKED_NODES = (
    select(
        _NODE.c.id,
        _NODE.c.environment_id,
        _NODE.c.authenticated_at,
        _NODE.c.boot_id,
        _NODE.c.heartbeat_seq,
        _NODE.c.agent_version,
        _NODE.c.vector_version,
        _NODE.c.agent_labels,
        deployments.has_open().label("is_deploying"),
        action_states.has_open(bindparam("now", type_=UtcDateTime())).label("is_asked"),
    )
    .where(among(_NODE.c.id, "ids"))
    .order_by(_NODE.c.id)
    .with_for_update(key_share=True, of=_NODE)
)
_PIPELINES = select(Pipeline.__table__.c.id, Pipeline.__table__.c.environment_id).where(
    Pipeline.__table__.c.id.in_(bindparam("ids", expanding=True))
)
_STORED = select(
    _RUNS.c.node_id,
    _RUNS.c.pipeline_id,
    _RUNS.c.events_in,
    _RUNS.c.events_out,
    _RUNS.c.errors_total,
    _RUNS.c.events_discarded,
    _RUNS.c.reported_at,
    _RUNS.c.component_metrics,
).where(among(_RUNS.c.node_id, "ids"))
_RUN_KEYS = ("node_id", "pipeline_id")


class _State:
    """One node while its heartbeats are merged: the last status wins, and what each has ended stays ended."""

    def __init__(self, row: AnyRow) -> None:
        self.row = row
        self.boot_id, self.seq = row.boot_id, row.heartbeat_seq
        self.values: Values = {"id": row.id}
        self.runs: dict[str, Values] = {}
        self.is_heard = False
        """Whether one of its heartbeats was newer than what is stored."""

    def is_older(self, heartbeat: Heartbeat) -> bool:
        return (
            heartbeat.boot_id is not None
            and heartbeat.seq is not None
            and heartbeat.boot_id == self.boot_id
            and heartbeat.seq <= (self.seq if self.seq is not None else -1)
        )

    def note_seen(self, at: datetime) -> None:
        self.values["last_seen_at"] = at
        self.values.setdefault("authenticated_at", self.row.authenticated_at or at)

    def take(self, heartbeat: Heartbeat, at: datetime) -> None:
        """Everything but its pipelines."""
        values = self.values
        self.is_heard = True
        self.boot_id, self.seq = heartbeat.boot_id, heartbeat.seq
        values["last_heartbeat_at"] = at
        values["boot_id"], values["heartbeat_seq"] = heartbeat.boot_id, heartbeat.seq
        for name in ("agent_version", "vector_version"):
            said = getattr(heartbeat, name)
            values[name] = said or values.get(name, getattr(self.row, name))
        values["running_revision"] = heartbeat.config_revision
        values["tried_revision"] = heartbeat.tried_revision
        values["update_error"] = heartbeat.update_error
        if heartbeat.deployment_mode is not None:
            is_known = heartbeat.deployment_mode in ("STANDALONE", "DOCKER")
            values["deployment_mode"] = heartbeat.deployment_mode if is_known else "UNKNOWN"
        if heartbeat.host_metrics is not None:
            values["host_metrics"] = bounded_metrics(heartbeat.host_metrics)
        if heartbeat.agent_health is not None:
            values["agent_health"] = bounded_health(heartbeat.agent_health)


def write(session: Session, beats: Sequence[Beat]) -> list[Outcome]:
    """Write *beats*, which are sorted by node and then as they came, and say what has become of each.

    A pipeline that is no longer reported, or that belongs to another environment, is dropped from the node's
    status. With ``bootId`` and ``seq`` an older heartbeat never undoes a newer one.
    """
    ids = list({beat.node_id: None for beat in beats})
    connection = session.connection()
    known = connection.execute(_LOCKED_NODES, {"ids": listed(ids), "now": beats[-1].at})
    states = {row.id: _State(row) for row in known}
    environments = _environments_of_pipelines(connection, beats)
    runs = connection.execute(_STORED, {"ids": listed(states)})
    stored = {(row.node_id, row.pipeline_id): row for row in runs}
    fresh: list[bool] = []
    own: list[dict[str, ReportedPipeline]] = []
    for beat in beats:
        state = states.get(beat.node_id)
        is_fresh = state is not None and not state.is_older(beat.heartbeat)
        reported: dict[str, ReportedPipeline] = {}
        if state is not None:
            state.note_seen(beat.at)
        if state is not None and is_fresh:
            state.take(beat.heartbeat, beat.at)
            reported = {
                each.pipeline_id: each
                for each in beat.heartbeat.pipelines
                if environments.get(each.pipeline_id) == state.row.environment_id
            }
            state.runs = {
                pipeline_id: {
                    **_kept(state.runs.get(pipeline_id)),
                    **_run_values(each, beat, stored.get((beat.node_id, pipeline_id))),
                }
                for pipeline_id, each in reported.items()
            }
        fresh.append(is_fresh)
        own.append(reported)
    _write_rows(connection, states, stored)
    return _settle(session, beats, states, fresh, own)


def _environments_of_pipelines(connection: Connection, beats: Sequence[Beat]) -> dict[str, str]:
    ids = sorted({each.pipeline_id for beat in beats for each in beat.heartbeat.pipelines})
    return {row.id: row.environment_id for row in connection.execute(_PIPELINES, {"ids": ids})} if ids else {}


def _kept(earlier: Values | None) -> Values:
    """What an earlier heartbeat of the same group said and a later one may leave out."""
    names = ("component_metrics", "recent_logs")
    return {name: value for name, value in (earlier or {}).items() if name in names}


def _run_values(pipeline: ReportedPipeline, beat: Beat, before: AnyRow | None) -> Values:
    seconds = (beat.at - before.reported_at).total_seconds() if before is not None else 0.0
    values: Values = {
        "node_id": beat.node_id,
        "pipeline_id": pipeline.pipeline_id,
        "reported_at": beat.at,
        **{
            rate: component_rates.rate(
                getattr(before, counter) if before else None, getattr(pipeline, counter), seconds
            )
            for counter, rate in _RATES
        },
        # Their checksums are not kept: they are made from secrets, and nothing asks for them.
        **{name: getattr(pipeline, name) for name in _AS_IT_CAME},
    }
    if pipeline.component_metrics is not None:
        values["component_metrics"] = component_rates.with_rates(
            (before.component_metrics or []) if before is not None else [],
            [
                component.model_dump(by_alias=True, exclude_none=True)
                for component in pipeline.component_metrics
            ],
            seconds,
        )
    if pipeline.recent_logs is not None:
        values["recent_logs"] = pipeline.recent_logs[-MAX_LOG_LINES:]
    return values


_RATES = (
    ("events_in", "events_in_rate"),
    ("events_out", "events_out_rate"),
    ("errors_total", "errors_rate"),
    ("events_discarded", "discarded_rate"),
)
_AS_IT_CAME = (
    "version", "status", "pid", "uptime_seconds", "failed_version", "error", "events_in", "events_out",
    "events_discarded", "errors_total", "bytes_in", "bytes_out", "utilization",
)  # fmt: skip


def _write_rows(
    connection: Connection, states: Mapping[str, _State], stored: Mapping[tuple[str, str], AnyRow]
) -> None:
    many_rows.update_rows(connection, _NODE, ("id",), [state.values for state in states.values()])
    new: list[Values] = []
    known: list[Values] = []
    for node_id, state in states.items():
        for pipeline_id, values in state.runs.items():
            (known if (node_id, pipeline_id) in stored else new).append(values)
    gone = [
        {"node_id": node_id, "pipeline_id": pipeline_id}
        for node_id, pipeline_id in stored
        if states[node_id].is_heard and pipeline_id not in states[node_id].runs
    ]
    many_rows.delete_rows(connection, _RUNS, _RUN_KEYS, gone)
    many_rows.update_rows(connection, _RUNS, _RUN_KEYS, known)
    many_rows.insert_rows(connection, _RUNS, new)


def _settle(
    session: Session,
    beats: Sequence[Beat],
    states: Mapping[str, _State],
    fresh: Sequence[bool],
    own: Sequence[Mapping[str, ReportedPipeline]],
) -> list[Outcome]:
    """What each heartbeat, in turn, says of deployments and actions; nearly always there is nothing open."""
    outcomes = [Outcome(beat.node_id) for beat in beats]
    if not states:
        return outcomes
    now = beats[-1].at
    deploying: set[str] = set()
    asked: set[str] = set()
    if any(state.row.is_deploying for state in states.values()):
        deploying = deployments.lock_open(session, list(states))
    if any(state.row.is_asked for state in states.values()):
        asked = action_states.lock_open(session, list(states), now)
    for outcome, beat, is_fresh, reported in zip(outcomes, beats, fresh, own, strict=True):
        state = states.get(beat.node_id)
        if state is None:
            continue
        if is_fresh and beat.node_id in deploying:
            deployments.settle(session, beat.node_id, reported, beat.at)
            session.flush()
        if beat.node_id in asked:
            outcome.batch_ids = action_states.settle(session, beat.node_id, _report(beat, is_fresh), beat.at)
        if is_fresh and beat.heartbeat.labels is not None:
            outcome.has_other_labels = node_labels.bounded(beat.heartbeat.labels) != state.row.agent_labels
        if is_fresh or outcome.batch_ids:
            outcome.environment_id = state.row.environment_id
    return outcomes


def _report(beat: Beat, is_fresh: bool) -> action_states.Report:
    heartbeat = beat.heartbeat
    completed = (heartbeat.completed_actions or [])[:MAX_COMPLETED_ACTIONS]
    if not is_fresh:
        # What a node has done it has done, whenever we hear of it; the rest of it is out of date.
        return action_states.Report(completed, None, None, acknowledges=True)
    return action_states.Report(
        completed,
        heartbeat.agent_version,
        heartbeat.update_error,
        acknowledges=heartbeat.boot_id is not None,
    )
