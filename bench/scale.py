"""How much is measured: the small set of `make bench`, or all of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """Sizes and times; seconds unless the name says otherwise."""

    name: str
    rounds: int
    """How often each contender has its turn."""
    sockets: int
    idle_rounds: int
    """In how many of the rounds it is looked what idling costs."""
    idle_seconds: float
    """Contenders ping every 25 s and renew presence every 30 s, all sockets at once: less would see none of it."""
    fan_outs: int
    """Of one turn."""
    pushes: int
    load_seconds: float
    """Of one stretch of requests."""
    nodes: int
    """Of the fleet whose pages, polls and fetches are measured."""
    crowd: int
    """Of the largest crowd."""
    crowd_most: int
    """What is tried beyond it."""
    crowd_seconds: float
    """How long none of them may be lost."""
    growth: tuple[int, ...]


QUICK = Scale(
    name="quick",
    rounds=2,
    sockets=3000,
    idle_rounds=1,
    idle_seconds=30,
    fan_outs=5,
    pushes=150,
    load_seconds=3,
    nodes=3000,
    crowd=0,
    crowd_most=0,
    crowd_seconds=0,
    growth=(),
)
FULL = Scale(
    name="full",
    rounds=5,
    sockets=10_000,
    idle_rounds=3,
    idle_seconds=60,
    fan_outs=7,
    pushes=500,
    load_seconds=5,
    nodes=10_000,
    crowd=100_000,
    crowd_most=250_000,
    crowd_seconds=600,
    growth=(1000, 2000, 4000, 8000, 16_000),
)
TINY = Scale(
    name="tiny",
    rounds=1,
    sockets=600,
    idle_rounds=1,
    idle_seconds=2,
    fan_outs=2,
    pushes=20,
    load_seconds=1,
    nodes=300,
    crowd=1000,
    crowd_most=2000,
    crowd_seconds=5,
    growth=(200, 400, 800),
)
"""To see whether everything runs; its figures mean nothing."""
SCALES = {scale.name: scale for scale in (QUICK, FULL, TINY)}
