"""Taps: what one component on one node puts out, for as long as somebody watches. All of it in Redis, and bounded.

A tap is open until it is stopped or nobody has watched it for a minute; its events are kept a little longer. It is a
matter of the moment: when Redis loses it, whoever watches starts another one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import gevent
import redis

from app.push.redis_gate import RedisAwayError, RedisGate

WATCH_SECONDS = 60
"""A tap that nobody has watched for so long ends."""
KEPT_SECONDS = 300
"""What is known of a tap is forgotten so long after it was watched last."""
MAX_OPEN = 32
"""In all: each may fill a megabyte of Redis."""
MAX_EVENTS = 200
MAX_EVENT_CHARACTERS = 4000
LOOK_SECONDS = 2.0

log = logging.getLogger("signalbox.push")


@dataclass(frozen=True, slots=True)
class Tap:
    """One component on one node."""

    request_id: str
    environment_id: str
    node_id: str
    pipeline_id: str
    component_id: str


class Taps:
    """The open taps of the whole installation; each method raises RedisAwayError while Redis is away."""

    def __init__(self, gate: RedisGate, prefix: str) -> None:
        self._gate = gate
        self._open = f"{prefix}taps"
        self._prefix = f"{prefix}tap:"

    def open(self, tap: Tap) -> bool:
        """Begin *tap*; False if there are as many as there may be."""

        def write(client: redis.Redis) -> bool:
            if client.zcount(self._open, time.time(), "+inf") >= MAX_OPEN:
                return False
            pipeline = client.pipeline()
            pipeline.hset(self._about(tap.request_id), mapping=cast(Any, asdict(tap)))
            pipeline.expire(self._about(tap.request_id), KEPT_SECONDS)
            pipeline.zadd(self._open, {tap.request_id: time.time() + WATCH_SECONDS})
            pipeline.execute()
            return True

        return self._gate.run(write)

    def get(self, request_id: str) -> Tap | None:
        """The tap, open or not long ended."""
        about = self._gate.run(
            lambda client: cast(dict[bytes, bytes], client.hgetall(self._about(request_id)))
        )
        fields = {name.decode(): value.decode() for name, value in about.items()}
        return Tap(**{name: fields[name] for name in Tap.__slots__}) if fields else None

    def watch(self, request_id: str) -> bool:
        """Somebody watches: the tap goes on for another minute; False if it has ended."""

        def write(client: redis.Redis) -> bool:
            if client.zscore(self._open, request_id) is None:
                return False
            pipeline = client.pipeline()
            pipeline.zadd(self._open, {request_id: time.time() + WATCH_SECONDS}, xx=True)
            pipeline.expire(self._about(request_id), KEPT_SECONDS)
            pipeline.execute()
            return True

        return self._gate.run(write)

    def is_open(self, request_id: str) -> bool:
        """Whether its events are still wanted."""
        return self._gate.run(lambda client: client.zscore(self._open, request_id) is not None)

    def end(self, request_id: str, reason: str) -> bool:
        """It is over, and why; True for the one caller that ended it."""

        def write(client: redis.Redis) -> bool:
            if not client.zrem(self._open, request_id):
                return False
            client.hset(self._about(request_id), "reason", reason)
            client.expire(self._about(request_id), KEPT_SECONDS)
            return True

        return self._gate.run(write)

    def reason(self, request_id: str) -> str:
        """Why it is over; empty where nobody knows."""
        found = self._gate.run(
            lambda client: cast(bytes | None, client.hget(self._about(request_id), "reason"))
        )
        return found.decode() if found else ""

    def add(self, request_id: str, events: Sequence[str]) -> None:
        """Keep *events*, of all the last two hundred."""

        def write(client: redis.Redis) -> None:
            pipeline = client.pipeline()
            for text in events[-MAX_EVENTS:]:
                pipeline.xadd(self._events(request_id), {"e": text}, maxlen=MAX_EVENTS, approximate=False)
            pipeline.expire(self._events(request_id), KEPT_SECONDS)
            pipeline.execute()

        if events:
            self._gate.run(write)

    def since(self, request_id: str, last: str) -> list[tuple[str, str]]:
        """The events behind the one that is called *last* ("0": all that are kept), as (name, text)."""
        found: list[Any] = self._gate.run(
            lambda client: cast(list[Any], client.xrange(self._events(request_id), f"({last}", "+"))
        )
        return [(name.decode(), fields[b"e"].decode()) for name, fields in found]

    def unwatched(self) -> list[str]:
        """The open taps that nobody has watched for a minute."""
        found = self._gate.run(
            lambda client: cast(list[bytes], client.zrangebyscore(self._open, "-inf", time.time()))
        )
        return [request_id.decode() for request_id in found]

    def _about(self, request_id: str) -> str:
        return f"{self._prefix}{request_id}"

    def _events(self, request_id: str) -> str:
        return f"{self._prefix}{request_id}:events"


class TapReaper:
    """Ends the taps that nobody watches. Every worker looks; one of them ends each. *stop* tells the node."""

    def __init__(self, taps: Taps, stop: Callable[[Tap], None]) -> None:
        self._taps = taps
        self._stop = stop

    def run(self) -> None:
        """Look every two seconds, for ever. One greenlet."""
        while True:
            gevent.sleep(LOOK_SECONDS)
            try:
                self._run_once()
            except RedisAwayError:
                pass  # and with it who watches what

    def _run_once(self) -> None:
        for request_id in self._taps.unwatched():
            tap = self._taps.get(request_id)
            if self._taps.end(request_id, "nobody watched it for a minute") and tap is not None:
                log.info("tap ended request=%s node=%s: nobody watches", request_id, tap.node_id)
                self._stop(tap)
