"""How a cost grows: the power law through measured points, and where it leads. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

Points = Sequence[tuple[float, float]]
"""Size and cost, in the order of sizes."""
FAR = 100.0
"""What is further away than so many times the largest measured size is not foretold."""


@dataclass(frozen=True)
class Fit:
    """The power with which a cost grows: 0 where size does not matter, 1 where twice as many cost twice as much."""

    order: float
    """The slope of the straight line through the logarithms (least squares)."""
    least: float
    most: float
    """The range of that slope when any one point is left out: how much it hangs on one measurement."""
    at_end: float
    """The slope through the three largest sizes: what was constant at first may begin to grow."""


def fit(points: Points) -> Fit | None:
    """None where fewer than three points are above zero."""
    usable = [(math.log(x), math.log(y)) for x, y in points if x > 0 and y > 0]
    if len(usable) < 3:
        return None
    partial = [_slope(usable[:left] + usable[left + 1 :]) for left in range(len(usable))]
    return Fit(_slope(usable), min(partial), max(partial), _slope(usable[-3:]))


def reaches(points: Points, limit: float) -> float | None:
    """The size at which the cost comes to *limit*: between two measured sizes, or as the largest ones let expect.

    None where that is not in sight; the smallest measured size where it costs as much already.
    """
    found = fit(points)
    if found is None:
        return None
    usable = [(x, y) for x, y in points if x > 0 and y > 0]
    for (x, y), (later_x, later_y) in itertools.pairwise(usable):
        if y < limit <= later_y:
            share = (math.log(limit) - math.log(y)) / (math.log(later_y) - math.log(y))
            return math.exp(math.log(x) + share * (math.log(later_x) - math.log(x)))
    last_x, last_y = usable[-1]
    if last_y >= limit:
        return usable[0][0]
    slope = max(found.order, found.at_end)
    if slope < 0.05:
        return None
    foretold = float(last_x * (limit / last_y) ** (1 / slope))
    return foretold if foretold <= FAR * last_x else None


def _slope(points: Points) -> float:
    middle_x = sum(x for x, _ in points) / len(points)
    middle_y = sum(y for _, y in points) / len(points)
    across = sum((x - middle_x) ** 2 for x, _ in points)
    return sum((x - middle_x) * (y - middle_y) for x, y in points) / across
