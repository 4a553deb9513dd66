"""The agent's thinking: what happened comes in, what to do goes out.

Pure: no clock, no thread, no socket, no file. The time is handed in (monotonic seconds), the randomness too,
and what has to be done is returned as actions. One thread, the loop, calls this.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from random import Random
from typing import assert_never

from agent.actions import (
    Action,
    CloseLink,
    CompletedAction,
    Enroll,
    Exit,
    Health,
    Log,
)
from agent.backoff import Backoff, after_retry_hint
from agent.channel import Channel
from agent.child import Timing
from agent.events import (
    ActionPushed,
    ActionsKept,
    Booted,
    ChildExited,
    ChildHealthy,
    ChildLaunched,
    ConfigFetched,
    ConfigUnchanged,
    ConfigurationRefused,
    ConfigurationValidated,
    Enrolled,
    EnrollFailed,
    Event,
    FetchFailed,
    HeartbeatFailed,
    HeartbeatSent,
    LinkClosed,
    LinkOpened,
    Nudged,
    PollIntervalPushed,
    SampleRequested,
    SamplesFailed,
    SampleTaken,
    TapEnded,
    TapRefused,
    TapRequested,
    TapStopRequested,
    TerminationRequested,
    Ticked,
    TrialBegun,
    TrialEnded,
    UpdateRefused,
    UpdateStaged,
    ValidationFailed,
)
from agent.orders import Facts, Orders
from agent.plan import PendingAction, Plan
from agent.poll import Poll
from agent.protocol import ActionType
from agent.report import Report
from agent.sampling import Sampling
from agent.supervisor import Supervisor
from agent.taps import Taps
from agent.transport import LinkTiming
from agent.update import UpdateTiming


class Agent:
    """All that the agent knows. :meth:`handle` is the only way to change it."""

    def __init__(
        self,
        first_poll_interval_seconds: float,
        random: Random,
        timing: Timing | None = None,
        link_timing: LinkTiming | None = None,
        update_timing: UpdateTiming | None = None,
    ) -> None:
        self._supervisor = Supervisor(timing or Timing(), random)
        self._poll = Poll(first_poll_interval_seconds, random)
        self._channel = Channel(random, link_timing)
        self._report = Report(random)
        self._sampling = Sampling()
        self._taps = Taps()
        self._orders = Orders(random, update_timing or UpdateTiming())
        self._random = random
        self._booted_at = 0.0
        self._enrolled = False
        self._enroll_at: float | None = None
        self._enroll_backoff = Backoff(1.0, 60.0, random)
        self._etag: str | None = None
        self._terminating = False
        self._restarting = False
        """It ends in order to begin anew."""
        self._exited = False

    def handle(self, event: Event, now: float) -> list[Action]:
        """Everything that follows from ``event``, in the order in which it is to be done."""
        actions = self._take(event, now)
        if now >= self._supervisor.next_deadline():
            actions += self._supervisor.tick(now)
        actions += self._do_what_is_due(now)
        if self._orders.wants_restart and not self._terminating:
            self._restarting = True
            actions += self._end("restarting: stopping all children", now) + self._do_what_is_due(now)
        return actions + self._orders.keep()

    def next_deadline(self) -> float:
        """When ``Ticked`` must be handled if nothing else happens before; may be infinity."""
        deadline = min(self._supervisor.next_deadline(), self._taps.next_deadline())
        if self._terminating:
            return deadline
        if self._enroll_at is not None:
            deadline = min(deadline, self._enroll_at)
        if self._enrolled:
            deadline = min(
                deadline,
                self._poll.next_deadline(),
                self._channel.next_deadline(),
                self._report.next_deadline(),
                self._orders.next_deadline(),
                self._sampling.next_deadline(),
            )
        return deadline

    def _take(self, event: Event, now: float) -> list[Action]:
        match event:
            case Ticked():
                return []
            case (
                ConfigurationValidated()
                | ConfigurationRefused()
                | ValidationFailed()
                | ChildLaunched()
                | ChildHealthy()
                | ChildExited()
            ):
                return self._supervisor.handle(event, now)
            case Booted():
                return self._boot(event, now)
            case TerminationRequested():
                return self._terminate(now)
            case Enrolled():
                self._start_talking(now)
                return [Log(logging.INFO, f"enrolled node={event.node_id}")]
            case EnrollFailed():
                return self._enroll_failed(event, now)
            case ConfigFetched():
                return self._config_fetched(event, now)
            case ConfigUnchanged():
                if self._poll.is_awaited(event.generation):
                    self._orders.configured(now)
                    self._poll.succeeded(now, idle=self._is_idle(now))
                    self._channel.choice.server_answered()
                return []
            case FetchFailed():
                return self._fetch_failed(event, now)
            case HeartbeatSent():
                told = self._report.sent(event.generation, now, self._heartbeat_interval())
                self._orders.told(told)
                self._orders.reported(now)
                self._channel.choice.server_answered()
                return []
            case HeartbeatFailed():
                if self._report.failed(event.generation, now, event.retry_after):
                    self._orders.request_failed(now, answered=event.answered)
                    self._channel.choice.server_failed()
                    return [Log(logging.WARNING, f"heartbeat failed error={event.error!r}")]
                return []
            case LinkOpened():
                return self._link_opened(event, now)
            case LinkClosed():
                return self._link_closed(event, now)
            case Nudged():
                self._poll.nudge(now, event.spread_seconds)
                pipeline = event.pipeline_id or "-"
                return [
                    Log(
                        logging.INFO,
                        f"nudged type=config_changed pipeline={pipeline} reason={event.reason or '-'}",
                    )
                ]
            case PollIntervalPushed():
                self._follow_poll_interval(event.interval_seconds, now)
                return [Log(logging.INFO, f"nudged type=poll_interval seconds={event.interval_seconds:g}")]
            case ActionPushed():
                return self._take_up_action(event.action, now)
            case ActionsKept():
                return self._orders.kept(event.error) if not self._terminating else []
            case UpdateStaged():
                return self._orders.staged(event.action_id, self._facts()) if not self._terminating else []
            case UpdateRefused():
                return self._orders.refused(event.action_id, event.error)
            case TrialBegun():
                self._orders.trial_begun()
                return []
            case TrialEnded():
                return self._orders.trial_ended(event, now)
            case SampleRequested():
                return self._sampling.take_up(event.request, now)
            case SampleTaken():
                return self._sampling.taken(event.result)
            case SamplesFailed():
                self._report.add_sample_results(event.results, now)
                return []
            case TapRequested() | TapStopRequested() | TapRefused() | TapEnded():
                return self._taps.handle(event, now, self._supervisor.api_port)
        assert_never(event)

    def _do_what_is_due(self, now: float) -> list[Action]:
        actions = self._taps.due(now, self._supervisor.api_port)
        if self._terminating:
            if self._supervisor.is_idle() and self._taps.is_idle() and not self._exited:
                self._exited = True
                actions += [Log(logging.INFO, "all children have ended"), Exit(self._restarting)]
            return actions
        if self._enroll_at is not None and now >= self._enroll_at:
            self._enroll_at = None
            actions.append(Enroll())
        if not self._enrolled:
            return actions
        actions += self._orders.due(now, self._facts())
        actions += self._sampling.due(now, self._supervisor.api_port)
        self._report.add_completed(self._orders.finish(self._supervisor.take_completed()), now)
        self._report.note_running(self._supervisor.running())
        if self._supervisor.has_changed(now):
            self._report.change(now)
        running, tried = self._supervisor.running_revision(), self._supervisor.tried_revision()
        actions += self._poll.due(now, running or tried, self._etag, idle=self._is_idle(now))
        was_open = self._channel.is_open
        actions += self._channel.due(now, running or tried)
        if was_open and not self._channel.is_open:
            self._rely_on_polls(now)
        actions += self._report.overdue(now)
        if self._report.is_due(now):
            reports = self._supervisor.reports(now)
            actions += self._report.begin(
                now, reports, running, tried, self._health(now), is_on_trial=self._orders.is_on_trial
            )
        return actions

    def _boot(self, event: Booted, now: float) -> list[Action]:
        self._booted_at = now
        if event.enrolled:
            self._start_talking(now)
        else:
            self._enroll_at = now
        self._report.add_completed(self._orders.boot(event.actions, event.standing, now), now)
        actions: list[Action] = []
        if event.memory.pipelines:
            names = ",".join(f"{spec.pipeline_id}@{spec.version}" for spec in event.memory.pipelines)
            actions.append(Log(logging.INFO, f"remembered pipelines={names}"))
        memory = event.memory
        if self._orders.was_asked_to_restart:
            # Which is also a wish to try again what has failed.
            memory = replace(memory, declined=())
        return actions + self._supervisor.remember(memory, now)

    def _start_talking(self, now: float) -> None:
        self._enrolled = True
        self._enroll_backoff.reset()
        self._poll.nudge(now)
        self._report.change(now)

    def _enroll_failed(self, event: EnrollFailed, now: float) -> list[Action]:
        delay = self._enroll_backoff.next_delay()
        if event.retry_after is not None:
            delay = max(delay, after_retry_hint(event.retry_after, self._random))
        self._enroll_at = now + delay
        return [Log(logging.WARNING, f"{event.error}; next try in {delay:.1f} s")]

    def _terminate(self, now: float) -> list[Action]:
        self._restarting = False
        return self._end("told to end: stopping all children", now) if not self._terminating else []

    def _end(self, line: str, now: float) -> list[Action]:
        self._terminating = True
        self._enroll_at = None
        actions: list[Action] = [Log(logging.INFO, line)]
        return actions + self._channel.close() + self._taps.end(now) + self._supervisor.stop_all(now)

    def _config_fetched(self, event: ConfigFetched, now: float) -> list[Action]:
        if self._terminating or not self._poll.is_awaited(event.generation):
            return []
        plan = event.plan
        self._orders.configured(now)
        self._etag = event.etag
        earlier = self._poll.intervals
        self._poll.follow(plan.intervals)
        self._poll.succeeded(now, idle=self._is_idle(now))
        self._channel.choice.server_answered()
        if plan.intervals != earlier:
            self._report.hurry(now, self._heartbeat_interval())
        self._channel.learn(plan.websocket_url, plan.push_url, plan.intervals.reconnect_spread, now)
        return self._supervisor.apply(plan, now) + self._take_up_wishes(plan, now)

    def _take_up_wishes(self, plan: Plan, now: float) -> list[Action]:
        actions: list[Action] = []
        for request in plan.sample_requests:
            actions += self._sampling.take_up(request, now)
        if plan.pending_action is not None:
            actions += self._take_up_action(plan.pending_action, now)
        return actions

    def _fetch_failed(self, event: FetchFailed, now: float) -> list[Action]:
        if not self._poll.is_awaited(event.generation):
            return []
        self._poll.failed(
            event.generation,
            now,
            idle=self._is_idle(now),
            unauthorized=event.unauthorized,
            retry_after=event.retry_after,
        )
        self._orders.request_failed(now, answered=event.answered)
        self._channel.choice.server_failed()
        # Whatever the reason: everything that runs goes on running.
        return [Log(logging.WARNING, f"fetch failed, nothing is changed error={event.error!r}")]

    def _link_opened(self, event: LinkOpened, now: float) -> list[Action]:
        actions = self._channel.opened(event.generation, now)
        if actions is None:
            # An attempt that was given up has come through after all.
            return [CloseLink(event.generation)]
        self._report.change(now)
        if self._poll.has_failed_last():
            self._poll.nudge(now)
        return actions

    def _link_closed(self, event: LinkClosed, now: float) -> list[Action]:
        actions = self._channel.closed(event, now)
        if actions:
            self._rely_on_polls(now)
        return actions

    def _rely_on_polls(self, now: float) -> None:
        """The channel is down: what was not due for minutes is due soon."""
        self._poll.hurry(now, idle=False)
        self._report.hurry(now, self._heartbeat_interval())

    def _take_up_action(self, action: PendingAction, now: float) -> list[Action]:
        if self._terminating or not self._orders.is_new(action):
            return []
        line = f"nudged type=action action={action.type} id={action.action_id}"
        if action.type == ActionType.RESTART and action.pipeline_id is not None:
            self._poll.nudge(now)
            return [Log(logging.INFO, line), *self._supervisor.restart(action, now)]
        if action.type in (ActionType.RESTART, ActionType.SELF_UPDATE):
            self._orders.take_up(action)
            return [Log(logging.INFO, line)]
        error = f"cannot do {action.type!r}: this agent does not know it"
        self._report.add_completed(self._orders.finish([CompletedAction(action.action_id, error)]), now)
        return [Log(logging.WARNING, f"{line} error={error!r}")]

    def _follow_poll_interval(self, seconds: float, now: float) -> None:
        self._poll.follow(replace(self._poll.intervals, poll=seconds))
        if not self._is_idle(now):
            self._poll.hurry(now, idle=False)

    def _is_idle(self, now: float) -> bool:
        return self._channel.is_stable(now)

    def _facts(self) -> Facts:
        return Facts(self._channel.is_open, self._supervisor.running(), self._supervisor.wanted())

    def _heartbeat_interval(self) -> float:
        intervals = self._poll.intervals
        return intervals.idle_heartbeat if self._channel.is_open else intervals.heartbeat

    def _health(self, now: float) -> Health:
        return Health(
            poll_errors=self._poll.errors,
            push_reconnects=self._channel.reconnects,
            heartbeat_errors=self._report.errors,
            push_connected=self._channel.is_open,
            uptime_seconds=now - self._booted_at,
        )
