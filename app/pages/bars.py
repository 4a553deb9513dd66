"""Bars that show how some nodes stand: one segment for each state, none of them too narrow to be seen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

LEAST_PERCENT = 2.0
"""One failed node among ten thousand is what a bar is looked at for."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Part of a bar."""

    tone: str
    """``good``, ``busy``, ``bad`` or ``plain``."""
    mark: str
    number: int
    word: str
    start: float
    """Percent of the bar's width."""
    width: float


def segments(parts: Iterable[tuple[str, str, int, str]], total: int) -> list[Segment]:
    """A segment for each of *parts* (tone, mark, number, word) that is not 0, of *total*; the rest stays empty."""
    shown = [part for part in parts if part[2] > 0]
    widths = [max(LEAST_PERCENT, 100 * number / total) for _, _, number, _ in shown] if total else []
    # What the narrow ones were given is taken from the widest, and so is what would stand for the rest.
    room = 100.0 if sum(part[2] for part in shown) >= total else 100 - LEAST_PERCENT
    excess = sum(widths) - room
    if excess > 0:
        widths[widths.index(max(widths))] -= excess
    result, start = [], 0.0
    for part, width in zip(shown, widths, strict=bool(total)):
        result.append(Segment(*part, start=round(start, 2), width=round(width, 2)))
        start += width
    return result
