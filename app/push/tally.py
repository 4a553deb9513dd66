"""Counts the nudges that are written, cheaply: a shared metric costs microseconds, and a turn writes thousands.

So they are counted here, and poured into the metrics once a second.
"""

from __future__ import annotations

from bisect import bisect_left

from app.push import meters


class Tally:
    """What was written since it was last poured out."""

    def __init__(self) -> None:
        self._bounds = [seconds * 1e6 for seconds in meters.NUDGE_BUCKETS]
        self._empty()

    def _empty(self) -> None:
        self.written = 0
        self.microseconds = 0
        self.buckets = [0] * (len(self._bounds) + 1)

    def add(self, published_us: int | None, now: float) -> None:
        """A nudge was written *now*, on its way since *published_us* if it was published at all (wall clock)."""
        self.written += 1
        if published_us is not None:
            # Clocks of two machines may differ: nothing arrives before it was sent.
            took = max(0, int(now * 1e6) - published_us)
            self.microseconds += took
            self.buckets[bisect_left(self._bounds, took)] += 1

    def pour(self) -> None:
        """Add all of it to the metrics and begin again."""
        if self.written:
            meters.WRITTEN.inc(self.written)
            meters.observe_nudges(self.buckets, self.microseconds / 1e6)
            self._empty()
