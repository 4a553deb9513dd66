"""One measurement each: a module with `NAME` and `measure(place, scale, results)`, which records as it goes."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from bench.scale import Scale

SMALL = ("polls", "heartbeats", "fetches", "deploys", "sockets")
"""What `make bench` measures; the last, of which a round fewer says as much, gives way where the time is short."""
REST = (
    "upgrades", "pages", "worker_killed", "workers", "storm", "history", "growth", "idle_agent", "large_crowd",
)  # fmt: skip
"""The large crowd is last: it may wear out the machine."""


def all_of(scale: Scale) -> list[ModuleType]:
    """What belongs to a run of that scale, in the order in which it is measured and shown."""
    names = SMALL if scale.name == "quick" else SMALL + REST
    return [import_module(f"bench.measures.{name}") for name in names]
