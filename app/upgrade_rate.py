"""How many upgrades a worker takes a second, and how far a herd is told to spread itself (hazard 29)."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable

from app.config import Settings
from app.fleet_size import FleetSize

BURST_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 60
LEAST_SPREAD_MS = 1000
MOST_SPREAD_MS = 512_000


class UpgradeRate:
    """A token bucket of one second's worth, decided without asking anybody. *clock* answers monotonic seconds."""

    def __init__(
        self,
        per_second: int,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._per_second = per_second
        self._clock = clock
        self._uniform = uniform
        self._full_at = 0.0
        """When the bucket would be full again; it is empty where that is a whole burst ahead."""
        self._backlog_until = 0.0
        """When all who were turned away could have been served, one after the other."""

    def take(self) -> bool:
        """Whether an upgrade may go on; one that may not is counted by ``retry_after`` alone."""
        now = self._clock()
        full_at = max(self._full_at, now) + 1 / self._per_second
        if full_at - now > BURST_SECONDS + 1e-9:
            return False
        self._full_at = full_at
        return True

    def retry_after(self) -> int | None:
        """``None`` for an upgrade that may go on, else the whole seconds after which to come back.

        That is the backlog over the rate, at least 1, at most a minute, spread over half as much again: who was
        turned away later is told later, so that they do not come back together.
        """
        if self.take():
            return None
        now, each = self._clock(), 1 / self._per_second
        self._backlog_until = min(max(self._backlog_until, now) + each, now + LONGEST_RETRY_SECONDS)
        wait = (self._backlog_until - now) * self._uniform(1.0, 1.5)
        return min(LONGEST_RETRY_SECONDS, max(1, math.ceil(wait)))


def spread_ms(nodes: int, upgrades_per_second: int) -> int:
    """The span over which *nodes* that lost their links together may come back: a power of two seconds.

    Rounded up to that, so that a node that comes or goes does not change every other one's configuration answer.
    """
    needed = nodes / upgrades_per_second * 1000
    doublings = math.ceil(math.log2(max(1.0, needed / LEAST_SPREAD_MS)))
    return min(MOST_SPREAD_MS, LEAST_SPREAD_MS << doublings)


class ReconnectSpread:
    """``reconnectSpreadMs`` of the configuration answer.

    The workers are those of this machine: more machines take a herd faster than it was told to come.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = settings.upgrade_rate * settings.web_concurrency
        self.fleet_size = FleetSize(clock)

    def milliseconds(self) -> int:
        """The spread for as many nodes as are enrolled and not revoked."""
        return spread_ms(self.fleet_size.nodes(), self._per_second)
