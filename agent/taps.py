"""Which live tails run on this node, and why one ends. Pure; what they see is posted by ``tap_stream``."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import assert_never

from agent.actions import Action, Log, RefuseTap, StartTap, StopTap
from agent.events import TapEnded, TapRefused, TapRequested, TapStopRequested

MOST_OPEN = 3
"""So many at a time: each is a process and a thread, and costs the pipeline that it listens to."""
LONGEST_SECONDS = 300.0
"""The server ends them as late; it may be that nobody could tell us that it has."""
GOODBYE_SECONDS = 2.0
"""So long an agent that ends waits for the last words of its taps."""

NOT_RUNNING = "the pipeline does not run on this node"
TOO_MANY = f"{MOST_OPEN} live tails run on this node already"
STOPPED = "stopped"
NO_LONGER_RUNNING = "the pipeline has stopped on this node"
STARTED_ANEW = "the pipeline was started anew on this node"
TOO_LONG = f"it has run for {LONGEST_SECONDS / 60:g} minutes"
AGENT_ENDS = "the agent on this node ends"

TapEvent = TapRequested | TapStopRequested | TapRefused | TapEnded
ApiPort = Callable[[str], int | None]
"""Where the API of a pipeline's child is; another one for each process."""


@dataclass(frozen=True, slots=True)
class _Tap:
    pipeline_id: str
    port: int
    deadline: float
    """Infinity once it was told to end."""


class Taps:
    """The open taps; one counts as open until its process is gone and its last word was said, or given up."""

    def __init__(self) -> None:
        self._open: dict[str, _Tap] = {}
        self._goodbye_at = math.inf

    def handle(self, event: TapEvent, now: float, api_port: ApiPort) -> list[Action]:
        """What follows from *event*."""
        match event:
            case TapRequested():
                return self._begin(event, now, api_port(event.pipeline_id))
            case TapStopRequested():
                return self._stop(event.request_id, STOPPED)
            case TapRefused():
                return self._stop(event.request_id, event.error)
            case TapEnded():
                self._open.pop(event.request_id, None)
                return []
        assert_never(event)

    def due(self, now: float, api_port: ApiPort) -> list[Action]:
        """End what has lost its pipeline or has run for long enough."""
        if now >= self._goodbye_at:
            self._open.clear()
        actions: list[Action] = []
        for request_id, tap in list(self._open.items()):
            port = api_port(tap.pipeline_id)
            if port is None:
                actions += self._stop(request_id, NO_LONGER_RUNNING)
            elif port != tap.port:
                actions += self._stop(request_id, STARTED_ANEW)
            elif now >= tap.deadline:
                actions += self._stop(request_id, TOO_LONG)
        return actions

    def end(self, now: float) -> list[Action]:
        """The agent ends: all stop, and :meth:`is_idle` soon, whether or not the server hears of it."""
        self._goodbye_at = now + GOODBYE_SECONDS
        return [action for request_id in list(self._open) for action in self._stop(request_id, AGENT_ENDS)]

    def is_idle(self) -> bool:
        """Whether none is open."""
        return not self._open

    def next_deadline(self) -> float:
        """When :meth:`due` has something to do because of the time; infinity when nothing is awaited."""
        deadline = min((tap.deadline for tap in self._open.values()), default=math.inf)
        return min(deadline, self._goodbye_at) if self._open else math.inf

    def _begin(self, event: TapRequested, now: float, port: int | None) -> list[Action]:
        if event.request_id in self._open or self._goodbye_at < math.inf:
            return []
        line = (
            f"nudged type=tap_start id={event.request_id} pipeline={event.pipeline_id} "
            f"component={event.component_id!r}"
        )
        error = NOT_RUNNING if port is None else TOO_MANY if len(self._open) >= MOST_OPEN else None
        asked = (event.request_id, event.pipeline_id, event.component_id)
        if port is None or error is not None:
            return [Log(logging.WARNING, f"{line} error={error!r}"), RefuseTap(*asked, error or NOT_RUNNING)]
        self._open[event.request_id] = _Tap(event.pipeline_id, port, now + LONGEST_SECONDS)
        return [Log(logging.INFO, line), StartTap(*asked, port, LONGEST_SECONDS)]

    def _stop(self, request_id: str, reason: str) -> list[Action]:
        tap = self._open.get(request_id)
        if tap is None or tap.deadline == math.inf:
            return []
        self._open[request_id] = replace(tap, deadline=math.inf)
        return [Log(logging.INFO, f"tap ends id={request_id}: {reason}"), StopTap(request_id, reason)]
