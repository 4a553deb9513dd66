"""When to open the push channel, in which form, and when to come back to it. Pure: the socket is in ``link``."""

from __future__ import annotations

import logging
import math
from random import Random

from agent.actions import Action, CloseLink, Log, OpenLink
from agent.backoff import Backoff, after_retry_hint
from agent.events import LinkClosed
from agent.protocol import REPLACED, CloseCode, Transport
from agent.transport import LinkTiming, TransportChoice

OPEN_DEADLINE_SECONDS = 30.0
REPLACED_WAIT_SECONDS = (60.0, 300.0)
"""Another agent uses this identity: two that each come back at once would fight for ever."""
QUICK_SECONDS = 1.0
"""Within so long it opens an event stream in place of a WebSocket that failed."""


class Channel:
    """One owner of the link. Each attempt has a generation; what an older one says is dropped (hazard 18)."""

    def __init__(self, random: Random, timing: LinkTiming | None = None) -> None:
        self.is_open = False
        self.reconnects = 0
        self.url: str | None = None
        """Of the WebSocket."""
        self.stream_url: str | None = None
        self.reconnect_spread = 1.0
        self.choice = TransportChoice(timing or LinkTiming(), random)
        self._random = random
        self._timing = timing or LinkTiming()
        self._generation = 0
        self._opening = False
        self._opened_at = 0.0
        self._due_at = math.inf
        self._deadline = math.inf
        self._has_lost_one = False
        self._backoff = Backoff(1.0, 30.0, random)
        self._denied_backoff = Backoff(30.0, 300.0, random, floor=0.5)

    def learn(self, url: str | None, stream_url: str | None, reconnect_spread: float, now: float) -> None:
        """Take note of where the server's push channel is; an open one stays as it is."""
        self.reconnect_spread = reconnect_spread
        if url is not None and self.url is None:
            self._due_at = now
        self.url = url or self.url
        self.stream_url = stream_url or self.stream_url
        self.choice.has_stream = self.stream_url is not None

    def due(self, now: float, revision: str | None) -> list[Action]:
        """Open the channel if it is time; give up an attempt that has had its time."""
        actions: list[Action] = []
        if self._opening and now >= self._deadline:
            actions.append(CloseLink(self._generation))
            actions += self.closed(LinkClosed(self._generation, "no answer in time"), now)
        if self.is_open and now >= self._deadline:
            self._backoff.reset()
            self._denied_backoff.reset()
            self._has_lost_one = False
            self._deadline = math.inf
            self.choice.held()
        if self.is_open and now >= self.choice.next_retry():
            # The old one goes first, or the server would have the one replace the other.
            self.is_open = False
            self._due_at = now
            actions.append(CloseLink(self._generation))
            actions.append(Log(logging.INFO, "link state=closed transport=sse to try the WebSocket again"))
        if self.url is not None and not self.is_open and not self._opening and now >= self._due_at:
            transport = self.choice.begin(now)
            url = self.url if transport is Transport.WS else self.stream_url or self.url
            self._generation += 1
            self._opening = True
            self._deadline = now + OPEN_DEADLINE_SECONDS
            self._due_at = math.inf
            actions.append(OpenLink(self._generation, url, revision, transport))
        return actions

    def opened(self, generation: int, now: float) -> list[Action] | None:
        """The channel is up; ``None`` if that is old news."""
        if generation != self._generation or not self._opening:
            return None
        self._opening, self.is_open = False, True
        self._opened_at = now
        self._deadline = now + self._timing.stable
        return [Log(logging.INFO, f"link state=open transport={self.choice.current}")]

    def closed(self, event: LinkClosed, now: float) -> list[Action]:
        """The channel is down, or did not come up; nothing if that is old news."""
        if event.generation != self._generation or not (self.is_open or self._opening):
            return []
        was_open, transport = self.is_open, self.choice.current
        self.is_open = self._opening = False
        self._deadline = math.inf
        is_quick = self.choice.ended(event, now - self._opened_at if was_open else None, now)
        wait = self._random.uniform(0, QUICK_SECONDS) if is_quick else self._delay(event, was_open)
        self._due_at = now + wait
        self.reconnects += was_open
        code = f" code={int(event.code)} reason={event.reason!r}" if event.code is not None else ""
        line = f"link state=closed transport={transport}{code} error={event.error!r} next_try={wait:.1f}s"
        actions: list[Action] = [Log(logging.WARNING, line)]
        if transport is Transport.WS and self.choice.current is Transport.SSE:
            retry = max(0.0, self.choice.next_retry() - now)
            line = f"link falls back to server-sent events, the WebSocket is tried again in {retry:.0f}s"
            actions.append(Log(logging.WARNING, line))
        return actions

    def close(self) -> list[Action]:
        """Close it for good."""
        actions: list[Action] = [CloseLink(self._generation)] if self.is_open or self._opening else []
        self.is_open = self._opening = False
        self._generation += 1
        self._due_at = self._deadline = math.inf
        self.url = self.stream_url = None
        return actions

    def is_stable(self, now: float) -> bool:
        """Whether it has been up for long enough to rely on."""
        return self.is_open and now - self._opened_at >= self._timing.stable

    def next_deadline(self) -> float:
        """When :meth:`due` has something to do."""
        if self.is_open:
            return min(self._deadline, self.choice.next_retry())
        return self._deadline if self._opening else self._due_at

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
