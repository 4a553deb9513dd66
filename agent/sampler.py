"""What a heartbeat tells beyond the agent's own state: counters, logs, the host. Gathered off the owning thread."""

from __future__ import annotations

import http.client
import logging
import os
import pwd
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any

from agent import __version__, host
from agent.actions import PipelineReport, SampleResult, SendHeartbeat
from agent.metrics import MOST_BYTES, Component, Counters, parse_metrics
from agent.protocol import DeploymentMode, PipelineStatus
from agent.runner import Runner

log = logging.getLogger("agent.sampler")

SCRAPE_SECONDS = 2.0
SCRAPES_SECONDS = 10.0
"""For all children of one heartbeat, which must not be late because some of them hang."""
HEALTH_SECONDS = 1.0


class Sampler:
    """Makes the body of a heartbeat. Used by one heartbeat at a time."""

    def __init__(self, runner: Runner, labels: Mapping[str, str], boot_id: str, mode: DeploymentMode) -> None:
        self._runner = runner
        self._labels = host.discovered_labels() | dict(labels)
        self._boot_id = boot_id
        self._deployment_mode = mode
        self._running_as = running_as()
        self._lines_told: dict[str, int] = {}
        """How many lines of each pipeline's child the server has been told."""
        self._slow: set[str] = set()
        """Pipelines whose child did not answer the last time: they are asked after the others."""

    @property
    def labels(self) -> Mapping[str, str]:
        """What was discovered, and over it what was set."""
        return self._labels

    def heartbeat_body(self, heartbeat: SendHeartbeat) -> tuple[dict[str, object], dict[str, int]]:
        """The body of ``POST /api/agent/heartbeat``, and what :meth:`arrived` wants to know once it has."""
        line_counts: dict[str, int] = {}
        counters = self._scrape_all(heartbeat.pipelines)
        pipelines = [self._pipeline(report, counters, line_counts) for report in heartbeat.pipelines]
        running = sum(report.status == PipelineStatus.RUNNING for report in heartbeat.pipelines)
        body: dict[str, object] = {
            "pipelines": pipelines,
            "hostMetrics": host.host_metrics(),
            # A server that reads its wish from it would take an update for done that may yet be given up.
            "agentVersion": __version__ if not heartbeat.is_on_trial else None,
            "vectorVersion": self._runner.version(),
            "deploymentMode": self._deployment_mode,
            "labels": self._labels,
            "runningAs": self._running_as,
            "agentHealth": {
                "pollErrorsTotal": heartbeat.health.poll_errors,
                "pushReconnectsTotal": heartbeat.health.push_reconnects,
                "heartbeatErrorsTotal": heartbeat.health.heartbeat_errors,
                "pushConnected": heartbeat.health.push_connected,
                "pipelinesRunning": running,
                "uptimeSeconds": int(heartbeat.health.uptime_seconds),
            },
            "configRevision": heartbeat.running_revision,
            "triedRevision": heartbeat.tried_revision,
            "bootId": self._boot_id,
            "seq": heartbeat.generation,
        }
        if heartbeat.completed_actions:
            body["completedActions"] = [
                without_none({"actionId": done.action_id, "error": done.error})
                for done in heartbeat.completed_actions
            ]
        if heartbeat.sample_results:
            body["sampleResults"] = [sample_to_json(result) for result in heartbeat.sample_results]
        return without_none(body), line_counts

    def arrived(self, line_counts: dict[str, int]) -> None:
        """A body has reached the server: its log lines need not be told again."""
        self._lines_told = line_counts

    def _scrape_all(self, reports: Sequence[PipelineReport]) -> dict[str, Counters]:
        """What each child counts, by pipeline; those that do not tell in time are left out."""
        deadline = time.monotonic() + SCRAPES_SECONDS
        found: dict[str, Counters] = {}
        asked = [report for report in reports if report.metrics_port is not None]
        for report in sorted(asked, key=lambda report: report.pipeline_id in self._slow):
            seconds = min(SCRAPE_SECONDS, deadline - time.monotonic())
            assert report.metrics_port is not None
            counters = scrape(report.metrics_port, seconds) if seconds > 0 else None
            if counters is not None:
                found[report.pipeline_id] = counters
        self._slow = {report.pipeline_id for report in asked} - found.keys()
        return found

    def _pipeline(
        self, report: PipelineReport, scraped: Mapping[str, Counters], line_counts: dict[str, int]
    ) -> dict[str, object]:
        told: dict[str, object] = {
            "pipelineId": report.pipeline_id,
            "version": report.version,
            "status": report.status,
            "pid": report.pid,
            "uptimeSeconds": int(report.uptime_seconds) if report.uptime_seconds is not None else None,
            "configChecksum": report.checksum,
            "failedVersion": report.failed_version,
            "failedChecksum": report.failed_checksum,
            "error": report.error,
        }
        if (counters := scraped.get(report.pipeline_id)) is not None:
            told |= counters_to_json(counters)
        count, lines = self._runner.recent_lines(report.pipeline_id)
        line_counts[report.pipeline_id] = count
        if count != self._lines_told.get(report.pipeline_id, 0):
            # All of the last lines, not the new ones alone: the server keeps what it got last.
            told["recentLogs"] = lines
        return without_none(told)


def counters_to_json(counters: Counters) -> dict[str, object]:
    """The counters of one pipeline as a heartbeat tells them."""
    return without_none(
        {
            "eventsIn": counters.events_in,
            "eventsOut": counters.events_out,
            "errorsTotal": counters.errors,
            "bytesIn": counters.bytes_in,
            "bytesOut": counters.bytes_out,
            "eventsDiscarded": counters.discarded_events,
            "utilization": counters.utilization,
            "componentMetrics": [
                _component_to_json(component) for _, component in sorted(counters.components.items())
            ],
        }
    )


def sample_to_json(result: SampleResult) -> dict[str, object]:
    """What was seen of one component, as the server is told."""
    told: dict[str, object] = {"requestId": result.request_id, "componentKey": result.component_key}
    return told | ({"error": result.error} if result.error is not None else {"events": list(result.events)})


def scrape(port: int, seconds: float) -> Counters | None:
    """What the Vector with this metrics port counts; ``None`` where it does not say within ``seconds``."""
    content = _get(port, "/metrics", seconds)
    return parse_metrics(content.decode("utf-8", "replace")) if content is not None else None


def is_healthy(port: int) -> bool:
    """Whether the Vector with this API port says that it is well."""
    return _get(port, "/health", HEALTH_SECONDS) is not None


def running_as() -> str:
    """The user that the agent, and so every Vector of it, runs as."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        # A container's user needs no name.
        return str(os.geteuid())


def without_none(fields: dict[str, object]) -> dict[str, object]:
    """What is not known is left out rather than told as null."""
    return {name: value for name, value in fields.items() if value is not None}


def _component_to_json(component: Component) -> dict[str, object]:
    return {
        "componentId": component.component_id,
        "componentKind": component.kind,
        "receivedEvents": component.received_events,
        "sentEvents": component.sent_events,
        "receivedBytes": component.received_bytes,
        "sentBytes": component.sent_bytes,
        "errorsTotal": component.errors,
        "discardedEvents": component.discarded_events,
    }


class _Impatient(socket.socket):
    """A connection on which reading ends when its time is up, however often a byte comes."""

    deadline = 0.0
    """Monotonic seconds."""

    def recv_into(self, *arguments: Any) -> int:
        self.settimeout(max(0.001, self.deadline - time.monotonic()))
        return super().recv_into(*arguments)


def _get(port: int, path: str, seconds: float) -> bytes | None:
    """A child's answer if it is 200 and whole in time. Without requests, which might ask a proxy."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.sock = connected = _Impatient()
    try:
        connected.deadline = time.monotonic() + seconds
        connected.settimeout(seconds)
        connected.connect(("127.0.0.1", port))
        connection.request("GET", path)
        answer = connection.getresponse()
        content = answer.read(MOST_BYTES)
    except (OSError, http.client.HTTPException) as error:
        log.debug("no answer from 127.0.0.1:%d%s: %s", port, path, error)
        return None
    finally:
        connection.close()
    return content if answer.status == 200 else None
