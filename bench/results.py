"""What a run has measured: values by figure and contender, by rounds; medians, ranges, ratios. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.figures import FIGURES, OURS, Figure, ordered

Values = dict[str, dict[str, list[float]]]
"""By figure, then by contender."""


class Results:
    """Values as they come; and what the run was."""

    def __init__(self, values: Values | None = None, facts: Mapping[str, Any] | None = None) -> None:
        self.values: Values = values or {}
        self.facts: dict[str, Any] = dict(facts or {})
        """The machine, the date, the scale, and what was left out."""

    def record(self, key: str, value: float, contender: str = OURS) -> None:
        """One more value; KeyError if nobody has said what it means."""
        figure = FIGURES[key]
        self.values.setdefault(figure.key, {}).setdefault(contender, []).append(value)

    def add(self, other: Results) -> None:
        """What another has measured, behind what is here."""
        for key, contenders in other.values.items():
            for name, values in contenders.items():
                self.values.setdefault(key, {}).setdefault(name, []).extend(values)

    def of(self, key: str, contender: str = OURS) -> list[float]:
        """All values, in the order of the rounds."""
        return self.values.get(key, {}).get(contender, [])

    def median(self, key: str, contender: str = OURS) -> float | None:
        """None where it was not measured."""
        values = self.of(key, contender)
        return statistics.median(values) if values else None

    def ratio(self, key: str, peer: str) -> float | None:
        """How many times better ours is than the peer; None where that cannot be said.

        Values of one round were measured within minutes of each other, so they are compared round by round, and
        the median of that is the answer; the machine's drift between rounds is in none of them.
        """
        pairs = list(zip(self.of(key), self.of(key, peer), strict=False))
        quotients = [quotient(FIGURES[key], ours, theirs) for ours, theirs in pairs]
        usable = [each for each in quotients if each is not None]
        return statistics.median(usable) if usable and len(usable) == len(pairs) else None

    def ratios(self) -> dict[str, float]:
        """All that does not depend on the machine's speed: `figure` for shares, `figure/peer` for the others."""
        found: dict[str, float] = {}
        for figure, contenders in self.figures():
            if figure.unit == "share" and (share := self.median(figure.key)) is not None:
                found[figure.key] = share
            for peer in contenders:
                if peer != OURS and (ratio := self.ratio(figure.key, peer)) is not None:
                    found[f"{figure.key}/{peer}"] = ratio
        return found

    def figures(self) -> Iterator[tuple[Figure, list[str]]]:
        """What was measured, ours first, in the order in which they are measured."""
        for figure in ordered():
            if figure.key in self.values:
                names = self.values[figure.key]
                yield figure, sorted(names, key=lambda name: (name != OURS, list(names).index(name)))

    def to_json(self) -> dict[str, Any]:
        """As it is written to a file."""
        rows = {
            figure.key: {
                "title": figure.title,
                "unit": figure.unit,
                "better": figure.better,
                "contenders": {
                    name: {"median": self.median(figure.key, name), "values": self.of(figure.key, name)}
                    for name in names
                },
            }
            for figure, names in self.figures()
        }
        return {"facts": self.facts, "figures": rows, "ratios": self.ratios()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Results:
        """What `to_json` gave; figures that are no longer known are left out."""
        values = {
            key: {name: list(each["values"]) for name, each in row["contenders"].items()}
            for key, row in data["figures"].items()
            if key in FIGURES
        }
        return cls(values, data["facts"])


def quotient(figure: Figure, ours: float, theirs: float) -> float | None:
    """How many times better ours is; None where it cannot be said."""
    if figure.better == "less":
        return theirs / ours if ours > 0 else None
    if figure.better == "more":
        return ours / theirs if theirs > 0 else None
    return None


def percentile(values: Sequence[float], share: float) -> float:
    """The value that so large a share does not exceed; ValueError where there is none."""
    if not values:
        raise ValueError("no value, so no percentile")
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]
