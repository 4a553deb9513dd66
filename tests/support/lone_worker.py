"""One real worker of the push channel in a process without a web server, for tests that make it hang.

`python -m tests.support.lone_worker REDIS_URL PREFIX MODE`: its database *hangs* for ever or is *away*. It holds
one socket, sweeps ten times a second, and prints a line a second for as long as its loop turns.
"""

from gevent import monkey

monkey.patch_all()

import logging
import os
import socket
import sys
from collections.abc import Sequence
from datetime import datetime

import gevent
from gevent.event import Event

from app.push.channels import Channels
from app.push.connection import Connection
from app.push.presence import Registry
from app.push.publisher import Publisher
from app.push.redis_gate import RedisGate
from app.push.standing import Span, Standing
from app.push.worker import Worker

BOUNDS_SECONDS = {"epoll": 3.5, "timers": 3.5, "subscriber": 3.5, "sweep": 3.5, "leases": 6.0, "audit": 20.0}


class BadDatabase:
    """Questions that are never answered."""

    def __init__(self, mode: str) -> None:
        self._mode = mode

    def standings(self, node_ids: Sequence[str]) -> dict[str, Standing]:
        self._fail()
        return {}

    def nonces(self, environment_ids: Sequence[str]) -> dict[str, str]:
        self._fail()
        return {}

    def untold(self, environment_ids: Sequence[str]) -> set[str]:
        self._fail()
        return set()

    def record_nudged(self, written: Sequence[tuple[str, str, datetime]]) -> None:
        self._fail()

    def record_seen(self, node_ids: Sequence[str]) -> None:
        self._fail()

    def poll_interval_ms(self) -> int | None:
        self._fail()
        return None

    def record_ended(self, spans: Sequence[Span]) -> None:
        self._fail()

    def write_metrics(self) -> None:
        self._fail()

    def tidy_up(self) -> None:
        self._fail()

    def _fail(self) -> None:
        if self._mode == "hangs":
            Event().wait()
        raise RuntimeError("the database is away")


def main(url: str, prefix: str, mode: str) -> None:
    """Run until killed."""
    logging.basicConfig(level="INFO", stream=sys.stderr)
    gate, channels = RedisGate(url), Channels(prefix)
    questions, registry = BadDatabase(mode), Registry(gate, prefix)
    worker = Worker(
        "w", "lone:1", url, channels, Publisher(gate, channels), registry, questions, 0.1, BOUNDS_SECONDS
    )
    worker.start()
    ours, theirs = socket.socketpair()
    worker.adopt(
        Connection(
            node_id="n",
            environment_id="e",
            connection_id="c",
            fence=1,
            transport="ws",
            since_ms=0,
            address="-",
            revision=None,
            fd=os.dup(ours.fileno()),
        )
    )
    while theirs.fileno() >= 0:
        print("turning", flush=True)
        gevent.sleep(1.0)


if __name__ == "__main__":
    main(*sys.argv[1:])
