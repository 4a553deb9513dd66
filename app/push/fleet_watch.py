"""An open fleet page's ear: which nodes have changed since it last asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from types import TracebackType

MAX_CHANGED = 10_000


class FleetWatch:
    """A context manager; while it is entered, ``wait`` answers what has changed."""

    def __init__(self, enter: Callable[[FleetWatch], None], leave: Callable[[FleetWatch], None]) -> None:
        self._enter = enter
        self._leave = leave
        self._changed: set[str] = set()
        self._event = threading.Event()

    def __enter__(self) -> FleetWatch:
        self._enter(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave(self)

    def notify(self, node_ids: Iterable[str]) -> None:
        """These nodes have changed; with none, wake who waits."""
        if len(self._changed) < MAX_CHANGED:
            self._changed.update(node_ids)
        self._event.set()

    def wait(self, timeout: float) -> set[str]:
        """The nodes that changed since the last call; waits up to *timeout* seconds for the first."""
        self._event.wait(timeout)
        self._event.clear()
        changed, self._changed = self._changed, set()
        return changed
