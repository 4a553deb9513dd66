"""Compares what the registry says of a worker's connections with what the worker knows (hazard 21).

All of them every ten seconds, and hardly ever is one different: so they are read and compared, which costs a
fifth of writing them again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import partial

import redis

from app.push.connection import Connection
from app.push.presence import Registry

BUCKETS_A_READ = 16
"""Of 256, so that the sockets are not held up for long; at once, since a command costs as much as ten nodes."""
SUBSCRIBED = 7
"""Which word of an entry says whether the channel was subscribed to (``Entry.pack``); the first is the fence."""


def differing(registry: Registry, connections: Iterable[Connection]) -> list[Connection]:
    """Those of *connections* of which the registry says nothing, or something else.

    :raises RedisAwayError: Redis is away.
    """
    by_bucket: dict[str, list[Connection]] = defaultdict(list)
    for connection in connections:
        by_bucket[registry.bucket(connection.node_id)].append(connection)
    buckets = list(by_bucket.items())
    different: list[Connection] = []
    for start in range(0, len(buckets), BUCKETS_A_READ):
        some = buckets[start : start + BUCKETS_A_READ]
        for (_, held), values in zip(some, registry.gate.run(partial(_read, some)), strict=True):
            different += [each for each, value in zip(held, values, strict=True) if not _is_said(each, value)]
    return different


def _read(buckets: list[tuple[str, list[Connection]]], client: redis.Redis) -> list[list[bytes | None]]:
    pipeline = client.pipeline(transaction=False)
    for bucket, held in buckets:
        pipeline.hmget(bucket, [connection.node_id for connection in held])
    answers: list[list[bytes | None]] = pipeline.execute()
    return answers


def _is_said(connection: Connection, value: bytes | None) -> bool:
    """Whether *value* is this connection's entry as it should be; of a node no two claims have one fence."""
    if value is None:
        return False
    words = value.split(b" ", SUBSCRIBED + 1)
    return (
        len(words) > SUBSCRIBED
        and words[0] == b"%d" % connection.fence
        and words[SUBSCRIBED] == (b"1" if connection.subscribed else b"0")
    )
