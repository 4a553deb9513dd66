"""A native thread that ends the worker when one of its parts has stopped getting on, though none has failed.

A greenlet that hangs raises nothing and is not seen by gunicorn, whose own watch only asks whether the loop
turns (hazard 8). The judging is pure; the thread is thin and touches nothing of gevent's: no lock, no log handler.
"""

from __future__ import annotations

import faulthandler
import os
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from gevent import monkey

_start_thread = monkey.get_original("_thread", "start_new_thread")
_sleep = monkey.get_original("time", "sleep")

LOOK_SECONDS = 1.0
SLEPT_SECONDS = 5.0
"""A gap like this between two looks means that the whole process did not run: stopped, suspended, starved."""
BOUNDS_SECONDS = {
    "epoll": 20.0,
    "timers": 20.0,
    "subscriber": 25.0,
    "leases": 30.0,
    "audit": 60.0,
}
"""How long each part may take to get on. Waiting for Redis is bounded well below (``redis_gate``)."""
SWEEP_SLACK_SECONDS = 60.0
"""On top of the sweep's interval; one question to the database is bounded well below."""
EXIT_CODE = 70
"""Not 3 or 4: those make gunicorn's master give up."""


class Judge:
    """Says which parts have not got on within their bounds (name to seconds). Pure; times are monotonic."""

    def __init__(self, bounds: Mapping[str, float], now: float) -> None:
        self._bounds = dict(bounds)
        self._looked_at = now
        self._grace_from = now

    def look(self, stamps: Mapping[str, float], now: float) -> list[tuple[str, float]]:
        """The stalled parts at *now*, each with the seconds since it got on.

        *stamps* holds when each part last did. After a gap between two looks everybody starts afresh.
        """
        if now - self._looked_at > SLEPT_SECONDS:
            self._grace_from = now
        self._looked_at = now
        since = {name: now - max(stamps.get(name, 0.0), self._grace_from) for name in self._bounds}
        return [(name, seconds) for name, seconds in since.items() if seconds > self._bounds[name]]


class Watchdog:
    """Asks *stamps* once a second; *greenlet_of* names the greenlet whose place is shown with a stalled part."""

    def __init__(
        self,
        label: str,
        bounds: Mapping[str, float],
        stamps: Callable[[], Mapping[str, float]],
        greenlet_of: Callable[[str], Any],
    ) -> None:
        self._label = label
        self._bounds = bounds
        self._stamps = stamps
        self._greenlet_of = greenlet_of
        self._is_over = False

    def start(self) -> None:
        """Watch from now on."""
        _start_thread(self._run, ())

    def stop(self) -> None:
        """Watch no longer: the worker is on its way out by itself."""
        self._is_over = True

    def _run(self) -> None:
        judge = Judge(self._bounds, time.monotonic())
        while not self._is_over:
            _sleep(LOOK_SECONDS)
            stalled = judge.look(self._stamps(), time.monotonic())
            if stalled and not self._is_over:
                self._end(stalled)

    def _end(self, stalled: list[tuple[str, float]]) -> None:
        names = ", ".join(f"{name} for {seconds:.0f} s" for name, seconds in stalled)
        try:
            # Straight to the descriptor: the log's lock may be what everybody hangs at.
            _say(f"worker {self._label} cannot go on: no progress of {names}")
            for name, _ in stalled:
                frame = getattr(self._greenlet_of(name), "gr_frame", None)
                if frame is not None:
                    os.write(2, f"{name} hangs here:\n{''.join(traceback.format_stack(frame))}".encode())
            faulthandler.dump_traceback(2)
        finally:
            os._exit(EXIT_CODE)


def _say(text: str) -> None:
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime())
    os.write(2, f"{moment}.000 {os.getpid()} CRITICAL signalbox.push {text}\n".encode())
