"""When to send a heartbeat, and what must not be lost until one has arrived. Pure."""

from __future__ import annotations

import math
from random import Random

from agent.actions import (
    AbandonHeartbeat,
    Action,
    CompletedAction,
    Health,
    PipelineReport,
    SampleResult,
    SendHeartbeat,
)
from agent.backoff import Backoff, after_retry_hint, spread

DEBOUNCE_SECONDS = 1.0
"""Changes within this time share a heartbeat."""
HEARTBEAT_DEADLINE_SECONDS = 30.0
SECOND_SECONDS = 3.0
"""How long, at least, after the heartbeat that said that a pipeline has come to run, another one follows."""
SECOND_SHARE = 0.05
"""Of the heartbeat interval, where that is longer: a server that asks for few heartbeats has many nodes."""
KEPT = 256
"""So many completed actions and sample results wait for a heartbeat that arrives; older ones are lost."""

KEPT_BYTES = 4 * 1024 * 1024
"""Of events in sample results: a body may have 16 MiB, and holds more than these."""


class Report:
    """The heartbeat cycle: one at a time, on an interval and soon after a change."""

    def __init__(self, random: Random) -> None:
        self.errors = 0
        self._random = random
        self._generation = 0
        self._sending = False
        self._changed = False
        """Something has changed since the heartbeat under way was made."""
        self._deadline = math.inf
        self._due_at = math.inf
        self._not_before = 0.0
        """A server that is failing is not asked sooner because something has changed."""
        self._backoff = Backoff(1.0, 30.0, random, floor=0.5)
        self._running: frozenset[str] = frozenset()
        self._wants_second = False
        """A pipeline has come to run since the last heartbeat was made: rates need two that count its events."""
        self._carries_first = False
        self._no_second_before = 0.0
        self._completed: list[CompletedAction] = []
        self._sample_results: list[SampleResult] = []
        self._carried: tuple[int, int] = (0, 0)
        """How many of both the heartbeat under way carries."""

    def change(self, now: float) -> None:
        """Something that a heartbeat tells has changed."""
        self._changed = True
        if not self._sending:
            self._due_at = min(self._due_at, max(now + DEBOUNCE_SECONDS, self._not_before))

    def note_running(self, pipeline_ids: frozenset[str]) -> None:
        """These pipelines run now: after the heartbeat that tells of a new one a second follows soon."""
        self._wants_second = self._wants_second or not pipeline_ids <= self._running
        self._running = pipeline_ids

    def add_completed(self, completed: list[CompletedAction], now: float) -> None:
        """Tell that actions were done; told again until a heartbeat has arrived."""
        if completed:
            self._completed += completed
            self.change(now)

    def add_sample_results(self, results: tuple[SampleResult, ...], now: float) -> None:
        """Carry results that could not be posted by themselves."""
        self._sample_results += results
        self.change(now)

    def hurry(self, now: float, interval_seconds: float) -> None:
        """The interval has changed: the next heartbeat is due no later than it says."""
        if not self._sending:
            self._due_at = min(self._due_at, now + spread(interval_seconds, self._random))

    def is_due(self, now: float) -> bool:
        """Whether :meth:`begin` may be called."""
        return not self._sending and now >= self._due_at

    def begin(
        self,
        now: float,
        pipelines: tuple[PipelineReport, ...],
        running_revision: str | None,
        tried_revision: str | None,
        health: Health,
        *,
        is_on_trial: bool = False,
    ) -> list[Action]:
        """Send one now."""
        # Bounded here and nowhere else, so that what a heartbeat carries is always the head of the list.
        del self._completed[:-KEPT], self._sample_results[:-KEPT]
        while sum(result.size for result in self._sample_results) > KEPT_BYTES:
            del self._sample_results[0]
        self._generation += 1
        self._sending, self._changed = True, False
        self._carries_first, self._wants_second = self._wants_second, False
        self._deadline, self._due_at = now + HEARTBEAT_DEADLINE_SECONDS, math.inf
        self._carried = (len(self._completed), len(self._sample_results))
        return [
            SendHeartbeat(
                generation=self._generation,
                pipelines=pipelines,
                running_revision=running_revision,
                tried_revision=tried_revision,
                health=health,
                completed_actions=tuple(self._completed),
                sample_results=tuple(self._sample_results),
                is_on_trial=is_on_trial,
            )
        ]

    def overdue(self, now: float) -> list[Action]:
        """Give up a heartbeat that has had its time."""
        if not self._sending or now < self._deadline:
            return []
        generation = self._generation
        self.failed(generation, now)
        return [AbandonHeartbeat(generation)]

    def sent(self, generation: int, now: float, interval_seconds: float) -> list[CompletedAction]:
        """The server has taken it; the completed actions that it now knows of."""
        if not self._sending or generation != self._generation:
            return []
        self._sending = False
        self._backoff.reset()
        self._not_before = 0.0
        completed, results = self._carried
        told = self._completed[:completed]
        del self._completed[:completed], self._sample_results[:results]
        self._due_at = now + spread(interval_seconds, self._random)
        if self._carries_first and now >= self._no_second_before:
            # One an interval at most, whatever comes and goes here: so it at most doubles what the fleet sends.
            self._no_second_before = now + interval_seconds
            wait = max(SECOND_SECONDS, SECOND_SHARE * interval_seconds)
            self._due_at = min(self._due_at, now + self._random.uniform(wait, 2 * wait))
        if self._changed:
            self._due_at = min(self._due_at, now + DEBOUNCE_SECONDS)
        return told

    def failed(self, generation: int, now: float, retry_after: float | None = None) -> bool:
        """The server has not taken it: what it carried stays for the next. False if that is old news."""
        if not self._sending or generation != self._generation:
            return False
        self._sending = False
        self._wants_second = self._wants_second or self._carries_first
        self.errors += 1
        delay = self._backoff.next_delay()
        if retry_after is not None:
            delay = max(delay, after_retry_hint(retry_after, self._random))
        self._due_at = self._not_before = now + delay
        return True

    def next_deadline(self) -> float:
        """When there is something to do."""
        return self._deadline if self._sending else self._due_at
