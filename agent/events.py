"""What happened, in the past tense. Threads put these on the queue; only the owning thread reads them."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent.actions import SampleResult
from agent.ledger import ActionRecord
from agent.plan import Memory, PendingAction, Plan, SampleRequest
from agent.protocol import CloseCode
from agent.update import UNKNOWN_STANDING, Standing, Verdict


@dataclass(frozen=True, slots=True)
class Ticked:
    """A deadline has passed."""


@dataclass(frozen=True, slots=True)
class TerminationRequested:
    """The agent was told to end, by SIGTERM or SIGINT."""


@dataclass(frozen=True, slots=True)
class Booted:
    """The agent has read what it remembers of its last life."""

    enrolled: bool
    memory: Memory = field(default_factory=Memory)
    actions: tuple[ActionRecord, ...] = ()
    """Which were taken up."""
    standing: Standing = UNKNOWN_STANDING


@dataclass(frozen=True, slots=True)
class Enrolled:
    """The server has made a node of this machine; the token is stored."""

    node_id: str


@dataclass(frozen=True, slots=True)
class EnrollFailed:
    """No node token was had this time."""

    error: str
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class ConfigFetched:
    """The server answered with a whole plan."""

    generation: int
    plan: Plan
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class ConfigUnchanged:
    """The server answered that the plan is still the last one."""

    generation: int


@dataclass(frozen=True, slots=True)
class FetchFailed:
    """There was no answer, or none that may be acted on."""

    generation: int
    error: str
    unauthorized: bool = False
    retry_after: float | None = None
    answered: bool = False
    """The server lives, and blames the request."""


@dataclass(frozen=True, slots=True)
class HeartbeatSent:
    """The server has taken the report."""

    generation: int


@dataclass(frozen=True, slots=True)
class HeartbeatFailed:
    """The server has not taken the report."""

    generation: int
    error: str
    retry_after: float | None = None
    answered: bool = False
    """The server lives, and blames the request."""


@dataclass(frozen=True, slots=True)
class LinkOpened:
    """The push channel is up."""

    generation: int


@dataclass(frozen=True, slots=True)
class LinkClosed:
    """The push channel is down, or could not be opened."""

    generation: int
    error: str
    code: CloseCode | int | None = None
    reason: str = ""
    unauthorized: bool = False
    unreachable: bool = False
    """No connection was made at all, which says nothing about what the network would do to one."""
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Nudged:
    """The server said ``config_changed``: look."""

    reason: str | None = None
    pipeline_id: str | None = None
    spread_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class PollIntervalPushed:
    """The server set another poll interval."""

    interval_seconds: float


@dataclass(frozen=True, slots=True)
class ActionPushed:
    """The server asks for something to be done once."""

    action: PendingAction


@dataclass(frozen=True, slots=True)
class ActionsKept:
    """It is on disk which actions were taken up; with an ``error``, it is not."""

    error: str | None = None


@dataclass(frozen=True, slots=True)
class UpdateStaged:
    """A new agent lies there, checked, and starts."""

    action_id: str


@dataclass(frozen=True, slots=True)
class UpdateRefused:
    """A new agent could not be had, or is not one to try."""

    action_id: str
    error: str


@dataclass(frozen=True, slots=True)
class TrialBegun:
    """The next life will be the new agent's."""


@dataclass(frozen=True, slots=True)
class TrialEnded:
    """How this life on trial has turned out is on disk; with an ``error``, it is not."""

    verdict: Verdict
    error: str | None = None


@dataclass(frozen=True, slots=True)
class SampleRequested:
    """The server wants to see what flows."""

    request: SampleRequest


@dataclass(frozen=True, slots=True)
class SampleTaken:
    """A tap has ended, with events or with an error."""

    result: SampleResult


@dataclass(frozen=True, slots=True)
class SamplesFailed:
    """These did not arrive; the next heartbeat carries them."""

    results: tuple[SampleResult, ...]


@dataclass(frozen=True, slots=True)
class TapRequested:
    """Somebody wants to watch what a component puts out."""

    request_id: str
    pipeline_id: str
    component_id: str


@dataclass(frozen=True, slots=True)
class TapStopRequested:
    """Nobody watches any more."""

    request_id: str


@dataclass(frozen=True, slots=True)
class TapRefused:
    """The server does not take the events of a live tail."""

    request_id: str
    error: str


@dataclass(frozen=True, slots=True)
class TapEnded:
    """A live tail's process is gone, and its last word was said or given up."""

    request_id: str


@dataclass(frozen=True, slots=True)
class ConfigurationValidated:
    """``vector validate`` found nothing wrong."""

    pipeline_id: str
    checksum: str


@dataclass(frozen=True, slots=True)
class ConfigurationRefused:
    """``vector validate`` refused the configuration."""

    pipeline_id: str
    checksum: str
    error: str


@dataclass(frozen=True, slots=True)
class ValidationFailed:
    """``vector validate`` gave no verdict: it could not be run, or never ended."""

    pipeline_id: str
    checksum: str
    error: str


@dataclass(frozen=True, slots=True)
class ChildLaunched:
    """A child is a process now."""

    pipeline_id: str
    run: int
    pid: int
    api_port: int
    metrics_port: int


@dataclass(frozen=True, slots=True)
class ChildHealthy:
    """A child's API answers that it is well."""

    pipeline_id: str
    run: int


@dataclass(frozen=True, slots=True)
class ChildExited:
    """A child is gone, or never became a process (then ``exit_code`` is ``None``)."""

    pipeline_id: str
    run: int
    exit_code: int | None
    """Negative: the number of the signal that ended it."""
    last_lines: str = ""
    port_taken: bool = False
    """Somebody else listens on a port that was free when it was chosen for this child."""


Event = (
    Ticked
    | TerminationRequested
    | Booted
    | Enrolled
    | EnrollFailed
    | ConfigFetched
    | ConfigUnchanged
    | FetchFailed
    | HeartbeatSent
    | HeartbeatFailed
    | LinkOpened
    | LinkClosed
    | Nudged
    | PollIntervalPushed
    | ActionPushed
    | ActionsKept
    | UpdateStaged
    | UpdateRefused
    | TrialBegun
    | TrialEnded
    | SampleRequested
    | SampleTaken
    | SamplesFailed
    | TapRequested
    | TapStopRequested
    | TapRefused
    | TapEnded
    | ConfigurationValidated
    | ConfigurationRefused
    | ValidationFailed
    | ChildLaunched
    | ChildHealthy
    | ChildExited
)
