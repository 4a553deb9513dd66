"""When to fetch the plan: at most one fetch at a time, and nudges meanwhile become exactly one more. Pure."""

from __future__ import annotations

import math
from random import Random

from agent.actions import AbandonFetch, Action, FetchConfig
from agent.backoff import Backoff, after_retry_hint, spread
from agent.plan import Intervals

FETCH_DEADLINE_SECONDS = 30.0
"""For the whole answer: one that trickles in must not keep the next one waiting."""


class Poll:
    """The fetch cycle. Each fetch has a generation; the result of an abandoned one is dropped."""

    def __init__(self, first_interval_seconds: float, random: Random) -> None:
        self.intervals = Intervals(poll=first_interval_seconds)
        self.errors = 0
        self._random = random
        self._generation = 0
        self._fetching = False
        self._deadline = math.inf
        self._due_at = math.inf
        self._again_at = math.inf
        """When to fetch once more, because of a nudge during a fetch."""
        self._urgent = True
        """Something is known to be new, or nothing is known yet: a failure is followed up quickly."""
        self._urgent_backoff = Backoff(1.0, 30.0, random)
        self._denied_backoff = Backoff(10.0, 300.0, random, floor=0.5)
        self._usual_backoff = self._backoff_for(self.intervals)

    def nudge(self, now: float, spread_seconds: float = 0.0) -> None:
        """Look soon: within ``spread_seconds``, and at once where that is 0."""
        at = now + self._random.uniform(0, spread_seconds)
        self._urgent = True
        if self._fetching:
            # What is being fetched may be older than the nudge.
            self._again_at = min(self._again_at, at)
        else:
            self._due_at = min(self._due_at, at)

    def hurry(self, now: float, *, idle: bool) -> None:
        """The interval has changed: the next poll is due no later than it says."""
        self._due_at = min(self._due_at, now + spread(self._interval(idle), self._random))

    def follow(self, intervals: Intervals) -> None:
        """Use other intervals from the next fetch on."""
        if intervals != self.intervals:
            self.intervals = intervals
            self._usual_backoff = self._backoff_for(intervals)

    def due(self, now: float, revision: str | None, etag: str | None, *, idle: bool) -> list[Action]:
        """Begin a fetch if it is time; give up one that has had its time."""
        actions: list[Action] = []
        if self._fetching and now >= self._deadline:
            actions.append(AbandonFetch(self._generation))
            self.failed(self._generation, now, idle=idle)
        if not self._fetching and now >= self._due_at:
            self._generation += 1
            self._fetching = True
            self._deadline = now + FETCH_DEADLINE_SECONDS
            self._due_at = math.inf
            actions.append(FetchConfig(self._generation, revision, etag))
        return actions

    def is_awaited(self, generation: int) -> bool:
        """Whether a result of this generation still counts."""
        return self._fetching and generation == self._generation

    def succeeded(self, now: float, *, idle: bool) -> None:
        """The awaited answer has come."""
        for backoff in (self._urgent_backoff, self._usual_backoff, self._denied_backoff):
            backoff.reset()
        self._fetching = False
        self._urgent = self._again_at < math.inf
        self._due_at = min(now + spread(self._interval(idle), self._random), self._again_at)
        self._again_at = math.inf

    def failed(
        self,
        generation: int,
        now: float,
        *,
        idle: bool,
        unauthorized: bool = False,
        retry_after: float | None = None,
    ) -> None:
        """There was no answer to act on."""
        if not self.is_awaited(generation):
            return
        self.errors += 1
        self._fetching = False
        self._again_at = math.inf
        if unauthorized:
            delay = self._denied_backoff.next_delay()
        elif self._urgent:
            delay = self._urgent_backoff.next_delay()
        else:
            delay = self._usual_backoff.next_delay()
        if retry_after is not None:
            delay = max(delay, after_retry_hint(retry_after, self._random))
        self._due_at = now + delay

    def next_deadline(self) -> float:
        """When :meth:`due` has something to do."""
        return self._deadline if self._fetching else self._due_at

    def has_failed_last(self) -> bool:
        """Whether the last fetch brought nothing."""
        return self._urgent_backoff.failures + self._usual_backoff.failures > 0

    def _interval(self, idle: bool) -> float:
        return self.intervals.idle_poll if idle else self.intervals.poll

    def _backoff_for(self, intervals: Intervals) -> Backoff:
        return Backoff(intervals.poll, max(60.0, intervals.poll), self._random, floor=0.5)
