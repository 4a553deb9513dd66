"""The body of a heartbeat: its shape, and how much of each part is kept."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from app.action_states import CompletedAction
from app.json_body import HostName, LogLine, LongText, RevisionText, ShortText, StatusText, Wire, clean

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
    status: StatusText
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
    config_revision: RevisionText | None = None
    tried_revision: RevisionText | None = None
    boot_id: ShortText | None = None
    seq: Counter | None = None
    completed_actions: list[CompletedAction] | None = None
    sample_results: list[Any] | None = None
    """Read one by one, see ``app/sample_results.py``."""


def bounded_metrics(metrics: dict[str, float | None]) -> dict[str, float | None]:
    """The host's figures, at most fifty."""
    return {clean(key)[:50]: value for key, value in list(metrics.items())[:50]}


def bounded_health(health: dict[str, Any]) -> dict[str, Any]:
    """What the agent says of itself: at most twenty texts, truths and numbers."""
    return {
        clean(key)[:50]: clean(value)[:200] if isinstance(value, str) else value
        for key, value in list(health.items())[:20]
        if isinstance(value, (str, bool)) or (isinstance(value, (int, float)) and abs(value) < 2**63)
    }
