"""After a worker or a machine has joined, the others shed what they hold too much of, gently."""

from __future__ import annotations

import logging
import random
import time
from typing import TYPE_CHECKING

import gevent

from agent.protocol import CloseCode
from app.push import meters
from app.push.balance import Load, Steady, to_shed
from app.push.connection import Connection
from app.push.loads import Loads
from app.push.redis_gate import RedisAwayError

if TYPE_CHECKING:
    from app.push.worker import Worker

EVERY_SECONDS = 2.0
CANDIDATES = 2
"""Of so many times what is to go some may have been shed not long ago."""
OLD_ENOUGH_MS = 15_000
"""A channel that has just been opened landed where it did for a reason, and may end by itself as soon."""
TOO_MANY = "too many"

log = logging.getLogger("signalbox.push")


class Shedding:
    """Reports what *worker* holds, and closes what it should shed with ``1001``; at most *cap* are its to hold."""

    def __init__(self, worker: Worker, loads: Loads, cap: int) -> None:
        self._worker = worker
        self._loads = loads
        self._cap = cap
        self._reports = 0
        self._steady = Steady()

    def run(self) -> None:
        """Look every two seconds, for ever. One greenlet."""
        while True:
            started = gevent.get_hub().loop.now()
            try:
                self._run_once()
            except RedisAwayError:
                pass  # nobody knows how the others are: nothing is shed
            gevent.sleep(max(0.1, EVERY_SECONDS - (gevent.get_hub().loop.now() - started)))

    def _run_once(self) -> None:
        worker = self._worker
        self._reports += 1
        own = Load(worker.worker_id, len(worker.hub), self._cap, worker.draining, self._reports)
        others = [load for load in self._loads.exchange(own) if load.worker_id != own.worker_id]
        count = to_shed(own.worker_id, [*others, self._steady.seen(own)], EVERY_SECONDS)
        if not count or worker.draining:
            return
        opened_before = time.time() * 1000 - OLD_ENOUGH_MS
        held = [each for each in worker.hub.connections() if each.since_ms < opened_before]
        candidates = {c.node_id: c for c in random.sample(held, min(len(held), count * CANDIDATES))}
        ids = list(candidates)
        chosen = self._loads.mark_shed(ids[:count])
        if len(chosen) < count:
            chosen += self._loads.mark_shed(ids[count : 2 * count - len(chosen)])
        if chosen:
            log.info("shedding worker=%s sockets=%d of=%d", worker.label, len(chosen), own.sockets)
            self._close([candidates[node_id] for node_id in chosen])

    def _close(self, connections: list[Connection]) -> None:
        """Close them one by one over most of a round: no herd."""
        pause = EVERY_SECONDS * 0.8 / len(connections)
        for connection in connections:
            if self._worker.draining:
                return
            if not connection.is_closed:
                self._worker.hub.close(connection, CloseCode.GOING_AWAY, TOO_MANY)
                meters.SHED.inc()
            gevent.sleep(pause)
