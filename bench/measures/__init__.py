"""One measurement each: a module with `NAME` and `measure(place, scale, results)`, which records as it goes."""

from __future__ import annotations

from types import ModuleType

from bench.scale import Scale


def all_of(scale: Scale) -> list[ModuleType]:
    """What belongs to a run of that scale, in the order in which it is measured."""
    from bench.measures import sockets

    return [sockets]
