"""How much is measured: the small set of `make bench`, all of it in 40 minutes, or in hours."""

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
    """Sizes of each curve."""
    versions: int
    """The last size of the curve of versions."""
    sustained_seconds: float
    """Of heartbeats without a pause, on each database; 0: none."""
    idle_agent_seconds: float
    """How long the requests of an idle agent are counted."""


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
    growth=(500, 1000, 2000),
    versions=40,
    sustained_seconds=0,
    idle_agent_seconds=120,
)
MEDIUM = Scale(
    name="medium",
    rounds=2,
    sockets=10_000,
    idle_rounds=1,
    idle_seconds=30,
    fan_outs=5,
    pushes=200,
    load_seconds=3,
    nodes=10_000,
    crowd=0,
    crowd_most=0,
    crowd_seconds=0,
    growth=(1000, 2500, 6000, 15_000),
    versions=400,
    sustained_seconds=120,
    idle_agent_seconds=300,
)
"""All but the large crowd, at the size of the targets, in 40 minutes."""
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
    versions=1000,
    sustained_seconds=300,
    idle_agent_seconds=1800,
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
    versions=40,
    sustained_seconds=2,
    idle_agent_seconds=20,
)
"""To see whether everything runs; its figures mean nothing."""
SCALES = {scale.name: scale for scale in (QUICK, MEDIUM, FULL, TINY)}
