"""Who is connected, since when, through which worker: kept in Redis, answered alike by every process.

A node's entry has no expiry of its own; it counts for as long as its worker's lease lives (nine seconds,
renewed every three). It is taken over by a claim with a higher fence, and removed only by its owner.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import redis

from app.push.redis_gate import RedisGate

LEASE_MS = 9000
BUCKETS = 256
_FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Presence:
    """Whether a node is connected, as far as anybody can know."""

    connected: bool | None
    """``None`` while Redis is away; then ``unknown_since`` says since when."""
    transport: str | None = None
    since: datetime | None = None
    worker: str | None = None
    """``host:pid`` of the worker that holds the socket."""
    unknown_since: datetime | None = None


ABSENT = Presence(connected=False)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the registry."""

    fence: int
    connection_id: str
    worker_id: str
    transport: str
    since_ms: int
    label: str
    address: str
    subscribed: bool

    def pack(self) -> str:
        """As it is stored; none of the fields holds a space."""
        return (
            f"{self.fence} {self.connection_id} {self.worker_id} {self.transport} {self.since_ms}"
            f" {self.label} {self.address or '-'} {int(self.subscribed)}"
        )

    @classmethod
    def unpack(cls, text: str) -> Entry:
        """The entry in *text*.

        :raises ValueError: not one of ours.
        """
        fence, connection_id, worker_id, transport, since_ms, label, address, subscribed = text.split(" ")
        return cls(
            int(fence), connection_id, worker_id, transport, int(since_ms), label, address, subscribed == "1"
        )


class Registry:
    """The registry in Redis. Every method raises ``RedisAwayError`` while Redis is away."""

    def __init__(self, gate: RedisGate, prefix: str) -> None:
        self.gate = self._gate = gate
        self._prefix = prefix
        scripts = {
            name: gate.client.register_script((_FOLDER / f"{name}.lua").read_text())
            for name in ("claim", "release", "restore", "reap")
        }
        self._claim, self._release = scripts["claim"], scripts["release"]
        self._restore, self._reap = scripts["restore"], scripts["reap"]

    def bucket(self, node_id: str) -> str:
        """The key of the hash that holds the node's entry."""
        return f"{self._prefix}presence:{zlib.crc32(node_id.encode()) % BUCKETS:02x}"

    def lease(self, worker_id: str) -> str:
        """The key of a worker's lease."""
        return f"{self._prefix}worker:{worker_id}"

    # leases

    def renew_lease(self, worker_id: str, label: str) -> None:
        """Say that the worker lives. A full Redis refuses SET, but not the renewal of what is there (hazard 22)."""

        def renew(client: redis.Redis) -> None:
            if not client.pexpire(self.lease(worker_id), LEASE_MS):
                client.set(self.lease(worker_id), label, px=LEASE_MS)

        self._gate.run(renew)

    def end_lease(self, worker_id: str) -> None:
        """Say that the worker has gone: all its entries stop counting at once."""
        self._gate.run(lambda client: client.delete(self.lease(worker_id)))

    # a worker's own entries

    def claim(self, node_id: str, entry: Entry) -> tuple[int, Entry | None]:
        """Take the node over: the fence that the new connection has, and the entry that it replaces."""
        arguments: list[str | int] = [
            node_id,
            entry.connection_id,
            entry.worker_id,
            entry.transport,
            entry.since_ms,
            entry.label,
            entry.address or "-",
        ]
        fence, before = self._gate.run(
            lambda client: self._claim([self.bucket(node_id)], arguments, client=client)
        )
        return int(fence), _entry(before)

    def release(self, connections: Iterable[tuple[str, str]]) -> None:
        """Remove entries, given as (node id, connection id), that are still those connections'."""
        self._by_bucket(self._release, dict(connections))

    def forget(self, node_ids: Iterable[str]) -> None:
        """Remove the nodes' entries, whoever's they are: their tokens are dead."""
        ids = list(node_ids)

        def send(client: redis.Redis) -> None:
            pipeline = client.pipeline(transaction=False)
            for node_id in ids:
                pipeline.hdel(self.bucket(node_id), node_id)
            pipeline.execute()

        if ids:
            self._gate.run(send)

    def restore(self, entries: Mapping[str, Entry]) -> set[str]:
        """Write entries again that are missing or older; the nodes that a newer connection has taken over."""
        answers = self._by_bucket(self._restore, {node: entry.pack() for node, entry in entries.items()})
        return {_text(node_id) for answer in answers for node_id in answer}

    def _by_bucket(self, script: Any, values: Mapping[str, str]) -> list[Any]:
        arguments: dict[str, list[str]] = defaultdict(list)
        for node_id, value in values.items():
            arguments[self.bucket(node_id)] += [node_id, value]
        if not arguments:
            return []

        def send(client: redis.Redis) -> list[Any]:
            pipeline = client.pipeline(transaction=False)
            for bucket, pairs in arguments.items():
                script([bucket], pairs, client=pipeline)
            answers: list[Any] = pipeline.execute()
            return answers

        return self._gate.run(send)

    # questions

    def of(self, node_ids: Sequence[str]) -> dict[str, Presence]:
        """The presence of each of *node_ids*: one pipeline for the entries, one for their workers' leases."""
        if not node_ids:
            return {}
        by_bucket: dict[str, list[str]] = defaultdict(list)
        for node_id in node_ids:
            by_bucket[self.bucket(node_id)].append(node_id)

        def send(client: redis.Redis) -> list[Any]:
            pipeline = client.pipeline(transaction=False)
            for bucket, ids in by_bucket.items():
                pipeline.hmget(bucket, ids)
            answers: list[Any] = pipeline.execute()
            return answers

        answers = self._gate.run(send)
        entries = {
            node_id: entry
            for ids, values in zip(by_bucket.values(), answers, strict=True)
            for node_id, value in zip(ids, values, strict=True)
            if (entry := _entry(value)) is not None
        }
        alive = self._alive({entry.worker_id for entry in entries.values()})
        return {node_id: _presence(entries.get(node_id), alive) for node_id in node_ids}

    def connected_ids(self) -> set[str]:
        """Every node that is connected anywhere."""
        entries = self._all_entries()
        alive = self._alive({entry.worker_id for entry in entries.values()})
        return {node_id for node_id, entry in entries.items() if _presence(entry, alive).connected}

    def reap(self) -> int:
        """Remove the entries of dead workers; how many there were."""
        entries = self._all_entries()
        alive = self._alive({entry.worker_id for entry in entries.values()})
        dead = {node: entry.pack() for node, entry in entries.items() if entry.worker_id not in alive}
        return sum(int(count) for count in self._by_bucket(self._reap, dead))

    def _all_entries(self) -> dict[str, Entry]:
        def send(client: redis.Redis) -> list[Any]:
            pipeline = client.pipeline(transaction=False)
            for number in range(BUCKETS):
                pipeline.hgetall(f"{self._prefix}presence:{number:02x}")
            answers: list[Any] = pipeline.execute()
            return answers

        return {
            _text(node_id): entry
            for bucket in self._gate.run(send)
            for node_id, value in bucket.items()
            if (entry := _entry(value)) is not None
        }

    def _alive(self, worker_ids: set[str]) -> set[str]:
        ordered = sorted(worker_ids)
        if not ordered:
            return set()
        leases = self._gate.run(lambda client: client.mget([self.lease(worker) for worker in ordered]))
        return {worker for worker, lease in zip(ordered, leases, strict=True) if lease is not None}


def _presence(entry: Entry | None, alive: set[str]) -> Presence:
    if entry is None or not entry.subscribed or entry.worker_id not in alive:
        return ABSENT
    since = datetime.fromtimestamp(entry.since_ms / 1000, UTC)
    return Presence(True, entry.transport, since, entry.label)


def _entry(value: bytes | None) -> Entry | None:
    if not value:
        return None
    try:
        return Entry.unpack(_text(value))
    except ValueError:
        return None  # not written by this version: its owner's audit will write it again


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
