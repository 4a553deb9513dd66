"""One measurement each: a module with `NAME` and `measure(place, scale, results)`, which records as it goes."""

from __future__ import annotations

from collections.abc import Collection
from importlib import import_module
from types import ModuleType

from bench.scale import Scale

SMALL = ("polls", "heartbeats", "fetches", "deploys", "sockets")
"""What `make bench` measures; the last, of which a round fewer says as much, gives way where the time is short."""
REST = (
    "upgrades", "pages", "worker_killed", "workers", "storm", "growth", "hazards", "history", "idle_agent",
    "large_crowd",
)  # fmt: skip
"""The large crowd is last: it may wear out the machine."""


def all_of(scale: Scale) -> list[ModuleType]:
    """What belongs to a run of that scale, in the order in which it is measured and shown."""
    names = SMALL if scale.name == "quick" else SMALL + REST
    return [_module(name) for name in names if scale.crowd or name != "large_crowd"]


def named(names: Collection[str]) -> list[ModuleType]:
    """Those and no others, whatever the scale; KeyError with those that do not exist."""
    unknown = set(names) - {*SMALL, *REST}
    if unknown:
        raise KeyError(", ".join(sorted(unknown)))
    return [_module(name) for name in SMALL + REST if name in names]


def _module(name: str) -> ModuleType:
    return import_module(f"bench.measures.{name}")
