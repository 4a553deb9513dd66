"""One pipeline on this node: what is wanted of it, what runs, what failed, and so what to do next. Pure."""

from __future__ import annotations

import math
from random import Random

from agent.actions import Action, PipelineReport, ValidateConfiguration
from agent.backoff import Backoff
from agent.child import Child, ChildState, Timing
from agent.events import ChildExited
from agent.plan import Declined, PipelineSpec
from agent.protocol import PipelineStatus

EARLY_DEATH_DELAYS = (300.0, 900.0, 3600.0)
"""Seconds until a configuration whose child died early is tried again; the last one repeats."""
DECLINED_KEPT = 8
"""Failed checksums remembered per pipeline: a deploy and a rollback in turn stay remembered."""
PORT_RETRIES = 3
"""How often in a row a port may be snatched from a starting child before that counts as a crash."""


class Pipeline:
    """Decides level by level: whatever happened, :meth:`advance` compares what is with what should be."""

    def __init__(self, pipeline_id: str, timing: Timing, random: Random) -> None:
        self.pipeline_id = pipeline_id
        self.wanted: PipelineSpec | None = None
        """``None``: it must stop, and be forgotten."""
        self.held = False
        self.good: PipelineSpec | None = None
        """The last that has run here; what it goes back to when another fails."""
        self.child = Child(pipeline_id, timing, random)
        self.tried: str | None = None
        """The last checksum that has run, or failed to: nothing is gained by another nudge."""
        self.declined: dict[str, Declined] = {}
        self.error: str | None = None
        """Why it does not run, when it does not."""
        self.unasked: str | None = None
        """Why Vector could not be asked about the configuration that is wanted."""
        self.restart_wanted = False
        self.unproved: PipelineSpec | None = None
        """What was started here and has not come to run, while there is nothing good: no place to go back to."""
        self._random = random
        self._started: str | None = None
        """The checksum that was last started."""
        self._retry_at: dict[str, float] = {}
        self._validated: str | None = None
        self._validating: str | None = None
        self._validate_at = math.inf
        self._validation_backoff = Backoff(1.0, 60.0, random, floor=0.5)
        self._ports_snatched = 0

    def want(self, spec: PipelineSpec | None, *, held: bool = False) -> None:
        """Take note of what the server wants."""
        if spec is None or self.wanted is None or spec.checksum != self.wanted.checksum:
            self._validation_backoff.reset()
            self._validate_at = math.inf
            self.error = self.unasked = None
        self.wanted, self.held = spec, held
        if self.good is not None and spec is not None and spec.checksum == self.good.checksum and not held:
            self.good = spec

    def recall(self, spec: PipelineSpec, now: float, *, is_proved: bool, crashes: int) -> None:
        """Take up what an earlier life of the agent ran, or tried to."""
        if is_proved:
            self.good = spec
        else:
            self.unproved, self.tried = spec, spec.checksum
        self._started = spec.checksum
        if crashes:
            self.child.remember_crashes(crashes, now)
        self.want(spec)

    def remember(self, declined: Declined, now: float) -> None:
        """Decline a checksum that failed in an earlier life of the agent."""
        self.declined[declined.checksum] = declined
        self._retry_at[declined.checksum] = now + self._early_death_delay(declined.attempts)

    def target(self, now: float) -> PipelineSpec | None:
        """What ought to run now; ``None`` for nothing."""
        wanted = self.wanted
        if wanted is None:
            return None
        if self.held:
            # The entry of a held pipeline lacks its secrets: only what has run here may go on or come back.
            return self.child.spec or self.good
        if self._is_declined(wanted.checksum, now):
            return self.good
        return wanted

    def advance(self, now: float) -> list[Action]:
        """The next step from what is to what should be; nothing if there is none or it must wait."""
        target, child = self.target(now), self.child
        if target is None:
            return child.stop(now)
        if self.wanted is not None and target is self.wanted and target.checksum in self._retry_at:
            # Its time has come; from here on only a new failure sets a time again.
            self._retry_at[target.checksum] = -math.inf
        if child.spec is not None and child.spec.checksum == target.checksum and not self.restart_wanted:
            if child.has_process:
                if child.state in (ChildState.STARTING, ChildState.RUNNING):
                    child.spec = target
                return []
        elif not self._may_replace(target):
            return self._validate(target, now) + self._keep_good(now)
        if child.has_process:
            return child.stop(now)
        actions = self._start(target, now)
        if actions:
            self.restart_wanted = False
        return actions

    def _keep_good(self, now: float) -> list[Action]:
        """Until a verdict has come, what is good must not stay down for having died just now."""
        is_down = self.child.state is ChildState.BACKOFF or (
            self.unasked is not None and not self.child.has_process
        )
        return self._start(self.good, now) if is_down and self.good is not None else []

    def _start(self, target: PipelineSpec, now: float) -> list[Action]:
        child = self.child
        if self._started not in (None, target.checksum):
            # The crashes were another configuration's.
            child.forgive()
        if not child.may_start(now):
            return []
        self._started = target.checksum
        self.unproved = target if self.good is None else None
        return child.start(target, now)

    def tick(self, now: float) -> list[Action]:
        """Do what a passed deadline asks for."""
        actions = self.child.tick(now)
        if now >= self._validate_at:
            self._validate_at = math.inf
        return actions

    def settle(self) -> bool:
        """Take note of a child that has come to run; true if that is news."""
        child = self.child
        if child.state is not ChildState.RUNNING or child.spec is None:
            return False
        if self.good is child.spec and self.error is None:
            return False
        is_news = self.good is None or self.good.checksum != child.spec.checksum or self.error is not None
        self.good, self.tried, self.error = child.spec, child.spec.checksum, None
        self.unproved = None
        self._ports_snatched = 0
        self.declined.pop(child.spec.checksum, None)
        self._retry_at.pop(child.spec.checksum, None)
        return is_news

    def child_exited(self, event: ChildExited, now: float) -> None:
        """Judge a death: an early one of a new configuration sends back to the last good one."""
        child, spec = self.child, self.child.spec
        was_starting = child.state is ChildState.STARTING or child.never_healthy
        was_asked_to = child.state in (ChildState.TERMINATING, ChildState.KILLING) and not child.never_healthy
        snatched = was_starting and event.port_taken and self._ports_snatched < PORT_RETRIES
        goes_back = (
            was_starting
            and self.good is not None
            and spec is not None
            and spec.checksum != self.good.checksum
        )
        is_crash = not (was_asked_to or snatched or goes_back)
        if not child.exited(event.run, now, is_crash=is_crash) or spec is None or was_asked_to:
            return
        if snatched:
            self._ports_snatched += 1
            return
        self.tried = spec.checksum
        text = describe_exit(event, never_healthy=child.never_healthy)
        if goes_back:
            self.decline(spec, text, now, refused=False)
        else:
            self.error = text

    def decline(self, spec: PipelineSpec, error: str, now: float, *, refused: bool) -> None:
        """Do not try this checksum again for now (refused: at all)."""
        earlier = self.declined.pop(spec.checksum, None)
        attempts = earlier.attempts + 1 if earlier else 1
        self.declined[spec.checksum] = Declined(
            self.pipeline_id, spec.checksum, spec.version, error, attempts, refused
        )
        self.tried = spec.checksum
        self._validated = None
        self._retry_at.pop(spec.checksum, None)
        if not refused:
            self._retry_at[spec.checksum] = now + self._early_death_delay(attempts)
        while len(self.declined) > DECLINED_KEPT:
            oldest = next(iter(self.declined))
            del self.declined[oldest]
            self._retry_at.pop(oldest, None)

    def validated(self, checksum: str) -> None:
        """Vector would take it."""
        if self._validating == checksum:
            self._validating, self._validated = None, checksum
            self.unasked = None
            self._validation_backoff.reset()

    def refused(self, checksum: str, error: str, now: float) -> None:
        """Vector would not take it; what runs was not touched."""
        if self._validating != checksum:
            return
        self._validating = self.unasked = None
        if self.wanted is not None and self.wanted.checksum == checksum:
            self.decline(self.wanted, error, now, refused=True)
            # Somebody wanted the new one tried again: that is done, and what runs is not to suffer for it.
            self.restart_wanted = False

    def validation_failed(self, checksum: str, error: str, now: float) -> None:
        """Nobody knows: Vector could not be asked. Ask again; what runs was not touched."""
        if self._validating != checksum:
            return
        self._validating = None
        self.tried, self.unasked = checksum, error
        self._validate_at = now + self._validation_backoff.next_delay()

    def restart(self) -> None:
        """Start anew, and try again what was declined: an operator has asked."""
        self.restart_wanted = True
        self.error = self.unasked = None
        self.declined.clear()
        self._retry_at.clear()
        self.child.forgive()

    def failure(self) -> str | None:
        """What went wrong with what was last tried; ``None`` if nothing did."""
        if self.error is not None or self.unasked is not None:
            return self.error or self.unasked
        declined = self.declined.get(self.tried or "")
        return declined.error if declined is not None else None

    def next_deadline(self) -> float:
        """When something is due without anything happening."""
        waits = [self.child.next_deadline(), self._validate_at]
        if self.wanted is not None and not self.held:
            retry_at = self._retry_at.get(self.wanted.checksum, math.inf)
            waits.append(retry_at if retry_at > -math.inf else math.inf)
        return min(waits)

    def certificate_names(self) -> set[str]:
        """Base names of the files that what runs, what is wanted and what it might go back to need."""
        specs = (self.child.spec, self.wanted, self.good, self.unproved)
        return {file.base_name for spec in specs if spec is not None for file in spec.cert_files}

    def runs_what_is_wanted(self) -> bool:
        """Whether exactly the wanted version is up and has stayed up."""
        wanted, spec = self.wanted, self.child.spec
        if wanted is None or spec is None or self.child.state is not ChildState.RUNNING:
            return False
        return (spec.checksum, spec.version) == (wanted.checksum, wanted.version)

    def has_outcome(self) -> bool:
        """Whether the wanted version has run here at least once, or failed to, or cannot be tried."""
        return self.wanted is not None and (
            self.held or self.tried == self.wanted.checksum or self.wanted.checksum in self.declined
        )

    def status(self) -> PipelineStatus:
        """How it is, in the words of the wire."""
        state, child = self.child.state, self.child
        if state is ChildState.RUNNING:
            return PipelineStatus.RUNNING
        is_between = state in (ChildState.STARTING, ChildState.BACKOFF, ChildState.STOPPED)
        if is_between and child.is_crash_loop and self.wanted is not None:
            return PipelineStatus.CRASH_LOOP
        if state is ChildState.BACKOFF and self.error is not None:
            return PipelineStatus.CRASHED
        if child.has_process:
            # Being stopped: for good it still runs, else it makes room for what comes next.
            return PipelineStatus.RUNNING if self.wanted is None else PipelineStatus.STARTING
        if self.held and self.good is None:
            return PipelineStatus.PENDING
        if self.wanted is not None and self.good is None and self.wanted.checksum in self.declined:
            return PipelineStatus.FAILED
        if self.error is not None or self.unasked is not None:
            return PipelineStatus.FAILED
        return PipelineStatus.STARTING if self.wanted is not None else PipelineStatus.STOPPED

    def report(self, now: float) -> PipelineReport | None:
        """What is said about it in a heartbeat: what runs, and beside it what was tried and failed."""
        spec = self.child.spec or self.good or self.wanted
        if spec is None:
            return None
        status = self.status()
        failed = self.declined.get(self.wanted.checksum) if self.wanted is not None else None
        failed_version = failed_checksum = None
        error = self.error or self.unasked
        if failed is not None and self.wanted is not None:
            failed_version, failed_checksum, error = self.wanted.version, failed.checksum, failed.error
        elif status is PipelineStatus.PENDING:
            error = "held by the server: it cannot be assembled just now, and has never run on this node"
        elif status in (PipelineStatus.CRASHED, PipelineStatus.CRASH_LOOP, PipelineStatus.FAILED):
            failed_version, failed_checksum = spec.version, spec.checksum
        is_up = self.child.pid is not None
        return PipelineReport(
            pipeline_id=self.pipeline_id,
            version=spec.version,
            status=status,
            checksum=spec.checksum,
            pid=self.child.pid,
            uptime_seconds=now - self.child.started_at if is_up else None,
            metrics_port=self.child.metrics_port,
            failed_version=failed_version,
            failed_checksum=failed_checksum,
            error=error,
        )

    def _is_declined(self, checksum: str, now: float) -> bool:
        declined = self.declined.get(checksum)
        return declined is not None and (declined.refused or now < self._retry_at.get(checksum, math.inf))

    def _may_replace(self, target: PipelineSpec) -> bool:
        """What has run here, or was validated, may take the place of what runs."""
        return target is self.good or target.checksum == self._validated

    def _validate(self, target: PipelineSpec, now: float) -> list[Action]:
        if self._validating == target.checksum or self._validate_at < math.inf:
            return []
        self._validating = target.checksum
        return [ValidateConfiguration(target)]

    def _early_death_delay(self, attempts: int) -> float:
        delay = EARLY_DEATH_DELAYS[min(attempts, len(EARLY_DEATH_DELAYS)) - 1]
        return delay * self._random.uniform(1.0, 1.2)


def describe_exit(event: ChildExited, *, never_healthy: bool) -> str:
    """One sentence on how a child ended, and below it the last that it said."""
    if never_healthy:
        how = "Vector did not become healthy in time"
    elif event.exit_code is None:
        return event.last_lines
    elif event.exit_code < 0:
        how = f"Vector was ended by signal {-event.exit_code}"
    else:
        how = f"Vector exited with code {event.exit_code}"
    return f"{how}\n{event.last_lines}".rstrip()
