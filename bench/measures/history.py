"""A week of metrics: what is kept for each node, and how long it takes to write and to draw."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout

from bench import metrics_history
from bench.figures import figure
from bench.place import Place, say
from bench.results import Results
from bench.scale import Scale

NAME = "history"
NODES = {"tiny": 1}

KEPT = figure(
    "history.kept", "a week of metrics as kept", "KiB a node", "less", "rolled up, three pipelines a node"
)
WRITE = figure("history.write", "a minute of one node's metrics", "ms", "less", "written to the database")
WEEK = figure("history.week", "a node's week of metrics", "ms", "less", "read and drawn")


def measure(place: Place, scale: Scale, results: Results) -> None:
    """On SQLite and PostgreSQL, as `python -m bench.metrics_history` prints it."""
    nodes = NODES.get(scale.name, 10)
    for kind in ("SQLite", "PostgreSQL"):
        if not place.has_time:
            return
        say(f"{NAME}: {kind}, {nodes} nodes")
        said = io.StringIO()
        with place.database(kind) as url, redirect_stdout(said):
            metrics_history.measure(kind, url, nodes)
        text = said.getvalue()
        contender = f"on {kind}"
        results.record(KEPT, found(r"([\d.]+) KiB(?:,.*)? a node as kept by default", text), contender)
        results.record(WRITE, found(r"is written in ([\d.]+) ms", text), contender)
        results.record(WEEK, found(r"week read and drawn in ([\d.]+) ms", text), contender)


def found(pattern: str, text: str) -> float:
    """The number in the first line that fits; ValueError with all that was said where there is none."""
    match = re.search(pattern, text)
    if match is None:
        raise ValueError(f"no {pattern!r} in:\n{text}")
    return float(match[1])
