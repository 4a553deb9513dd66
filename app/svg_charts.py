"""Line charts as SVG, drawn on the server. Plain attributes and classes, which ``node.css`` colours. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from markupsafe import Markup, escape

WIDTH, HEIGHT = 360, 120
LEFT, RIGHT, TOP, BOTTOM = 68, 8, 8, 20
LINES = 3
"""Of the scale, without zero."""

Readings = Sequence[tuple[float, float | None]]
"""Moments (seconds since 1970) with values; ``None``, or a missing moment, is a gap."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line; *number* chooses its look in the style sheet (1 or 2), solid and dashed."""

    name: str
    number: int
    readings: Readings


def scale_top(most: float, base: int = 10) -> float:
    """A round number that is at least *most*: three steps of 1, 2 or 5 times a power of *base*'s tens or of 1024."""
    if most <= 0:
        return 3.0 if base == 10 else 3 * 1024.0
    unit = 1024.0 ** max(0, math.floor(math.log(most, 1024))) if base == 1024 else 1.0
    step = most / LINES / unit
    power = 10.0 ** math.floor(math.log10(step))
    for nice in (1, 2, 5, 10):
        if nice * power >= step * (1 - 1e-9):
            return nice * power * LINES * unit
    raise AssertionError("ten times its power of ten is more than any number")


def chart(
    title: str,
    lines: Sequence[Line],
    since: float,
    until: float,
    every: float,
    say: Callable[[float], str],
    *,
    top: float | None = None,
    base: int = 10,
) -> Markup:
    """The picture from *since* to *until*; points further apart than twice *every* seconds are not joined.

    *say* writes a value; *top* is the end of the scale where that is known. What it shows stands in its title, for
    those who cannot see it; the values stand in the table beside it.
    """
    values = [value for line in lines for _, value in line.readings if value is not None]
    end = top or scale_top(max(values, default=0.0), base)

    def x(at: float) -> float:
        return LEFT + (at - since) / (until - since) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return TOP + (1 - min(max(value / end, 0.0), 1.0)) * (HEIGHT - TOP - BOTTOM)

    parts = [f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">']
    for number in range(LINES + 1):
        value = end * number / LINES
        parts.append(
            f'<path class="grid" d="M{LEFT} {y(value):.1f}H{WIDTH - RIGHT}"/>'
            f'<text class="tick" x="{LEFT - 6}" y="{y(value) + 3.5:.1f}" text-anchor="end">'
            f"{escape(say(value))}</text>"
        )
    for at, text in ticks(since, until):
        parts.append(
            f'<path class="grid" d="M{x(at):.1f} {TOP}V{HEIGHT - BOTTOM}"/>'
            f'<text class="tick" x="{x(at):.1f}" y="{HEIGHT - 6}" text-anchor="middle">{text}</text>'
        )
    for line in lines:
        path = []
        for run in runs(line.readings, every):
            drawn = [f"{x(at):.1f} {y(value):.1f}" for at, value in run]
            # A lone point is a dot: a line of no length with round ends.
            path.append("M" + "L".join(drawn if len(drawn) > 1 else drawn * 2))
        if path:
            parts.append(f'<path class="line line-{line.number}" d="{"".join(path)}"/>')
    return Markup("".join([*parts, "</svg>"]))


def runs(readings: Readings, every: float) -> list[list[tuple[float, float]]]:
    """The readings cut at gaps."""
    found: list[list[tuple[float, float]]] = []
    last: float | None = None
    for at, value in readings:
        if value is None:
            last = None
            continue
        if last is None or at - last > 2 * every:
            found.append([])
        found[-1].append((at, value))
        last = at
    return found


def ticks(since: float, until: float) -> list[tuple[float, str]]:
    """Round moments, in UTC, at most eight, and what is written below each."""
    span = until - since
    step = next(
        each for each in (60, 600, 900, 3600, 14_400, 86_400, 7 * 86_400) if span / each <= 8 or each > 86_400
    )
    form = "%H:%M" if step < 86_400 else "%d %b"
    first = math.ceil((since + 1) / step) * step
    return [
        (at, datetime.fromtimestamp(at, UTC).strftime(form))
        for at in range(int(first), int(until) + 1, step)
        # One at the edge would be cut off.
        if 0.04 < (at - since) / span < 0.97
    ]
