"""A number by environment that stands on every page: one worker's pages share one count, a moment old."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from app.principal import Within

SECONDS = 2.0
"""How long one count serves all pages of a worker: it is one read of an index that has only what is counted."""


class SharedCounts:
    """Counts with *count*, by environment, at most once in so many *seconds*."""

    def __init__(self, count: Callable[[], Mapping[str, int]], seconds: float = SECONDS) -> None:
        self._count = count
        self._seconds = seconds
        self._lock = threading.Lock()
        self._counts: Mapping[str, int] = {}
        self._good_until = 0.0

    def within(self, within: Within) -> int:
        """How many there are in the environments *within* (``None``: in all). Raises what *count* does."""
        with self._lock:
            if time.monotonic() >= self._good_until:
                self._counts = self._count()
                self._good_until = time.monotonic() + self._seconds
            counts = self._counts
        return sum(number for where, number in counts.items() if within is None or where in within)

    def forget(self) -> None:
        """Count again for the next page: this worker has just changed it."""
        self._good_until = 0.0
