"""Heartbeats: what a node says runs, written to its rows in one short transaction."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from agent.protocol import Reason
from app import (
    action_states,
    action_waves,
    audit,
    component_rates,
    deployments,
    metrics_history,
    node_labels,
    revisions,
    sample_results,
)
from app.action_states import CompletedAction
from app.audit import Actor
from app.clock import utc_now
from app.database import transaction
from app.enrollment import AuthenticatedNode
from app.json_body import HostName, LogLine, LongText, ShortText, Wire, clean
from app.models import Node, NodePipeline, Pipeline
from app.push import messages
from app.switchboard_process import switchboard

MAX_PIPELINES = 1000
MAX_LOG_LINES = 200
MAX_COMPLETED_ACTIONS = 500
"""Read of one heartbeat; a node has at most a few dozen open ones."""

Counter = Annotated[int, Field(ge=0, le=2**63 - 1)]
Number = Annotated[float, Field(ge=-1e18, le=1e18, allow_inf_nan=False)]


class ComponentMetrics(Wire):
    """Counters of one component, cumulative."""

    component_id: HostName
    component_kind: ShortText
    received_events: Counter
    sent_events: Counter
    received_bytes: Counter | None = None
    sent_bytes: Counter | None = None
    errors_total: Counter | None = None
    discarded_events: Counter | None = None
    latency_mean_seconds: Number | None = None


class ReportedPipeline(Wire):
    """What runs of one pipeline and, beside it, what was tried and failed."""

    pipeline_id: ShortText
    version: Annotated[int, Field(ge=0, le=2**31 - 1)]
    status: ShortText
    pid: Counter | None = None
    uptime_seconds: Number | None = None
    events_in: Counter | None = None
    events_out: Counter | None = None
    errors_total: Counter | None = None
    bytes_in: Counter | None = None
    bytes_out: Counter | None = None
    events_discarded: Counter | None = None
    utilization: Number | None = None
    component_metrics: Annotated[list[ComponentMetrics], Field(max_length=2000)] | None = None
    recent_logs: list[LogLine] | None = None
    config_checksum: ShortText | None = None
    failed_version: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    failed_checksum: ShortText | None = None
    error: LongText | None = None


class Heartbeat(Wire):
    """The body of ``POST /api/agent/heartbeat``; what is not listed here is ignored."""

    pipelines: Annotated[list[ReportedPipeline], Field(max_length=MAX_PIPELINES)] = Field(
        default_factory=list
    )
    host_metrics: dict[str, Number | None] | None = None
    agent_version: ShortText | None = None
    vector_version: ShortText | None = None
    deployment_mode: ShortText | None = None
    update_error: LongText | None = None
    labels: dict[ShortText, HostName] | None = None
    running_as: ShortText | None = None
    agent_health: dict[str, Any] | None = None
    config_revision: ShortText | None = None
    tried_revision: ShortText | None = None
    boot_id: ShortText | None = None
    seq: Counter | None = None
    completed_actions: list[CompletedAction] | None = None
    sample_results: list[Any] | None = None
    """Read one by one, see ``app/sample_results.py``."""


def record(node: AuthenticatedNode, heartbeat: Heartbeat) -> None:
    """Write *heartbeat* to the node's rows, then tell the fleet pages.

    A pipeline that is no longer reported, or that belongs to another environment, is dropped from the node's
    status. With ``bootId`` and ``seq`` an older heartbeat never undoes a newer one (hazard 28).
    """
    now = utc_now()
    runs_other = False
    try:
        batch_ids = transaction(lambda session: _write(session, node, heartbeat, now))
    except _OtherLabelsError:
        batch_ids, runs_other = transaction(lambda session: _write_with_labels(session, node, heartbeat, now))
    if heartbeat.sample_results:
        # Of an older heartbeat too: what a node has seen it has seen.
        sample_results.record(node.id, node.environment_id, sample_results.readable(heartbeat.sample_results))
    if runs_other:
        switchboard().nudge([node.id], messages.config_changed(Reason.LABEL))
    if batch_ids is not None:
        metrics_history.observe(node.id, heartbeat)
        switchboard().publish_fleet_changed(node.environment_id, [node.id])
        for batch_id in batch_ids:
            action_waves.advance(batch_id)


class _OtherLabelsError(Exception):
    """The agent gives itself other labels: to judge them takes the environment's lock, which comes first."""


def _write_with_labels(
    session: Session, authenticated: AuthenticatedNode, heartbeat: Heartbeat, now: datetime
) -> tuple[set[str] | None, bool]:
    """As ``_write``, with the agent's labels; and whether those make the node run something else (hazard 30)."""
    environment_id = session.scalar(select(Node.environment_id).where(Node.id == authenticated.id))
    if environment_id is None:
        return None, False
    revisions.lock(session, environment_id)
    node = session.get(Node, authenticated.id, with_for_update={"key_share": True})
    if node is None or node.environment_id != environment_id:
        return None, False  # deleted or moved just now: its next heartbeat says the same again
    labels = node_labels.bounded(heartbeat.labels or {})
    runs_other = not _is_older(node, heartbeat) and node_labels.gains_or_loses(session, node, agent=labels)
    if runs_other:
        revisions.touch(session, environment_id)
        audit.record(
            session,
            Actor(f"node {node.id}"),
            "node.labels",
            environment_id=environment_id,
            subject_id=node.id,
            node=node.name,
            labels=labels,
        )
    return _write(session, authenticated, heartbeat, now, is_locked=True), runs_other


def _is_older(node: Node, heartbeat: Heartbeat) -> bool:
    return (
        heartbeat.boot_id is not None
        and heartbeat.seq is not None
        and heartbeat.boot_id == node.boot_id
        and heartbeat.seq <= (node.heartbeat_seq if node.heartbeat_seq is not None else -1)
    )


def _write(
    session: Session,
    authenticated: AuthenticatedNode,
    heartbeat: Heartbeat,
    now: datetime,
    is_locked: bool = False,
) -> set[str] | None:
    """The batches of actions in which this has ended something; ``None`` where nothing has changed.

    :raises _OtherLabelsError: it has other labels than the node, and the environment is not locked.
    """
    # Not FOR UPDATE: a deploy's new rows refer to the node's key, and must not wait for heartbeats (nor in a ring).
    node = session.get(Node, authenticated.id, with_for_update={"key_share": True})
    if node is None:
        return None
    node.last_seen_at = now
    node.authenticated_at = node.authenticated_at or now
    completed = (heartbeat.completed_actions or [])[:MAX_COMPLETED_ACTIONS]
    if _is_older(node, heartbeat):
        # What a node has done it has done, whenever we hear of it; the rest of it is out of date.
        late = action_states.Report(completed, None, None, acknowledges=True)
        return action_states.settle(session, node, late, now) or None
    node.last_heartbeat_at = now
    node.boot_id, node.heartbeat_seq = heartbeat.boot_id, heartbeat.seq
    node.agent_version = heartbeat.agent_version or node.agent_version
    node.vector_version = heartbeat.vector_version or node.vector_version
    if heartbeat.deployment_mode is not None:
        known = heartbeat.deployment_mode in ("STANDALONE", "DOCKER")
        node.deployment_mode = heartbeat.deployment_mode if known else "UNKNOWN"
    node.running_revision = heartbeat.config_revision
    node.tried_revision = heartbeat.tried_revision
    node.update_error = heartbeat.update_error
    if heartbeat.labels is not None and (own := node_labels.bounded(heartbeat.labels)) != node.agent_labels:
        if not is_locked:
            raise _OtherLabelsError
        node.agent_labels = own
    if heartbeat.host_metrics is not None:
        node.host_metrics = {
            clean(key)[:50]: value for key, value in list(heartbeat.host_metrics.items())[:50]
        }
    if heartbeat.agent_health is not None:
        node.agent_health = _bounded_health(heartbeat.agent_health)
    reported = _write_pipelines(session, node, heartbeat, now)
    deployments.settle(session, node.id, reported, now)
    report = action_states.Report(
        completed,
        heartbeat.agent_version,
        heartbeat.update_error,
        acknowledges=heartbeat.boot_id is not None,
    )
    return action_states.settle(session, node, report, now)


def _write_pipelines(
    session: Session, node: Node, heartbeat: Heartbeat, now: datetime
) -> dict[str, NodePipeline]:
    ids = {pipeline.pipeline_id for pipeline in heartbeat.pipelines}
    own = set(
        session.scalars(
            select(Pipeline.id).where(Pipeline.id.in_(ids), Pipeline.environment_id == node.environment_id)
        )
    )
    stored = {
        row.pipeline_id: row
        for row in session.scalars(select(NodePipeline).where(NodePipeline.node_id == node.id))
    }
    gone = stored.keys() - own
    if gone:
        session.execute(
            delete(NodePipeline).where(NodePipeline.node_id == node.id, NodePipeline.pipeline_id.in_(gone))
        )
    written: dict[str, NodePipeline] = {}
    for pipeline in heartbeat.pipelines:
        if pipeline.pipeline_id in own:
            row = stored.get(pipeline.pipeline_id)
            if row is None:
                row = stored[pipeline.pipeline_id] = NodePipeline(
                    node_id=node.id, pipeline_id=pipeline.pipeline_id
                )
                session.add(row)
            _write_pipeline(row, pipeline, now)
            written[pipeline.pipeline_id] = row
    return written


def _write_pipeline(row: NodePipeline, pipeline: ReportedPipeline, now: datetime) -> None:
    seconds = (now - row.reported_at).total_seconds() if row.reported_at is not None else 0.0
    row.events_in_rate = component_rates.rate(row.events_in, pipeline.events_in, seconds)
    row.events_out_rate = component_rates.rate(row.events_out, pipeline.events_out, seconds)
    row.reported_at = now
    row.version, row.status = pipeline.version, pipeline.status
    row.pid, row.uptime_seconds = pipeline.pid, pipeline.uptime_seconds
    # Their checksums are not kept: they are made from secrets, and nothing asks for them.
    row.failed_version = pipeline.failed_version
    row.error = pipeline.error
    row.events_in, row.events_out = pipeline.events_in, pipeline.events_out
    row.events_discarded, row.errors_total = pipeline.events_discarded, pipeline.errors_total
    row.bytes_in, row.bytes_out = pipeline.bytes_in, pipeline.bytes_out
    row.utilization = pipeline.utilization
    if pipeline.component_metrics is not None:
        row.component_metrics = component_rates.with_rates(
            row.component_metrics or [],
            [
                component.model_dump(by_alias=True, exclude_none=True)
                for component in pipeline.component_metrics
            ],
            seconds,
        )
    if pipeline.recent_logs is not None:
        row.recent_logs = pipeline.recent_logs[-MAX_LOG_LINES:]


def _bounded_health(health: dict[str, Any]) -> dict[str, Any]:
    return {
        clean(key)[:50]: clean(value)[:200] if isinstance(value, str) else value
        for key, value in list(health.items())[:20]
        if isinstance(value, (str, bool)) or (isinstance(value, (int, float)) and abs(value) < 2**63)
    }
