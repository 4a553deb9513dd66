"""Which form of the push channel to open: the WebSocket, or where the network breaks it, the event stream. Pure.

One failure says little, and a server that is down says nothing about the network. So the WebSocket is given up
only after several failures in a row of a suspicious kind, and only if the server answered over HTTP between
them. It is tried again after minutes, and what happened is forgotten once it has held.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

from agent.backoff import Backoff
from agent.events import LinkClosed
from agent.protocol import CloseCode, Transport

MOST_FAILURES = 3
"""So many suspicious ends of WebSockets in a row are the network's doing."""
FAREWELLS = frozenset({CloseCode.NORMAL, CloseCode.GOING_AWAY, CloseCode.POLICY})
"""Close codes that only the server can have sent. The others blame what the agent sent, which is no more than
pongs: something on the way has changed it."""


@dataclass(frozen=True, slots=True)
class LinkTiming:
    """The delays of the push channel's life; seconds."""

    stable: float = 60.0
    """Only a channel that has been up so long forgives earlier failures and lets polls become rare."""
    first_retry: float = 300.0
    """On the event stream, until the WebSocket is tried again; at least half of it, and doubling up to the next."""
    longest_retry: float = 3600.0


class TransportChoice:
    """The form of the attempt under way, or of the next one, and what speaks for it."""

    def __init__(self, timing: LinkTiming, random: Random) -> None:
        self.current = Transport.WS
        self.has_stream = False
        """Whether the server has named an event stream."""
        self._timing = timing
        self._failures = 0
        self._answered = False
        """The server has answered over HTTP since the first of these failures."""
        self._proven = False
        """It has answered between two of them: what fails is the WebSocket, not the server."""
        self._retry_at = math.inf
        self._retry_backoff = Backoff(timing.first_retry, timing.longest_retry, random, floor=0.5)
        self._stream_fails = False
        """The last stream ended in a suspicious way, and none has held since."""

    @property
    def has_fallen_back(self) -> bool:
        """Whether the WebSocket is only tried now and then."""
        return self._retry_at < math.inf

    def next_retry(self) -> float:
        """When an open event stream is to be left for the WebSocket; may be infinity."""
        return self._retry_at if self.current is Transport.SSE else math.inf

    def begin(self, now: float) -> Transport:
        """An attempt begins; its form."""
        if now >= self._retry_at:
            self.current = Transport.WS
        return self.current

    def held(self) -> None:
        """The channel has been up for a stable while."""
        if self.current is Transport.WS:
            self._forget_failures()
            self._retry_at = math.inf
            self._retry_backoff.reset()
        else:
            self._stream_fails = False

    def ended(self, event: LinkClosed, lived: float | None, now: float) -> bool:
        """The attempt is over, ``lived`` seconds after the channel came up, or ``None`` if it never did.

        True if the next one, over a stream that is not known to fail, need not wait.
        """
        is_suspicious = self._is_suspicious(event, lived)
        if self.current is Transport.SSE:
            if is_suspicious:
                # Both may be broken, or the WebSocket mended meanwhile: take turns.
                self.current = Transport.WS
                self._stream_fails = True
        elif self.has_fallen_back:
            if is_suspicious:
                self._fall_back(now)
                return not self._stream_fails
        elif is_suspicious:
            self._failures += 1
            self._proven |= self._answered
            if self._failures >= MOST_FAILURES and self._proven and self.has_stream:
                self._fall_back(now)
                return True
        elif lived is not None:
            # Long-lived, or ended by the server's own word, which came through.
            self._forget_failures()
        return False

    def server_answered(self) -> None:
        """A request over plain HTTP was answered."""
        self._answered = self._failures > 0

    def server_failed(self) -> None:
        """A request over plain HTTP failed as well: it is the server, or the whole network."""
        self._forget_failures()

    def _is_suspicious(self, event: LinkClosed, lived: float | None) -> bool:
        """Whether this looks as if something on the way breaks channels of this form."""
        if event.unreachable or event.unauthorized or event.retry_after is not None:
            return False
        return lived is None or (lived < self._timing.stable and event.code not in FAREWELLS)

    def _fall_back(self, now: float) -> None:
        self.current = Transport.SSE
        if not self.has_fallen_back or now >= self._retry_at:
            self._retry_at = now + self._retry_backoff.next_delay()
        self._forget_failures()

    def _forget_failures(self) -> None:
        self._failures = 0
        self._answered = self._proven = False
