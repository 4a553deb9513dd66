"""How many of its sockets a worker should shed just now, so that newcomers get their part. Pure.

Agents that are shed dial again and may land where they came from; so each round is small, and the next one looks
at what has come of it (hazard 20).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, replace

TOLERATED = 1.2
"""What a worker may hold, as a share of the average."""
LEAST_EXCESS = 10
"""So many sockets above the average never matter."""
SHARE_A_SECOND = 0.04
"""At most so much of what it holds does a worker shed in a second."""
STABLE_REPORTS = 3
"""A worker that has reported less often has joined just now; nobody sheds until it has settled."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a living worker says of itself."""

    worker_id: str
    sockets: int
    cap: int
    """How many sockets it takes at most."""
    is_draining: bool
    reports: int
    """How often it has said so; grows by one every few seconds."""


class Steady:
    """What a worker held lately, so that growth is not taken for excess.

    What the others have reported is older than what it knows of itself: while a herd comes back, each would think
    that it had got more than its part.
    """

    def __init__(self) -> None:
        self._counts: deque[int] = deque(maxlen=STABLE_REPORTS)

    def seen(self, own: Load) -> Load:
        """*own* with the least that it held at this and the last two reports; to be called once for each."""
        self._counts.append(own.sockets)
        return replace(own, sockets=min(self._counts))


def to_shed(own_id: str, loads: Collection[Load], seconds: float) -> int:
    """How many sockets worker *own_id* should shed within the next *seconds*; *loads* are all living workers'.

    0 unless it holds more than ``TOLERATED`` of the average and others are below the average and their cap. All that
    shed share that room, so that together they never fill a newcomer beyond the average.
    """
    staying = [load for load in loads if not load.is_draining]
    own = next((load for load in staying if load.worker_id == own_id), None)
    if own is None or any(load.reports < STABLE_REPORTS for load in staying):
        return 0
    average = sum(load.sockets for load in staying) / len(staying)
    bound = max(average * TOLERATED, average + LEAST_EXCESS)
    if own.sockets <= bound:
        return 0
    room = sum(max(0.0, min(average, load.cap) - load.sockets) for load in staying)
    too_many = sum(max(0.0, load.sockets - bound) for load in staying)
    excess = own.sockets - bound
    share = min(excess, room * excess / too_many)
    pace = max(1.0, own.sockets * SHARE_A_SECOND * seconds)
    return int(min(share, pace) + 0.999)
