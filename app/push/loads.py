"""What each worker holds, kept in Redis for the others, and which nodes were shed not long ago."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis

from app.push.balance import Load
from app.push.redis_gate import RedisGate

SHED_AGAIN_MS = 600_000
"""No node is shed twice within ten minutes, whoever holds it (hazard 20)."""


class Loads:
    """One hash, a field for each worker, which counts while that one's lease lives. Raises ``RedisAwayError``."""

    def __init__(self, gate: RedisGate, prefix: str) -> None:
        self._gate = gate
        self._prefix = prefix
        self._key = f"{prefix}workers"

    def exchange(self, own: Load) -> list[Load]:
        """Report *own*, and what all living workers have reported; entries of dead ones are removed."""

        def send(client: redis.Redis) -> Any:
            pipeline = client.pipeline(transaction=False)
            pipeline.hset(self._key, own.worker_id, _pack(own))
            pipeline.hgetall(self._key)
            return pipeline.execute()[1]

        reported = [_unpack(_text(worker), _text(value)) for worker, value in self._gate.run(send).items()]
        leases = self._gate.run(
            lambda client: client.mget([f"{self._prefix}worker:{load.worker_id}" for load in reported])
        )
        dead = [load.worker_id for load, lease in zip(reported, leases, strict=True) if lease is None]
        if dead:
            self._gate.run(lambda client: client.hdel(self._key, *dead))
        return [load for load in reported if load.worker_id not in dead]

    def mark_shed(self, node_ids: Sequence[str]) -> list[str]:
        """Note that these nodes are shed now; those of them that may be."""

        def send(client: redis.Redis) -> list[Any]:
            pipeline = client.pipeline(transaction=False)
            for node_id in node_ids:
                pipeline.set(f"{self._prefix}shed:{node_id}", 1, nx=True, px=SHED_AGAIN_MS)
            answers: list[Any] = pipeline.execute()
            return answers

        if not node_ids:
            return []
        return [node for node, is_new in zip(node_ids, self._gate.run(send), strict=True) if is_new]


def _pack(load: Load) -> str:
    return f"{load.sockets} {load.cap} {int(load.is_draining)} {load.reports}"


def _unpack(worker_id: str, text: str) -> Load:
    sockets, cap, is_draining, reports = (int(part) for part in text.split(" ")[:4])
    return Load(worker_id, sockets, cap, bool(is_draining), reports)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
