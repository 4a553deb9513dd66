"""What is new in lists that show the last of something, where no element has a number."""

from __future__ import annotations

from collections.abc import Sequence

KEPT = 1000


class Window:
    """What was seen of one list, the last thousand."""

    def __init__(self) -> None:
        self._seen: list[str] = []

    def new(self, shown: Sequence[str]) -> list[str]:
        """Those at the end of *shown* that were not seen before.

        What *shown* begins with was seen if the seen ones end with it: the longest such overlap counts. Where a
        whole list stands among what was seen, an older answer has come late, and nothing of it is new.
        """
        shown = list(shown)
        for length in range(min(len(shown), len(self._seen)), 0, -1):
            if self._seen[-length:] == shown[:length]:
                return self._note(shown[length:])
        return [] if self._holds(shown) else self._note(shown)

    def _note(self, lines: list[str]) -> list[str]:
        self._seen = (self._seen + lines)[-KEPT:]
        return lines

    def _holds(self, shown: list[str]) -> bool:
        size = len(shown)
        return any(self._seen[start : start + size] == shown for start in range(len(self._seen) - size + 1))


class Replay:
    """Tells in a stream that began again what it merely repeats: at first the last of what it had shown before."""

    def __init__(self, seen: Sequence[str]) -> None:
        self._seen = list(seen)
        self._held: list[str] = []
        self._starts = list(range(len(self._seen)))
        """Where in what was seen the repetition may have begun."""
        self._repeated = 0
        """How many of the held ones are repeated, if none of the starts that are left is the right one."""

    def new(self, element: str) -> list[str]:
        """What is new, now that *element* has come; while it may all be a repetition, nothing."""
        if not self._starts:
            return [element]
        at = len(self._held)
        self._held.append(element)
        going_on = [start for start in self._starts if self._seen[start + at] == element]
        if any(start + at + 1 == len(self._seen) for start in going_on):
            self._repeated = at + 1
        self._starts = [start for start in going_on if start + at + 1 < len(self._seen)]
        return [] if self._starts else self._held[self._repeated :]
