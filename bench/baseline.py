"""What the suite promises from one change to the next: ratios, which do not depend on the machine. Pure.

`baseline.json` has for each ratio what was measured, and how much worse it may become before that is a failure: a
share of it, since the same program gives other ratios on another day, too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.figures import FIGURES
from bench.results import Results

FILE = Path(__file__).parent / "baseline.json"
TOLERANCE = 0.3
"""Where the file says nothing else: three tenths."""
WIDE = {"sockets.push_p99": 0.6, "sockets.idle": 0.4, "sockets.push_p50": 0.4}
"""Figures of few events, which wander more."""


@dataclass(frozen=True)
class Finding:
    """One ratio beside its baseline."""

    key: str
    measured: float | None
    wanted: float
    tolerance: float

    @property
    def least(self) -> float:
        """What it may fall to."""
        return self.wanted * (1 - self.tolerance)

    @property
    def is_worse(self) -> bool:
        """Whether that is a failure; what was not measured is one, too."""
        return self.measured is None or self.measured < self.least

    @property
    def sentence(self) -> str:
        """What there is to say about it."""
        name, _, peer = self.key.partition("/")
        title = FIGURES[name].title if name in FIGURES else name
        beside = f" beside {peer}" if peer else ", as a share of the empty view's"
        if self.measured is None:
            return f"{title}{beside} was not measured; the baseline has {self.wanted:.3g}."
        verdict = "worse than" if self.is_worse else "within"
        return (
            f"{title}{beside} is {self.measured:.3g}, {verdict} the baseline {self.wanted:.3g}"
            f" less {self.tolerance:.0%} (at least {self.least:.3g})."
        )


def compare(results: Results, baseline: Mapping[str, Any]) -> list[Finding]:
    """Each ratio of the baseline whose measurement and peer took part."""
    ratios = results.ratios()
    measurements = {key.partition(".")[0] for key in results.values}
    peers = {name for contenders in results.values.values() for name in contenders}
    findings = []
    for key, row in baseline["ratios"].items():
        name, _, peer = key.partition("/")
        if name.partition(".")[0] in measurements and (not peer or peer in peers):
            findings.append(Finding(key, ratios.get(key), row["ratio"], row["tolerance"]))
    return findings


def made_from(results: Results) -> dict[str, Any]:
    """A baseline with what was measured now."""
    return {
        "facts": {
            name: results.facts[name]
            for name in ("date", "commit", "scale", "machine")
            if name in results.facts
        },
        "ratios": {
            key: {"ratio": round(ratio, 4), "tolerance": WIDE.get(key.partition("/")[0], TOLERANCE)}
            for key, ratio in results.ratios().items()
        },
    }


def read(file: Path = FILE) -> dict[str, Any]:
    """The baseline that is kept with the code."""
    loaded: dict[str, Any] = json.loads(file.read_text())
    return loaded
