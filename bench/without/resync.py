"""Hazard 9: after its subscriber was lost a worker nudges all that it holds, at once; each sweep asks about all."""

from __future__ import annotations

import time
from typing import Any

from flask import Flask

from app.push import messages, sweep
from bench.without import replace


def remove(app: Flask) -> None:
    """Replace what a sweep does once the subscriber is back, and the tenth sweep by every one."""
    replace(sweep, "WHOLE_EVERY", 1)
    asked_as_it_is = sweep.Sweep.run_once

    def run_once(self: Any, *, at_once: bool) -> None:
        if not at_once:
            asked_as_it_is(self, at_once=False)
            return
        self.progressed_at = time.monotonic()
        for connection in self._hub.connections():
            self._hub.deliver(connection, messages.RESYNC)

    replace(sweep.Sweep, "run_once", run_once)
