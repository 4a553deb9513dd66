"""What can be measured: the names, units and meanings that tables, pictures and documents share."""

from __future__ import annotations

from dataclasses import dataclass

from bench.measures import REST, SMALL

OURS = "signalbox"


@dataclass(frozen=True)
class Figure:
    """One thing that is measured, for one or several contenders."""

    key: str
    """`measurement.figure`."""
    title: str
    unit: str
    """`share` is a ratio by itself, measured beside its unit in the same minute."""
    better: str
    """`less`, `more`, or `-` where neither is, for what only explains others."""
    what: str
    """What it means, in a sentence."""


FIGURES: dict[str, Figure] = {}


def ordered() -> list[Figure]:
    """All of them, by measurement in the order in which they run, whoever was imported first."""
    places = {name: place for place, name in enumerate(SMALL + REST)}
    return sorted(FIGURES.values(), key=lambda each: places.get(each.key.partition(".")[0], len(places)))


def figure(key: str, title: str, unit: str, better: str, what: str) -> str:
    """Say that it exists; the key."""
    assert better in ("less", "more", "-"), better
    assert key not in FIGURES, key
    FIGURES[key] = Figure(key, title, unit, better, what)
    return key
