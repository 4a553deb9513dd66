"""What to do, in the imperative. The pure parts return these; the loop performs them in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agent.ledger import ActionRecord
from agent.plan import Memory, PipelineSpec
from agent.protocol import Transport
from agent.update import Trial, Verdict, Wanted


@dataclass(frozen=True, slots=True)
class Log:
    """Write one line. An action, so that a test can see which line followed from what."""

    level: int
    """Of the logging module."""
    line: str


@dataclass(frozen=True, slots=True)
class Enroll:
    """Trade the enrollment token for a node token."""


@dataclass(frozen=True, slots=True)
class FetchConfig:
    """Ask for the plan; the result carries ``generation``."""

    generation: int
    revision: str | None
    """What runs, or was tried in vain; told to the server."""
    etag: str | None
    """Of the last answer that was acted on."""


@dataclass(frozen=True, slots=True)
class AbandonFetch:
    """Cut off a fetch that has had its time."""

    generation: int


@dataclass(frozen=True, slots=True)
class OpenLink:
    """Open the push channel; the results carry ``generation``."""

    generation: int
    url: str
    revision: str | None
    transport: Transport = Transport.WS


@dataclass(frozen=True, slots=True)
class CloseLink:
    """Close the push channel."""

    generation: int


@dataclass(frozen=True, slots=True)
class PipelineReport:
    """How one pipeline is; the counters are added where the report is sent."""

    pipeline_id: str
    version: int
    status: str
    checksum: str | None = None
    pid: int | None = None
    uptime_seconds: float | None = None
    metrics_port: int | None = None
    failed_version: int | None = None
    failed_checksum: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """How the agent itself is: ``agentHealth`` on the wire."""

    poll_errors: int
    push_reconnects: int
    heartbeat_errors: int
    push_connected: bool
    uptime_seconds: float


@dataclass(frozen=True, slots=True)
class CompletedAction:
    """An action that was done, or could not be."""

    action_id: str
    error: str | None = None


@dataclass(frozen=True, slots=True)
class SampleResult:
    """What is said about one component of a sample request."""

    request_id: str
    component_key: str
    error: str | None = None
    events: tuple[Any, ...] = ()
    """JSON values; without an ``error`` there is at least one."""
    size: int = 0
    """Of the events in bytes, about."""


@dataclass(frozen=True, slots=True)
class SendHeartbeat:
    """Report; the result carries ``generation``."""

    generation: int
    pipelines: tuple[PipelineReport, ...]
    running_revision: str | None
    tried_revision: str | None
    health: Health
    completed_actions: tuple[CompletedAction, ...] = ()
    sample_results: tuple[SampleResult, ...] = ()
    is_on_trial: bool = False
    """This version was not accepted yet."""


@dataclass(frozen=True, slots=True)
class AbandonHeartbeat:
    """Cut off a report that has had its time."""

    generation: int


@dataclass(frozen=True, slots=True)
class TakeSample:
    """Look at some events of one component with ``vector tap``; becomes SampleTaken."""

    request_id: str
    component_key: str
    api_port: int
    limit: int
    of_inputs: bool = False


@dataclass(frozen=True, slots=True)
class PostSamples:
    """Tell the server what came of sample requests."""

    results: tuple[SampleResult, ...]


@dataclass(frozen=True, slots=True)
class StartTap:
    """Post the events of one component as they come; becomes TapEnded, before it maybe TapRefused."""

    request_id: str
    pipeline_id: str
    component_id: str
    api_port: int
    seconds: float
    """It is over after these at the latest."""


@dataclass(frozen=True, slots=True)
class StopTap:
    """End a live tail, and tell the server why."""

    request_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class RefuseTap:
    """Tell the server that there will be no live tail, and why."""

    request_id: str
    pipeline_id: str
    component_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class SavePlan:
    """Keep on disk what this node runs, for a boot while the server is away."""

    memory: Memory


@dataclass(frozen=True, slots=True)
class ValidateConfiguration:
    """Let Vector say whether it would take this configuration, touching nothing that runs."""

    spec: PipelineSpec


@dataclass(frozen=True, slots=True)
class StartChild:
    """Write the files of one pipeline and start its Vector."""

    spec: PipelineSpec
    run: int


@dataclass(frozen=True, slots=True)
class ProbeChild:
    """Ask a child's API until it is well or gone."""

    pipeline_id: str
    run: int
    api_port: int


@dataclass(frozen=True, slots=True)
class TerminateChild:
    """SIGTERM: finish and flush."""

    pipeline_id: str
    run: int


@dataclass(frozen=True, slots=True)
class KillChild:
    """SIGKILL, to the whole process group."""

    pipeline_id: str
    run: int


@dataclass(frozen=True, slots=True)
class RemovePipelineFiles:
    """A pipeline is no longer wanted and its child is gone."""

    pipeline_id: str


@dataclass(frozen=True, slots=True)
class RemoveCertificates:
    """No pipeline needs these files any more."""

    base_names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KeepActions:
    """Keep on disk which actions were taken up; becomes ActionsKept."""

    records: tuple[ActionRecord, ...]


@dataclass(frozen=True, slots=True)
class StageUpdate:
    """Fetch a new agent, check it, and lay it beside what runs; becomes UpdateStaged or UpdateRefused."""

    wanted: Wanted


@dataclass(frozen=True, slots=True)
class BeginTrial:
    """Have the next life of the agent be the new file's; becomes TrialBegun or UpdateRefused."""

    trial: Trial


@dataclass(frozen=True, slots=True)
class ExtendTrial:
    """Have the starter wait longer."""

    seconds: float
    """Since this life began."""


@dataclass(frozen=True, slots=True)
class EndTrial:
    """Keep on disk how this life on trial has turned out; becomes TrialEnded."""

    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Exit:
    """All children are gone: end the process."""

    is_restart: bool = False
    """And begin a new life."""


Action = (
    Log
    | Enroll
    | FetchConfig
    | AbandonFetch
    | OpenLink
    | CloseLink
    | SendHeartbeat
    | AbandonHeartbeat
    | TakeSample
    | PostSamples
    | StartTap
    | StopTap
    | RefuseTap
    | SavePlan
    | ValidateConfiguration
    | StartChild
    | ProbeChild
    | TerminateChild
    | KillChild
    | RemovePipelineFiles
    | KeepActions
    | StageUpdate
    | BeginTrial
    | ExtendTrial
    | EndTrial
    | RemoveCertificates
    | Exit
)
