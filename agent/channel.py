"""When to open the push channel, and when to come back to it. Pure: the socket itself is in ``link``."""

from __future__ import annotations

import math
from random import Random

from agent.actions import Action, CloseLink, OpenLink
from agent.backoff import Backoff, after_retry_hint
from agent.events import LinkClosed
from agent.protocol import REPLACED, CloseCode

STABLE_SECONDS = 60.0
"""Only a channel that has been up so long forgives earlier failures and lets polls become rare."""
OPEN_DEADLINE_SECONDS = 30.0
REPLACED_WAIT_SECONDS = (60.0, 300.0)
"""Another agent uses this identity: two that each come back at once would fight for ever."""


class Channel:
    """One owner of the link. Each attempt has a generation; what an older one says is dropped."""

    def __init__(self, random: Random) -> None:
        self.is_open = False
        self.reconnects = 0
        self.url: str | None = None
        self.reconnect_spread = 1.0
        self._random = random
        self._generation = 0
        self._opening = False
        self._opened_at = 0.0
        self._due_at = math.inf
        self._deadline = math.inf
        self._has_lost_one = False
        self._backoff = Backoff(1.0, 30.0, random)
        self._denied_backoff = Backoff(30.0, 300.0, random, floor=0.5)

    def learn(self, url: str | None, reconnect_spread: float, now: float) -> None:
        """Take note of where the server's push channel is; an open one stays as it is."""
        self.reconnect_spread = reconnect_spread
        if url is not None and self.url is None:
            self._due_at = now
        self.url = url or self.url

    def due(self, now: float, revision: str | None) -> list[Action]:
        """Open the channel if it is time; give up an attempt that has had its time."""
        actions: list[Action] = []
        if self._opening and now >= self._deadline:
            actions.append(CloseLink(self._generation))
            self.closed(LinkClosed(self._generation, "no answer in time"), now)
        if self.is_open and now >= self._deadline:
            self._backoff.reset()
            self._denied_backoff.reset()
            self._has_lost_one = False
            self._deadline = math.inf
        if self.url is not None and not self.is_open and not self._opening and now >= self._due_at:
            self._generation += 1
            self._opening = True
            self._deadline = now + OPEN_DEADLINE_SECONDS
            self._due_at = math.inf
            actions.append(OpenLink(self._generation, self.url, revision))
        return actions

    def opened(self, generation: int, now: float) -> bool:
        """The channel is up; false if that is old news."""
        if generation != self._generation or not self._opening:
            return False
        self._opening, self.is_open = False, True
        self._opened_at = now
        self._deadline = now + STABLE_SECONDS
        return True

    def closed(self, event: LinkClosed, now: float) -> bool:
        """The channel is down, or did not come up; false if that is old news."""
        if event.generation != self._generation or not (self.is_open or self._opening):
            return False
        was_open = self.is_open
        self.is_open = self._opening = False
        self._deadline = math.inf
        self._due_at = now + self._delay(event, was_open)
        self.reconnects += was_open
        return True

    def close(self) -> list[Action]:
        """Close it for good."""
        actions: list[Action] = [CloseLink(self._generation)] if self.is_open or self._opening else []
        self.is_open = self._opening = False
        self._generation += 1
        self._due_at = self._deadline = math.inf
        self.url = None
        return actions

    def is_stable(self, now: float) -> bool:
        """Whether it has been up for long enough to rely on."""
        return self.is_open and now - self._opened_at >= STABLE_SECONDS

    def next_deadline(self) -> float:
        """When :meth:`due` has something to do."""
        return self._deadline if self.is_open or self._opening else self._due_at

    def _delay(self, event: LinkClosed, was_open: bool) -> float:
        if event.code == CloseCode.NORMAL and event.reason == REPLACED:
            return self._random.uniform(*REPLACED_WAIT_SECONDS)
        if event.unauthorized:
            delay = self._denied_backoff.next_delay()
        elif was_open and not self._has_lost_one:
            # The whole fleet may have lost its links in this moment.
            self._has_lost_one = True
            delay = self._random.uniform(0, self.reconnect_spread)
        else:
            delay = self._backoff.next_delay()
        if event.retry_after is not None:
            delay = max(delay, after_retry_hint(event.retry_after, self._random))
        return delay
