"""What ``vector tap`` prints, line by line: JSON objects are events, all else is for people."""

from __future__ import annotations

import json
import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

from agent import vector
from agent.launcher import Process

log = logging.getLogger("agent.tap")

EVENT_BYTES = 64 * 1024
NOTE_CHARACTERS = 300
MOST_NOTES = 5
HARMLESS = ("successfully matched", " INFO ", " DEBUG ")
"""What Vector says while all is well."""


class TapOutput(ABC):
    """Cuts what was read into lines, however it came. In the launcher's thread.

    A tap never ends by itself: it is killed, at the latest when it says that there is nothing to show.
    """

    def __init__(self) -> None:
        self.process: Process | None = None
        self.oversized = 0
        """Events that were left out for their size."""
        self.unmatched: str | None = None
        """What Vector says of a component that it does not have."""
        self._notes: list[str] = []
        self._part = b""
        self._is_skipping = False
        """The line under way has become too long."""
        self._has_enough = False

    def feed(self, data: bytes) -> None:
        """Take what was read."""
        if self._has_enough:
            return
        *lines, part = data.split(b"\n")
        for line in lines:
            self._take(line)
            self._line()
            if self._has_enough:
                return
        self._take(part)

    def end(self) -> None:
        """Nothing more comes; half a line is no event."""
        self._part = b""

    def notes_of_failure(self) -> list[str]:
        """What was said beside events, but for what went well."""
        return [note for note in self._notes if not any(word in note for word in HARMLESS)]

    def stop(self) -> None:
        """Kill it, with all that it has started; nothing more is taken."""
        self._has_enough = True
        if self.process is not None:
            self.process.kill_group()

    @abstractmethod
    def _event(self, line: bytes) -> None:
        """Take an event's line."""

    def _take(self, data: bytes) -> None:
        if self._is_skipping or len(self._part) + len(data) > EVENT_BYTES:
            self._is_skipping, self._part = True, b""
        else:
            self._part += data

    def _line(self) -> None:
        line, self._part = self._part.strip(), b""
        if self._is_skipping:
            self._is_skipping = False
            self.oversized += 1
        elif line.startswith(b"{"):
            self._event(line)
        elif line:
            self._note(line.decode("utf-8", "replace")[:NOTE_CHARACTERS])

    def _note(self, note: str) -> None:
        if len(self._notes) < MOST_NOTES:
            self._notes.append(note)
        if vector.is_unmatched(note):
            self.unmatched = note
            self.stop()


def read_events(lines: Iterable[bytes]) -> list[Any]:
    """The events as JSON values; what is no JSON after all is left out."""
    found = []
    for line in lines:
        try:
            found.append(json.loads(line, parse_constant=str, parse_float=_finite))
        except (ValueError, RecursionError) as error:
            log.debug("an event cannot be read: %s", error)
    return found


def _finite(text: str) -> float | str:
    """A number that JSON can hold again."""
    number = float(text)
    return number if math.isfinite(number) else text
