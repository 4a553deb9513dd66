"""How a node is: whether it answers, and whether it follows what it was told. Judged from rows already read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import assembly
from app.assembly import EnvironmentPlan, NodePlan
from app.database import snapshot
from app.models import NodePipeline
from app.server_settings import Intervals
from app.standings import is_behind

MISSED_HEARTBEATS = 3
STREAM_HEARTBEATS = 2.5
"""So many heartbeat intervals may pass without a request before an open event stream proves nothing."""
LEAST_SILENCE = timedelta(seconds=45)
CHUNK = 1000
"""Ids in one query."""
FAILED_STATUSES = ("FAILED", "CRASHED", "CRASH_LOOP")
"""Of a pipeline on a node."""


class NodeStatus(StrEnum):
    """Whether a node answers."""

    UNKNOWN = "UNKNOWN"
    """It has not sent a heartbeat yet."""
    UNREACHABLE = "UNREACHABLE"
    HEALTHY = "HEALTHY"


class SeenRow(Protocol):
    """What is read of a node to judge whether it answers."""

    revoked_at: datetime | None
    last_seen_at: datetime | None
    last_heartbeat_at: datetime | None


class StandingRow(Protocol):
    """What is read of a node to judge it."""

    id: str
    environment_id: str
    nonce: str
    selectable_agent_labels: list[str]
    operator_labels: dict[str, str]
    agent_labels: dict[str, str]
    maintenance_mode: bool
    revoked_at: datetime | None
    running_revision: str | None
    tried_revision: str | None


@dataclass(frozen=True, slots=True)
class Clock:
    """What time it is, and how often nodes should be heard from."""

    intervals: Intervals
    now: datetime

    def silent_before(self, connected: bool | None) -> datetime:
        """A node last seen earlier than this has missed three heartbeats.

        While nobody knows who is connected, the longer interval of those who are may be the one that applies.
        """
        idle = self.intervals.idle_heartbeat_interval_ms
        milliseconds = self.intervals.heartbeat_interval_ms if connected is False else idle
        return self.now - max(LEAST_SILENCE, MISSED_HEARTBEATS * timedelta(milliseconds=milliseconds))

    @property
    def stream_silent_before(self) -> datetime:
        """A node on an event stream whose last request is older than this does not count as connected."""
        return self.now - STREAM_HEARTBEATS * timedelta(
            milliseconds=self.intervals.idle_heartbeat_interval_ms
        )

    def status(self, node: SeenRow, connected: bool | None) -> NodeStatus:
        """The status of a *node* that is *connected* or not (``None``: unknown)."""
        if node.last_heartbeat_at is None:
            return NodeStatus.UNKNOWN
        seen = node.last_seen_at
        if connected or (seen is not None and seen >= self.silent_before(connected)):
            return NodeStatus.HEALTHY
        return NodeStatus.UNREACHABLE


class Plans:
    """What each of some nodes must run; one look at the database for all that is not in the cache."""

    def __init__(self, nodes: Iterable[StandingRow]) -> None:
        self._plans: dict[str, EnvironmentPlan] = {}
        nonces = {node.environment_id: node.nonce for node in nodes}
        for environment_id, nonce in nonces.items():
            self._plans[environment_id] = assembly.wanted_for(environment_id, nonce)

    def of(self, node: StandingRow) -> NodePlan:
        """The plan of one of the nodes."""
        labels = assembly.selectable_labels(
            node.operator_labels, node.agent_labels, node.selectable_agent_labels
        )
        return self._plans[node.environment_id].for_node(labels, node.maintenance_mode)

    def is_behind(self, node: StandingRow, versions: Mapping[str, int | None]) -> bool:
        """Whether the node has yet to do what it was told; *versions* is what it last reported per pipeline."""
        if node.revoked_at is not None:
            return False
        return is_behind(self.of(node), node.running_revision, node.tried_revision, dict(versions))


def reported_versions(nodes: Iterable[StandingRow]) -> dict[str, dict[str, int | None]]:
    """By node and pipeline, the versions reported by those of *nodes* that report no revision."""
    silent = [node.id for node in nodes if node.running_revision is None and node.tried_revision is None]
    versions: dict[str, dict[str, int | None]] = {node_id: {} for node_id in silent}

    def read(session: Session) -> None:
        for start in range(0, len(silent), CHUNK):
            query = select(NodePipeline.node_id, NodePipeline.pipeline_id, NodePipeline.version).where(
                NodePipeline.node_id.in_(silent[start : start + CHUNK])
            )
            for node_id, pipeline_id, version in session.execute(query):
                versions[node_id][pipeline_id] = version

    if silent:
        snapshot(read)
    return versions
