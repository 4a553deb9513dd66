"""One measurement each: a module with `NAME` and `measure(place, scale, results)`, which records as it goes."""

from __future__ import annotations

from types import ModuleType

from bench.scale import Scale


def all_of(scale: Scale) -> list[ModuleType]:
    """What belongs to a run of that scale, in the order in which it is measured."""
    from bench.measures import (
        deploys,
        fetches,
        growth,
        heartbeats,
        history,
        idle_agent,
        large_crowd,
        pages,
        polls,
        sockets,
        storm,
        upgrades,
        worker_killed,
        workers,
    )

    small = [sockets, polls, heartbeats, fetches, deploys]
    if scale.name == "quick":
        return small
    return [*small, upgrades, pages, worker_killed, workers, storm, history, growth, idle_agent, large_crowd]
