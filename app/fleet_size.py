"""How many nodes there are, and how often so many may report: the fleet stays within a budget by itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from sqlalchemy import func, select

from app.database import snapshot
from app.models import Node

COUNT_SECONDS = 60.0
MOST_STRETCHED_MS = 3_600_000
"""A node that reports once an hour is hardly watched; beyond this the budget gives way."""


class FleetSize:
    """A count that is up to a minute old. *clock* answers monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counting = threading.Lock()
        self._known: tuple[float, int] | None = None

    def nodes(self) -> int:
        """How many nodes are enrolled and not revoked."""
        known = self._known
        # While one counts, the others go on with what was counted before.
        if (known is None or self._clock() > known[0]) and self._counting.acquire(blocking=known is None):
            try:
                if self._known is known:
                    enrolled = select(func.count()).select_from(Node).where(Node.revoked_at.is_(None))
                    count = snapshot(lambda session: session.scalar(enrolled)) or 0
                    self._known = (self._clock() + COUNT_SECONDS, count)
            finally:
                self._counting.release()
        assert self._known is not None
        return self._known[1]


def stretched_ms(interval_ms: int, nodes: int, most_per_second: int) -> int:
    """*interval_ms*, doubled until *nodes* report at most that often together; never shortened.

    Doubled, so that a node that comes or goes does not change every other one's configuration answer.
    """
    while nodes * 1000 > most_per_second * interval_ms and interval_ms * 2 <= MOST_STRETCHED_MS:
        interval_ms *= 2
    return interval_ms
