"""The difference between two texts, line by line, for people."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass

CONTEXT_LINES = 3
MAX_COMPARED = 3000
"""Changed regions longer than this are shown whole: to look for what is alike in them would take too long."""
MAX_SHOWN = 2000


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a difference; ``mark`` is ``+``, ``-``, a space, or ``…`` where lines are left out."""

    mark: str
    old: int | None
    """Its number in the old text, from 1."""
    new: int | None
    text: str


def difference(old: str, new: str) -> list[Line]:
    """What became of *old*, with three lines around each change; empty if the texts are alike."""
    if old == new:
        return []
    before, after = old.splitlines(), new.splitlines()
    lines: list[Line] = []
    last = 0
    for group in _grouped(before, after):
        start = group[0][1]
        if start > last:
            lines.append(Line("…", None, None, f"{start - last} lines are the same"))
        for tag, a1, a2, b1, b2 in group:
            if tag == "equal":
                lines += [Line(" ", a1 + n + 1, b1 + n + 1, before[a1 + n]) for n in range(a2 - a1)]
            else:
                lines += [Line("-", n + 1, None, before[n]) for n in range(a1, a2)]
                lines += [Line("+", None, n + 1, after[n]) for n in range(b1, b2)]
        last = group[-1][2]
        if len(lines) > MAX_SHOWN:
            left = len(lines) - MAX_SHOWN
            return [*lines[:MAX_SHOWN], Line("…", None, None, f"{left} lines more are not shown")]
    if last < len(before):
        lines.append(Line("…", None, None, f"{len(before) - last} lines are the same"))
    return lines


Operation = tuple[str, int, int, int, int]


def _grouped(before: list[str], after: list[str]) -> Iterator[list[Operation]]:
    """As difflib's, but what is alike at both ends is cut off first, and a large rest is not searched."""
    head = 0
    while head < min(len(before), len(after)) and before[head] == after[head]:
        head += 1
    tail = 0
    while tail < min(len(before), len(after)) - head and before[-1 - tail] == after[-1 - tail]:
        tail += 1
    a_end, b_end = len(before) - tail, len(after) - tail
    if a_end - head + b_end - head > MAX_COMPARED:
        around = min(head, CONTEXT_LINES), min(tail, CONTEXT_LINES)
        yield [
            ("equal", head - around[0], head, head - around[0], head),
            ("replace", head, a_end, head, b_end),
            ("equal", a_end, a_end + around[1], b_end, b_end + around[1]),
        ]
        return
    kept_head, kept_tail = max(0, head - CONTEXT_LINES), min(tail, CONTEXT_LINES)
    matcher = difflib.SequenceMatcher(
        None, before[kept_head : a_end + kept_tail], after[kept_head : b_end + kept_tail], autojunk=False
    )
    for group in matcher.get_grouped_opcodes(CONTEXT_LINES):
        yield [
            (tag, a1 + kept_head, a2 + kept_head, b1 + kept_head, b2 + kept_head)
            for tag, a1, a2, b1, b2 in group
        ]
