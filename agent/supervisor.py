"""All pipelines of this node: one child each, none waiting for another. Pure: it returns actions."""

from __future__ import annotations

import logging
import math
from random import Random

from agent.actions import (
    Action,
    CompletedAction,
    Log,
    PipelineReport,
    RemoveCertificates,
    RemovePipelineFiles,
    SavePlan,
)
from agent.child import ChildState, Timing
from agent.events import (
    ChildExited,
    ChildHealthy,
    ChildLaunched,
    ConfigurationRefused,
    ConfigurationValidated,
    ValidationFailed,
)
from agent.pipeline import Pipeline
from agent.plan import Memory, PendingAction, Plan, difference

SupervisorEvent = (
    ConfigurationValidated
    | ConfigurationRefused
    | ValidationFailed
    | ChildLaunched
    | ChildHealthy
    | ChildExited
)


class Supervisor:
    """Brings what runs to what is wanted, one step at a time and each pipeline on its own."""

    def __init__(self, timing: Timing, random: Random) -> None:
        self._timing = timing
        self._random = random
        self._pipelines: dict[str, Pipeline] = {}
        self._revision: str | None = None
        self._stopping = False
        self._restarts: dict[str, str] = {}
        """Action ids of restarts under way, by pipeline."""
        self._completed: list[CompletedAction] = []
        self._reported: tuple[object, ...] = ()
        self._saved = Memory()
        self._certificates: frozenset[str] = frozenset()
        """Base names of the certificate files that pipelines here need."""

    def remember(self, memory: Memory, now: float) -> list[Action]:
        """Run again what this node last ran, before the server has been asked."""
        crashes = dict(memory.crashes)
        for spec in memory.pipelines:
            id = spec.pipeline_id
            self._pipeline(id).recall(
                spec, now, is_proved=id not in memory.unproved, crashes=crashes.get(id, 0)
            )
        for entry in memory.declined:
            if entry.pipeline_id in self._pipelines:
                self._pipelines[entry.pipeline_id].remember(entry, now)
        self._saved = self._memory()
        return self._advance(now)

    def apply(self, plan: Plan, now: float) -> list[Action]:
        """Take the difference between what was wanted so far and ``plan``; the rest stays untouched."""
        before = {id: p.wanted for id, p in self._pipelines.items() if p.wanted is not None}
        change = difference(before, plan.pipelines)
        actions: list[Action] = []
        if change.start or change.restart or change.relabel or change.stop or plan.revision != self._revision:
            actions.append(
                Log(
                    logging.INFO,
                    f"plan revision={plan.revision} start={','.join(change.start) or '-'} "
                    f"restart={','.join(change.restart) or '-'} relabel={','.join(change.relabel) or '-'} "
                    f"stop={','.join(change.stop) or '-'} hold={','.join(sorted(plan.held)) or '-'}",
                )
            )
        self._revision = plan.revision
        for id in change.stop:
            self._pipelines[id].want(None)
        for id, spec in plan.pipelines.items():
            self._pipeline(id).want(spec, held=id in plan.held)
        return actions + self._advance(now)

    def handle(self, event: SupervisorEvent, now: float) -> list[Action]:
        """Take note of what happened to a child or a validation, and do what follows from it."""
        pipeline = self._pipelines.get(event.pipeline_id)
        if pipeline is None:
            return []
        actions: list[Action] = []
        before = pipeline.child.state
        match event:
            case ConfigurationValidated():
                pipeline.validated(event.checksum)
            case ConfigurationRefused():
                actions.append(_warning(event.pipeline_id, "refused by validation", event.error))
                pipeline.refused(event.checksum, event.error, now)
            case ValidationFailed():
                actions.append(_warning(event.pipeline_id, "could not be validated", event.error))
                pipeline.validation_failed(event.checksum, event.error, now)
            case ChildLaunched():
                actions += pipeline.child.launched(
                    event.run, event.pid, event.api_port, event.metrics_port, now
                )
            case ChildHealthy():
                pipeline.child.healthy(event.run, now)
            case ChildExited():
                pipeline.child_exited(event, now)
        if (failure := pipeline.failure()) is not None:
            self._finish_restart(pipeline, failure)
        return actions + self._note(pipeline, before) + self._advance(now)

    def tick(self, now: float) -> list[Action]:
        """Do what passed deadlines ask for."""
        actions: list[Action] = []
        for pipeline in list(self._pipelines.values()):
            before = pipeline.child.state
            actions += pipeline.tick(now)
            actions += self._note(pipeline, before)
        return actions + self._advance(now)

    def restart(self, action: PendingAction, now: float) -> list[Action]:
        """Start one pipeline anew, because an operator has asked."""
        pipeline = self._pipelines.get(action.pipeline_id or "")
        if pipeline is None or pipeline.wanted is None:
            error = f"cannot restart pipeline {action.pipeline_id}: this node does not run it"
            self._completed.append(CompletedAction(action.action_id, error))
            return []
        self._finish_restart(pipeline, "overtaken by another restart")
        self._restarts[pipeline.pipeline_id] = action.action_id
        pipeline.restart()
        return self._advance(now)

    def stop_all(self, now: float) -> list[Action]:
        """End every child, all at once; what is wanted stays on disk as it is."""
        self._stopping = True
        return self._advance(now)

    def is_idle(self) -> bool:
        """Whether no child is left."""
        return not any(pipeline.child.has_process for pipeline in self._pipelines.values())

    def next_deadline(self) -> float:
        """When :meth:`tick` has something to do; infinity when nothing is awaited."""
        if self._stopping:
            return min((p.child.next_deadline() for p in self._pipelines.values()), default=math.inf)
        return min((p.next_deadline() for p in self._pipelines.values()), default=math.inf)

    def wanted(self) -> frozenset[str]:
        """Ids of the pipelines that are to run."""
        return frozenset(id for id, pipeline in self._pipelines.items() if pipeline.wanted is not None)

    def running(self) -> frozenset[str]:
        """Ids of the pipelines whose child runs."""
        return frozenset(
            id for id, pipeline in self._pipelines.items() if pipeline.child.state is ChildState.RUNNING
        )

    def api_port(self, pipeline_id: str) -> int | None:
        """Where the API of the pipeline's child is; ``None`` while it does not run."""
        pipeline = self._pipelines.get(pipeline_id)
        return pipeline.child.api_port if pipeline is not None else None

    def reports(self, now: float) -> tuple[PipelineReport, ...]:
        """How every pipeline is."""
        reports = (pipeline.report(now) for _, pipeline in sorted(self._pipelines.items()))
        return tuple(report for report in reports if report is not None)

    def running_revision(self) -> str | None:
        """The wanted revision, if all of it is what runs and nothing else does; else ``None``."""
        if all(pipeline.runs_what_is_wanted() for pipeline in self._pipelines.values()):
            return self._revision
        return None

    def tried_revision(self) -> str | None:
        """The wanted revision, if it does not run whole although all of it was tried; else ``None``."""
        pipelines = self._pipelines.values()
        if self.running_revision() is None and all(pipeline.has_outcome() for pipeline in pipelines):
            return self._revision
        return None

    def take_completed(self) -> list[CompletedAction]:
        """The restarts that have ended since this was last asked."""
        completed, self._completed = self._completed, []
        return completed

    def has_changed(self, now: float) -> bool:
        """Whether something that a heartbeat tells is other than when this was last asked."""
        reported: tuple[object, ...] = tuple(
            (r.pipeline_id, r.version, r.status, r.checksum, r.pid, r.failed_checksum, r.error)
            for r in self.reports(now)
        )
        reported += (self.running_revision(), self.tried_revision())
        changed, self._reported = reported != self._reported, reported
        return changed

    def _pipeline(self, pipeline_id: str) -> Pipeline:
        if pipeline_id not in self._pipelines:
            self._pipelines[pipeline_id] = Pipeline(pipeline_id, self._timing, self._random)
        return self._pipelines[pipeline_id]

    def _advance(self, now: float) -> list[Action]:
        actions: list[Action] = []
        for id, pipeline in list(self._pipelines.items()):
            before = pipeline.child.state
            actions += pipeline.child.stop(now) if self._stopping else pipeline.advance(now)
            actions += self._note(pipeline, before)
            if pipeline.wanted is None and not pipeline.child.has_process and not self._stopping:
                del self._pipelines[id]
                actions.append(RemovePipelineFiles(id))
                self._finish_restart(pipeline, "the pipeline was stopped")
        memory = self._memory()
        if memory != self._saved and not self._stopping:
            self._saved = memory
            actions.append(SavePlan(memory))
        return actions + self._tidy_certificates()

    def _tidy_certificates(self) -> list[Action]:
        """Have the files removed that nothing needs any more: private keys may be among them."""
        needed = frozenset(name for p in self._pipelines.values() for name in p.certificate_names())
        gone, self._certificates = self._certificates - needed, needed
        return [RemoveCertificates(tuple(sorted(gone)))] if gone else []

    def _note(self, pipeline: Pipeline, before: ChildState) -> list[Action]:
        """Log a change of state, and keep what has proved good."""
        child = pipeline.child
        actions: list[Action] = []
        if child.state is not before:
            spec = child.spec or pipeline.wanted or pipeline.good
            version = spec.version if spec is not None else "-"
            line = f"child pipeline={pipeline.pipeline_id} version={version} state={child.state}"
            if child.pid is not None:
                line += f" pid={child.pid}"
            if child.state is ChildState.BACKOFF:
                line += f" error={pipeline.failure()!r}"
            level = logging.WARNING if child.state is ChildState.BACKOFF else logging.INFO
            actions.append(Log(level, line))
        if child.state is ChildState.RUNNING:
            pipeline.settle()
            if not pipeline.restart_wanted:
                self._finish_restart(pipeline, None)
        return actions

    def _finish_restart(self, pipeline: Pipeline, error: str | None) -> None:
        action_id = self._restarts.get(pipeline.pipeline_id)
        if action_id is not None and not (error is None and pipeline.restart_wanted):
            del self._restarts[pipeline.pipeline_id]
            self._completed.append(CompletedAction(action_id, error))

    def _memory(self) -> Memory:
        """What a later life of the agent must know."""
        kept = [pipeline for _, pipeline in sorted(self._pipelines.items()) if pipeline.wanted is not None]
        # One that was never seen to end either way is none that this node ran.
        unproved = {p.pipeline_id for p in kept if p.good is None and p.unproved is not None and p.tried}
        specs = [p.good or p.unproved for p in kept if p.good is not None or p.pipeline_id in unproved]
        return Memory(
            pipelines=tuple(spec for spec in specs if spec is not None),
            # What validation refused is asked about again after a boot: that disturbs nothing.
            declined=tuple(d for p in kept for d in p.declined.values() if not d.refused),
            unproved=tuple(sorted(unproved)),
            crashes=tuple((p.pipeline_id, p.child.crashes) for p in kept if p.child.crashes),
        )


def _warning(pipeline_id: str, what: str, error: str) -> Log:
    return Log(logging.WARNING, f"configuration {what} pipeline={pipeline_id} error={error!r}")
