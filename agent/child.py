"""One child process of one pipeline, as a state machine that one can draw. Pure: it returns actions.

::

               start                settled
    STOPPED ----------> STARTING ----------> RUNNING
       ^                |  |   ^                | |
       |          exited|  |   |start     exited| |
       |                v  |   |                | |
       |  stop       BACKOFF<--|----------------+ |
       |<---------------+  |                      |
       |                   |stop              stop|
       |   exited          v                      |
       +-------------- TERMINATING <--------------+
       |                   |grace elapsed
       |   exited          v
       +---------------- KILLING
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from agent.actions import Action, KillChild, ProbeChild, StartChild, TerminateChild
from agent.backoff import Backoff
from agent.plan import PipelineSpec


class ChildState(StrEnum):
    """Where a child is in its life."""

    STOPPED = "STOPPED"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    TERMINATING = "TERMINATING"
    KILLING = "KILLING"
    BACKOFF = "BACKOFF"


class Happening(StrEnum):
    """What can move a child from one state to another."""

    START = "start"
    SETTLED = "settled"
    EXITED = "exited"
    STOP = "stop"
    GRACE_ELAPSED = "grace_elapsed"


ARROWS: dict[tuple[ChildState, Happening], ChildState] = {
    (ChildState.STOPPED, Happening.START): ChildState.STARTING,
    (ChildState.STARTING, Happening.SETTLED): ChildState.RUNNING,
    (ChildState.STARTING, Happening.EXITED): ChildState.BACKOFF,
    (ChildState.STARTING, Happening.STOP): ChildState.TERMINATING,
    (ChildState.RUNNING, Happening.EXITED): ChildState.BACKOFF,
    (ChildState.RUNNING, Happening.STOP): ChildState.TERMINATING,
    (ChildState.TERMINATING, Happening.GRACE_ELAPSED): ChildState.KILLING,
    (ChildState.TERMINATING, Happening.EXITED): ChildState.STOPPED,
    (ChildState.KILLING, Happening.EXITED): ChildState.STOPPED,
    (ChildState.BACKOFF, Happening.START): ChildState.STARTING,
    (ChildState.BACKOFF, Happening.STOP): ChildState.STOPPED,
}

HAS_PROCESS = frozenset({ChildState.STARTING, ChildState.RUNNING, ChildState.TERMINATING, ChildState.KILLING})
CRASHES_OF_A_LOOP = 3
"""So many crashes without a stable while between them are called a crash loop."""
MOST_CRASHES = 8
"""After so many the delay grows no more."""


@dataclass(frozen=True, slots=True)
class Timing:
    """The delays of a child's life; seconds."""

    settle: float = 2.0
    """A child counts as running once it has stayed up so long and its API says that it is well."""
    health: float = 60.0
    """A child that has not said so by then is taken for failed."""
    grace: float = 30.0
    """Between SIGTERM and SIGKILL."""
    first_crash_delay: float = 1.0
    longest_crash_delay: float = 60.0
    forgive: float = 60.0
    """Crashes are forgotten once a child has run so long."""


class Child:
    """The process of one pipeline: at most one at a time, each start with a new ``run`` number."""

    def __init__(self, pipeline_id: str, timing: Timing, random: Random) -> None:
        self.pipeline_id = pipeline_id
        self.state = ChildState.STOPPED
        self.spec: PipelineSpec | None = None
        """What the process was started with; ``None`` without one."""
        self.run = 0
        self.pid: int | None = None
        self.metrics_port: int | None = None
        self.api_port: int | None = None
        self.started_at = 0.0
        self.never_healthy = False
        """Its API did not say in time that it is well, so it is being stopped."""
        self._timing = timing
        self._healthy = False
        self._deadline = math.inf
        self._backoff = Backoff(timing.first_crash_delay, timing.longest_crash_delay, random, floor=0.5)

    @property
    def has_process(self) -> bool:
        """Whether something must be stopped before something else may start."""
        return self.state in HAS_PROCESS

    @property
    def crashes(self) -> int:
        """How often it has died without a stable while since; more than MOST_CRASHES make no difference."""
        return min(self._backoff.failures, MOST_CRASHES)

    @property
    def is_crash_loop(self) -> bool:
        """Whether it has died so often lately that this deserves its name."""
        return self._backoff.failures >= CRASHES_OF_A_LOOP

    def next_deadline(self) -> float:
        """When :meth:`tick` has something to do; infinity when nothing is awaited."""
        return self._deadline

    def start(self, spec: PipelineSpec, now: float) -> list[Action]:
        """Start ``spec``; only without a process."""
        self._move(Happening.START)
        self.run += 1
        self.spec, self.started_at = spec, now
        self.pid = self.metrics_port = self.api_port = None
        self._healthy = self.never_healthy = False
        self._deadline = now + self._timing.health
        return [StartChild(spec, self.run)]

    def launched(self, run: int, pid: int, api_port: int, metrics_port: int, now: float) -> list[Action]:
        """The process exists. Says nothing yet about whether it will stay."""
        if run != self.run or not self.has_process:
            return []
        self.pid, self.metrics_port, self.api_port = pid, metrics_port, api_port
        if self.state is not ChildState.STARTING:
            return []
        self.started_at = now
        self._deadline = now + self._timing.health
        return [ProbeChild(self.pipeline_id, run, api_port)]

    def healthy(self, run: int, now: float) -> None:
        """Its API says that it is well; it counts as running once it has also stayed up long enough."""
        if run == self.run and self.state is ChildState.STARTING:
            self._healthy = True
            self._deadline = self.started_at + self._timing.settle
            self.tick(now)

    def exited(self, run: int, now: float, *, is_crash: bool) -> bool:
        """The process is gone; false if that is old news. After a crash the next start has to wait."""
        if run != self.run or not self.has_process:
            return False
        self._move(Happening.EXITED)
        self.pid = self.metrics_port = self.api_port = None
        self._deadline = math.inf
        if is_crash:
            delay = self._backoff.next_delay()
            if self.state is ChildState.BACKOFF:
                self._deadline = now + delay
        if self.state is ChildState.STOPPED:
            self.spec = None
        return True

    def stop(self, now: float) -> list[Action]:
        """End the process, if there is one; never waits for it."""
        if (self.state, Happening.STOP) not in ARROWS:
            return []
        self._move(Happening.STOP)
        if self.state is ChildState.STOPPED:
            self.spec = None
            self._deadline = math.inf
            return []
        self._deadline = now + self._timing.grace
        return [TerminateChild(self.pipeline_id, self.run)]

    def may_start(self, now: float) -> bool:
        """Whether nothing runs and no crash asks for patience."""
        # Infinity: no patience left to have.
        return not self.has_process and (now >= self._deadline or self._deadline == math.inf)

    def remember_crashes(self, crashes: int, now: float) -> None:
        """It died so often in an earlier life of the agent: a new one is no reason to hurry."""
        self._backoff.failures = max(0, crashes - 1)
        self._deadline = now + self._backoff.next_delay()

    def forgive(self) -> None:
        """Forget earlier crashes: what comes next is something else."""
        self._backoff.reset()
        if not self.has_process:
            self._deadline = math.inf

    def tick(self, now: float) -> list[Action]:
        """Do what a passed deadline asks for."""
        if now < self._deadline:
            return []
        if self.state is ChildState.STARTING:
            if not self._healthy:
                self.never_healthy = True
                return self.stop(now)
            self._move(Happening.SETTLED)
            self._deadline = now + self._timing.forgive
        elif self.state is ChildState.RUNNING:
            self._backoff.reset()
            self._deadline = math.inf
        elif self.state is ChildState.TERMINATING:
            self._move(Happening.GRACE_ELAPSED)
            self._deadline = math.inf
            return [KillChild(self.pipeline_id, self.run)]
        else:
            self._deadline = math.inf
        return []

    def _move(self, happening: Happening) -> None:
        try:
            self.state = ARROWS[self.state, happening]
        except KeyError:
            raise AssertionError(
                f"no arrow {happening} leaves {self.state} of pipeline {self.pipeline_id}"
            ) from None
