"""Hazards 9, 10, 20, 25, 28, 29 and 33 under load: each as it is, and with its rule taken away."""

from __future__ import annotations

import traceback

from bench.figures import OURS
from bench.hazards import (
    WITHOUT,
    h09_resync,
    h10_storm,
    h20_accept,
    h25_bodies,
    h28_commits,
    h29_herd,
    h33_proxies,
)
from bench.place import Place, say
from bench.results import Results
from bench.scale import Scale

NAME = "hazards"
EXPERIMENTS = (h09_resync, h10_storm, h20_accept, h25_bodies, h28_commits, h29_herd, h33_proxies)
SIDES = {OURS: True, WITHOUT: False}


def measure(place: Place, scale: Scale, results: Results) -> None:
    """Both sides of each in turn, the other one first in the next round; what fails costs only itself."""
    for number in range(max(1, scale.rounds // 2)):
        for experiment in EXPERIMENTS:
            if not place.has_time:
                return
            own = Results()
            try:
                for side in (list(SIDES), list(SIDES)[::-1])[number % 2]:
                    say(f"{NAME}: round {number + 1}, {_first_line(experiment.__doc__)} {side}")
                    for key, value in experiment.run(place, scale, kept=SIDES[side]).items():
                        own.record(key, value, side)
            except Exception as error:
                traceback.print_exc()
                results.facts.setdefault("failed", []).append(
                    f"{NAME}, {experiment.__name__.rpartition('.')[2]}: {error}".splitlines()[0]
                )
                continue
            results.add(own)


def _first_line(doc: str | None) -> str:
    return (doc or "").splitlines()[0]
