"""What the components of a pipeline do, a second: worked out from two heartbeats, and summed over its nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.models import NodePipeline

MAX_NODES = 500
"""Nodes whose components are summed at each look; a larger fleet is shown by as many of its nodes."""

_RATED = {
    "receivedEvents": "receivedRate",
    "sentEvents": "sentRate",
    "errorsTotal": "errorsRate",
    "discardedEvents": "discardedRate",
}


def rate(before: int | None, now: int | None, seconds: float) -> float | None:
    """Events a second since the last heartbeat; a counter that fell has started again from 0."""
    if now is None or before is None or seconds <= 0.1:
        return None
    return round((now - before if now >= before else now) / seconds, 3)


def with_rates(
    before: Iterable[Mapping[str, Any]], now: list[dict[str, Any]], seconds: float
) -> list[dict[str, Any]]:
    """The component metrics of a heartbeat, each with its rates since those *before* it (as kept)."""
    known = {each.get("componentId"): each for each in before}
    for component in now:
        last = known.get(component["componentId"], {})
        for counter, name in _RATED.items():
            found = rate(last.get(counter), component.get(counter), seconds)
            if found is not None:
                component[name] = found
    return now


@dataclass(slots=True)
class ComponentRates:
    """One component on all nodes that were summed. ``None``: no node has said so twice."""

    received: float | None = None
    """Events a second."""
    sent: float | None = None
    errors: int = 0
    """Since the processes that run began."""
    errors_rate: float | None = None
    discarded: int = 0
    discarded_rate: float | None = None


@dataclass(frozen=True, slots=True)
class Throughput:
    """The components of a pipeline, by name, on *nodes* of the *running* that were heard of lately."""

    components: dict[str, ComponentRates]
    nodes: int
    running: int


def of_pipeline(session: Session, pipeline_id: str, version: int, heard_since: datetime) -> Throughput:
    """What the nodes say that run this version and reported after *heard_since*."""
    chosen = (
        NodePipeline.pipeline_id == pipeline_id,
        NodePipeline.version == version,
        NodePipeline.status == "RUNNING",
        NodePipeline.reported_at >= heard_since,
    )
    running = session.scalar(select(func.count()).where(*chosen)) or 0
    rows = session.scalars(
        select(NodePipeline.component_metrics).where(*chosen).order_by(NodePipeline.node_id).limit(MAX_NODES)
    ).all()
    return Throughput(_summed(rows), len(rows), running)


def _summed(rows: Iterable[list[dict[str, Any]] | None]) -> dict[str, ComponentRates]:
    components: dict[str, ComponentRates] = {}
    for metrics in rows:
        for each in metrics or ():
            total = components.setdefault(each["componentId"], ComponentRates())
            total.received = _plus(total.received, each.get("receivedRate"))
            total.sent = _plus(total.sent, each.get("sentRate"))
            total.errors_rate = _plus(total.errors_rate, each.get("errorsRate"))
            total.discarded_rate = _plus(total.discarded_rate, each.get("discardedRate"))
            total.errors += each.get("errorsTotal") or 0
            total.discarded += each.get("discardedEvents") or 0
    return components


def _plus(total: float | None, more: float | None) -> float | None:
    return total if more is None else (total or 0.0) + more
