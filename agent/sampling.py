"""Which samples to take, and when: each request once, several taps at a time up to a bound. Pure."""

from __future__ import annotations

import collections
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass

from agent.actions import Action, Log, PostSamples, SampleResult, TakeSample
from agent.plan import SampleRequest

MOST_TAPS = 4
"""So many at a time: each is a process, and costs the pipeline that it listens to."""
MOST_WAITING = 64
MOST_COMPONENTS = 16
"""Of one request; more are not looked at."""
WAIT_SECONDS = 90.0
"""How long a component may wait for its turn; the server waits two minutes for all of it."""
TAP_SECONDS = 15.0
LOST_SECONDS = TAP_SECONDS + 15.0
"""After so long a tap of which nothing is heard is no longer waited for."""
REMEMBERED_IDS = 256
"""So many ids of sample requests are remembered, so that none is done twice."""

NOT_RUNNING = "the pipeline does not run on this node"
TOO_MANY = "too many samples are asked of this node at once"
NO_TURN = f"other samples have kept this node busy for {WAIT_SECONDS:g} s"
LOST = "the tap has not ended in time"


@dataclass(frozen=True, slots=True)
class _Wish:
    request: SampleRequest
    component_key: str
    deadline: float

    def failed(self, error: str) -> Action:
        return PostSamples((SampleResult(self.request.request_id, self.component_key, error),))


class Sampling:
    """The queue of components that are to be tapped."""

    def __init__(self) -> None:
        self._known_ids: dict[str, None] = {}
        """Of requests already taken up, oldest first."""
        self._waiting: collections.deque[_Wish] = collections.deque()
        self._running: dict[tuple[str, str], _Wish] = {}

    def take_up(self, request: SampleRequest, now: float) -> list[Action]:
        """Do what is asked, unless that was begun before; :meth:`due` goes on with it."""
        if request.request_id in self._known_ids:
            return []
        self._known_ids[request.request_id] = None
        if len(self._known_ids) > REMEMBERED_IDS:
            del self._known_ids[next(iter(self._known_ids))]
        keys = tuple(dict.fromkeys(request.component_keys))[:MOST_COMPONENTS]
        actions: list[Action] = [
            Log(
                logging.INFO,
                f"nudged type=sample_request id={request.request_id} pipeline={request.pipeline_id} "
                f"components={len(keys)}",
            )
        ]
        for key in keys:
            wish = _Wish(request, key, now + WAIT_SECONDS)
            if len(self._waiting) < MOST_WAITING:
                self._waiting.append(wish)
            else:
                actions.append(wish.failed(TOO_MANY))
        return actions

    def taken(self, result: SampleResult) -> list[Action]:
        """A tap has ended; what it saw is posted, unless it was given up."""
        if self._running.pop((result.request_id, result.component_key), None) is None:
            return []
        return [PostSamples((result,))]

    def due(self, now: float, api_port: Callable[[str], int | None]) -> list[Action]:
        """Begin what has its turn, and give up what has waited too long. ``api_port``: of a pipeline's child."""
        actions: list[Action] = []
        for key in [key for key, wish in self._running.items() if now >= wish.deadline]:
            actions.append(self._running.pop(key).failed(LOST))
        while self._waiting and (len(self._running) < MOST_TAPS or now >= self._waiting[0].deadline):
            wish = self._waiting.popleft()
            request, port = wish.request, api_port(wish.request.pipeline_id)
            if now >= wish.deadline:
                actions.append(wish.failed(NO_TURN))
            elif port is None:
                actions.append(wish.failed(NOT_RUNNING))
            else:
                self._running[request.request_id, wish.component_key] = _Wish(
                    request, wish.component_key, now + LOST_SECONDS
                )
                actions.append(
                    TakeSample(
                        request.request_id,
                        wish.component_key,
                        port,
                        request.limit,
                        of_inputs=wish.component_key in request.sink_keys,
                    )
                )
        return actions

    def next_deadline(self) -> float:
        """When :meth:`due` has something to do because of the time; infinity when nothing is awaited."""
        waits = [wish.deadline for wish in self._running.values()]
        if self._waiting:
            waits.append(self._waiting[0].deadline)
        return min(waits, default=math.inf)
