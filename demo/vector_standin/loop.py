"""The one thread that a pipeline runs on: timers, and calls posted by other threads.

It sleeps until the next timer is due or something is posted; an idle pipeline costs a few wake-ups a second.
"""

import heapq
import itertools
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue

Call = Callable[[], None]

# What a lock can wait for has a limit; a timer may lie beyond it.
LONGEST_WAIT_SECONDS = 3600.0


class Loop:
    def __init__(self) -> None:
        # SimpleQueue, not Queue: its put may be called from a signal handler that interrupts a get.
        self._posted: SimpleQueue[Call] = SimpleQueue()
        self._timers: list[tuple[float, int, Call]] = []
        self._order = itertools.count()
        self._stopping = False

    def call_later(self, seconds: float, call: Call) -> None:
        """Run `call` once on this loop. Only from the loop's own thread, or before it runs."""
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), call))

    def post(self, call: Call) -> None:
        """Run `call` on this loop as soon as possible. From any thread, and from signal handlers."""
        self._posted.put(call)

    def stop(self) -> None:
        """End `run` after the call in progress. From any thread, and from signal handlers."""
        self._stopping = True
        self._posted.put(lambda: None)

    def run(self) -> None:
        while not self._stopping:
            timeout = None
            if self._timers:
                timeout = min(max(0.0, self._timers[0][0] - time.monotonic()), LONGEST_WAIT_SECONDS)
            try:
                self._posted.get(timeout=timeout)()
            except Empty:
                # Only what is due now: a timer that re-arms itself with 0 seconds must not starve the posts.
                now = time.monotonic()
                while self._timers and self._timers[0][0] <= now and not self._stopping:
                    heapq.heappop(self._timers)[2]()
