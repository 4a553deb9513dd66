"""What a node reported of each pipeline beside what it should run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.assembly import NodePlan
from app.models import NodePipeline
from app.node_status import FAILED_STATUSES


@dataclass(frozen=True, slots=True)
class PipelineState:
    """One pipeline on one node: what runs (or ran last), what should, what failed."""

    pipeline_id: str
    name: str
    version: int | None
    """What runs; ``None`` before the node has said so, and where its only version failed."""
    wanted_version: int | None
    """``None``: it should not run there (any more)."""
    status: str
    error: str | None
    failed_version: int | None
    events_in_rate: float | None
    """Events a second between the last two heartbeats."""
    events_out_rate: float | None
    events_in: int | None
    events_out: int | None
    hold: str | None = None
    """Why the wanted version cannot be assembled just now: what runs goes on."""

    @property
    def has_failed(self) -> bool:
        """Whether it has died, or could not be brought to its wanted version."""
        return self.failed_version is not None or self.status in FAILED_STATUSES

    @property
    def is_on_previous(self) -> bool:
        """Whether it runs what it ran before a version that failed."""
        return self.status == "RUNNING" and self.failed_version not in (None, self.version)


def pipeline_states(
    plan: NodePlan, reported: Mapping[str, NodePipeline], names: Mapping[str, str]
) -> list[PipelineState]:
    """What a node reported beside what it should run, by name; what it has not reported yet is ``PENDING``."""
    wanted = {pipeline.pipeline_id: pipeline for pipeline in plan.pipelines}
    states = []
    for pipeline_id in {*wanted, *reported}:
        state, target = reported.get(pipeline_id), wanted.get(pipeline_id)
        states.append(
            PipelineState(
                pipeline_id=pipeline_id,
                name=target.name if target else names[pipeline_id],
                version=_running_version(state) if state else None,
                wanted_version=target.version if target else None,
                status=state.status if state else "PENDING",
                error=state.error if state else None,
                failed_version=state.failed_version if state else None,
                events_in_rate=state.events_in_rate if state else None,
                events_out_rate=state.events_out_rate if state else None,
                events_in=state.events_in if state else None,
                events_out=state.events_out if state else None,
                hold=target.hold if target else None,
            )
        )
    return sorted(states, key=lambda state: (state.name, state.pipeline_id))


def _running_version(state: NodePipeline) -> int | None:
    """What runs.

    Agents report a version also where it failed before it ever ran and nothing was there to go back to. One that
    has crashed did run, and is tried again.
    """
    never_ran = state.status == "FAILED" and state.version == state.failed_version
    return None if never_ran else state.version
