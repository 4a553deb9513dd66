"""The signs of life of one worker: when each of its parts last got on, for its watchdog and for ``/metrics``."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from app.push import meters
from app.push.tally import Tally
from app.push.watchdog import SWEEP_SLACK_SECONDS, Watchdog

GREENLETS = {"epoll": "hub", "timers": "ticks", "subscriber": "reader"}
"""Parts whose greenlet has another name."""


class Vitals:
    """*moments* answers when epoll, subscriber and sweep got on; the other parts say so here."""

    def __init__(
        self,
        label: str,
        bounds: Mapping[str, float],
        sweep_seconds: float,
        moments: Mapping[str, Callable[[], float]],
    ) -> None:
        now = time.monotonic()
        self.tally = Tally()
        self.greenlets: dict[str, Any] = {}
        """By name; the watchdog shows where the one of a stalled part hangs."""
        self._moments = moments
        self._stamps = {"timers": now, "leases": now, "audit": now}
        self._leased_at = self._entered_at = now
        self.watchdog = Watchdog(
            label, {"sweep": sweep_seconds + SWEEP_SLACK_SECONDS, **bounds}, self._progress, self._greenlet_of
        )

    def ticked(self) -> None:
        """Once a second: the timers run."""
        self._stamps["timers"] = now = time.monotonic()
        self.tally.pour()
        meters.PRESENCE_AGE.set(now - min(self._leased_at, self._entered_at))

    def lease_tried(self, *, renewed: bool) -> None:
        """The lease was renewed, or Redis was away."""
        self._stamps["leases"] = now = time.monotonic()
        if renewed:
            self._leased_at = now

    def claimed_late(self) -> None:
        """One step of a long audit; lease and audit may both wait for it."""
        self._stamps["audit"] = self._stamps["leases"] = time.monotonic()

    def audited(self) -> None:
        """An audit is over."""
        self._stamps["audit"] = time.monotonic()

    def entries_written(self) -> None:
        """All entries were written or found."""
        self._entered_at = time.monotonic()

    def _progress(self) -> Mapping[str, float]:
        return {**self._stamps, **{part: moment() for part, moment in self._moments.items()}}

    def _greenlet_of(self, part: str) -> Any:
        return self.greenlets.get(GREENLETS.get(part, part))
