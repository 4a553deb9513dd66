"""The counts above the fleet, shared by all open pages of a worker: counting is what grows with the fleet."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from flask import current_app

from app import environments, fleet
from app.fleet import FleetCounts
from app.fleet_states import States
from app.principal import Within

NO_NODES = FleetCounts(nodes=0, connected=0, behind=0, failed=0, unreachable=0, maintenance=0)

COUNTS_SECONDS = 1.0
"""How long, at least, this worker's open pages share one count of the fleet."""
COUNTS_SHARE = 0.05
"""How much of its time a worker may spend on counting, whatever the fleet's size: then counts get older.

Except after a deploy or another change of what nodes should run: then they are counted again at once, and the
worker rests for as long as that took.
"""


def shared_counts(
    environment_id: str | None, states: States | None = None, within: Within = None
) -> FleetCounts:
    """The counts of an environment, or of all *within*, a moment old: nothing else here grows with the fleet.

    *states* are those of the same nodes, where they have been asked for already.
    """
    shared: SharedCounts = current_app.extensions.setdefault("fleet-counts", SharedCounts())
    if within is None:
        return shared.of(environment_id, states)
    # Those of single environments are shared by all who see them, whatever else each of them sees.
    counted = (
        sorted(within) if environment_id is None else [environment_id] if environment_id in within else []
    )
    return sum((shared.of(each) for each in counted), NO_NODES)


class SharedCounts:
    """The last counts of each environment that this worker's pages have asked for."""

    def __init__(self) -> None:
        self._counting = threading.Lock()
        self._known: dict[str | None, _Counted] = {}

    def of(self, environment_id: str | None, states: States | None = None) -> FleetCounts:
        """Count, or repeat what was counted a moment ago."""
        with self._counting:
            nonce = environments.nonce(environment_id)
            known = self._known.get(environment_id)
            if known is not None and time.monotonic() <= known.good_until(nonce):
                return known.counts
            if len(self._known) > 100:
                self._known.clear()
            started = time.monotonic()
            counts = fleet.counts(environment_id, states)
            ended = time.monotonic()
            self._known[environment_id] = _Counted(counts, nonce, ended, ended - started)
            return counts


@dataclass(frozen=True)
class _Counted:
    """Counts, when they were made, how many seconds that took, and what nodes should run at the time."""

    counts: FleetCounts
    nonce: str
    at: float
    cost: float

    def good_until(self, nonce: str) -> float:
        """Until when (``time.monotonic``) they may be shown, now that what nodes should run is *nonce*."""
        if nonce != self.nonce:
            return self.at + self.cost
        return self.at + max(COUNTS_SECONDS, self.cost / COUNTS_SHARE)
