"""Looks at a running pipeline with ``vector tap``: one process for one component, bounded in time and in bytes."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Callable
from typing import Any

from agent import vector
from agent.actions import SampleResult, TakeSample
from agent.events import Event, SampleTaken
from agent.launcher import Launcher, Process
from agent.sampling import TAP_SECONDS

log = logging.getLogger("agent.tap")

MORE_SECONDS = 5.0
"""After its first event a tap waits so long for more."""
EVENT_BYTES = 64 * 1024
SAMPLE_BYTES = 256 * 1024
"""Of all events of one component; what comes behind is left out."""
NOTE_CHARACTERS = 300
MOST_NOTES = 5
HARMLESS = ("successfully matched", " INFO ", " DEBUG ")
"""What Vector says while all is well."""


class Tapper:
    """Takes samples; each becomes one SampleTaken."""

    def __init__(
        self,
        launcher: Launcher,
        vector_bin: str,
        version: Callable[[], str | None],
        put: Callable[[Event], None],
    ) -> None:
        self._launcher = launcher
        self._vector_bin = vector_bin
        self._version = version
        self._put = put

    def take(self, action: TakeSample) -> None:
        """Begin; returns at once."""
        self._launcher.submit(lambda: self._take(action))

    def _take(self, action: TakeSample) -> None:
        seen = Seen(action.limit)
        try:
            seen.process = self._launcher.spawn(
                vector.tap_command(
                    self._vector_bin,
                    self._version(),
                    action.api_port,
                    action.component_key,
                    action.limit,
                    of_inputs=action.of_inputs,
                ),
                vector.tap_environment(os.environ),
                seen,
                lambda code: self._ended(action, seen, code),
                TAP_SECONDS,
            )
        except (OSError, ValueError) as error:
            # ValueError: a NUL in the component's name, which no command line can hold.
            self._tell(action, f"cannot run Vector ({self._vector_bin}): {error}")

    def _ended(self, action: TakeSample, seen: Seen, code: int) -> None:
        events = seen.events()
        if events:
            size = sum(len(line) for line in seen.lines)
            self._put(
                SampleTaken(
                    SampleResult(action.request_id, action.component_key, events=tuple(events), size=size)
                )
            )
        elif seen.unmatched is not None:
            flow = "input" if action.of_inputs else "output"
            what = f'what runs has no {flow} of a component "{action.component_key}"'
            self._tell(action, f"{what}: {seen.unmatched}")
        elif seen.oversized:
            self._tell(action, f"each event is larger than {EVENT_BYTES // 1024} KiB")
        elif code < 0 and not seen.notes_of_failure():
            self._tell(action, f"no event came within {TAP_SECONDS:g} s")
        else:
            how = f"exit code {code}" if code >= 0 else f"ended after {TAP_SECONDS:g} s"
            notes = "; ".join(seen.notes_of_failure())
            self._tell(action, f"vector tap shows nothing ({how})" + (f": {notes}" if notes else ""))

    def _tell(self, action: TakeSample, error: str) -> None:
        log.warning("cannot sample id=%s component=%r: %s", action.request_id, action.component_key, error)
        self._put(SampleTaken(SampleResult(action.request_id, action.component_key, error)))


class Seen:
    """What one tap has printed: a line of JSON for an event, other lines for people. In the launcher's thread.

    The tap never ends by itself: it is killed once it has shown enough, or says that there is nothing to show.
    """

    def __init__(self, limit: int) -> None:
        self.process: Process | None = None
        self.lines: list[bytes] = []
        """Events, each as JSON."""
        self.oversized = 0
        self.unmatched: str | None = None
        """What Vector says of a component that it does not have."""
        self._limit = limit
        self._size = 0
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

    def events(self) -> list[Any]:
        """The events as JSON values; what is no JSON after all is left out."""
        found = []
        for line in self.lines:
            try:
                found.append(json.loads(line, parse_constant=str, parse_float=_finite))
            except (ValueError, RecursionError) as error:
                log.debug("an event cannot be read: %s", error)
        return found

    def notes_of_failure(self) -> list[str]:
        """What was said beside events, but for what went well."""
        return [note for note in self._notes if not any(word in note for word in HARMLESS)]

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

    def _event(self, line: bytes) -> None:
        if self._size + len(line) <= SAMPLE_BYTES:
            self.lines.append(line)
            self._size += len(line)
        if len(self.lines) >= self._limit or self._size + EVENT_BYTES > SAMPLE_BYTES:
            self._stop()
        elif len(self.lines) == 1 and self.process is not None and self.process.deadline is not None:
            self.process.deadline = min(self.process.deadline, time.monotonic() + MORE_SECONDS)

    def _note(self, note: str) -> None:
        if len(self._notes) < MOST_NOTES:
            self._notes.append(note)
        if vector.is_unmatched(note):
            self.unmatched = note
            self._stop()

    def _stop(self) -> None:
        self._has_enough = True
        if self.process is not None:
            self.process.kill_group()


def _finite(text: str) -> float | str:
    """A number that JSON can hold again."""
    number = float(text)
    return number if math.isfinite(number) else text
