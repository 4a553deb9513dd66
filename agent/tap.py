"""Looks at a running pipeline with ``vector tap``: one process for one component, bounded in time and in bytes."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import Any

from agent import vector
from agent.actions import SampleResult, TakeSample
from agent.events import Event, SampleTaken
from agent.launcher import Launcher
from agent.sampling import TAP_SECONDS
from agent.tap_output import EVENT_BYTES, TapOutput, read_events

log = logging.getLogger("agent.tap")

MORE_SECONDS = 5.0
"""After its first event a tap waits so long for more."""
SAMPLE_BYTES = 256 * 1024
"""Of all events of one component; what comes behind is left out."""


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


class Seen(TapOutput):
    """What the tap of a sample has printed. It is killed once it has shown enough."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.lines: list[bytes] = []
        """Events, each as JSON."""
        self._limit = limit
        self._size = 0

    def events(self) -> list[Any]:
        """The events as JSON values."""
        return read_events(self.lines)

    def _event(self, line: bytes) -> None:
        self.lines.append(line)
        self._size += len(line)
        if len(self.lines) >= self._limit or self._size + EVENT_BYTES > SAMPLE_BYTES:
            self.stop()
        elif len(self.lines) == 1 and self.process is not None and self.process.deadline is not None:
            self.process.deadline = min(self.process.deadline, time.monotonic() + MORE_SECONDS)
