"""One observer of a running pipeline."""

import time
from fnmatch import fnmatchcase
from queue import Empty, Full, Queue
from typing import TYPE_CHECKING, Any

from .component import Component
from .events import Event, fields_of

if TYPE_CHECKING:
    from .checks import Part

# An observer that reads more slowly than events come misses some; the pipeline never waits for it.
WAITING_EVENTS = 1000


class Tap:
    """Takes up to `limit` events in each interval from the outputs of some components.

    outputs_of, inputs_of: patterns of component ids, with `*`; the inputs of a component are the outputs of
    those that feed it. interval: seconds.
    """

    def __init__(
        self, parts: list["Part"], outputs_of: list[str], inputs_of: list[str], limit: int, interval: float
    ) -> None:
        self.unmatched: list[str] = []
        self._component_ids: set[str] = set()
        for pattern in outputs_of:
            self._add(
                pattern, [part.id for part in parts if part.kind != "sink" and fnmatchcase(part.id, pattern)]
            )
        for pattern in inputs_of:
            fed = [part for part in parts if part.kind != "source" and fnmatchcase(part.id, pattern)]
            self._add(pattern, [source for part in fed for source in part.inputs])
        self._limit = limit
        self._interval = interval
        self._window_ends = 0.0
        self._taken = 0
        self._waiting: Queue[tuple[Component, Event]] = Queue(WAITING_EVENTS)

    def _add(self, pattern: str, component_ids: list[str]) -> None:
        if not component_ids:
            self.unmatched.append(pattern)
        self._component_ids.update(component_ids)

    def offer(self, component: Component, events: list[Event]) -> None:
        """Take what this tap wants. On the pipeline's thread: never waits."""
        if component.id not in self._component_ids:
            return
        now = time.monotonic()
        if now >= self._window_ends:
            self._window_ends = now + self._interval
            self._taken = 0
        for event in events[: max(0, self._limit - self._taken)]:
            try:
                self._waiting.put_nowait((component, event))
            except Full:
                return
            self._taken += 1

    def next(self, timeout: float) -> dict[str, Any] | None:
        """The next event and where it came from; None if none came within `timeout` seconds."""
        try:
            component, event = self._waiting.get(timeout=timeout)
        except Empty:
            return None
        return {
            "component_id": component.id,
            "component_kind": component.kind,
            "component_type": component.type,
            "event": fields_of(event),
        }
