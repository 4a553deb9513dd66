"""Who is connected, since when, through which worker: kept in Redis, answered alike by every process.

A node's entry has no expiry of its own; it counts for as long as its worker's lease lives (nine seconds,
renewed every three). It is taken over by a claim with a higher fence, and removed only by its owner.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import redis

from app.push.batches import script_answers
from app.push.claim_script import ClaimScript
from app.push.entries import Entry, entry_in, text_of
from app.push.redis_gate import RedisGate

LEASE_MS = 9000
BUCKETS = 256
BUCKETS_A_LOOK = 16
DUEL_QUIET_MS = 300_000
"""A duel is over when nobody has been held off for so long."""
_FOLDER = Path(__file__).parent
_FIELDS = 8
"""Of a stored entry, at least (see ``Entry.pack``)."""


@dataclass(frozen=True, slots=True)
class Duel:
    """Two agents use one node's token."""

    addresses: tuple[str, str]
    """Of the one that is connected, and of the one that was held off last."""
    at: datetime
    """When that was."""


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
    duel: Duel | None = None
    """Set until it has been quiet for five minutes."""


ABSENT = Presence(connected=False)


class Registry:
    """The registry in Redis. Every method raises ``RedisAwayError`` while Redis is away."""

    def __init__(self, gate: RedisGate, prefix: str) -> None:
        self.gate = self._gate = gate
        self._prefix = prefix
        self._buckets = [f"{prefix}presence:{number:02x}" for number in range(BUCKETS)]
        scripts = {
            name: gate.client.register_script((_FOLDER / f"{name}.lua").read_text())
            for name in ("claim", "release", "restore", "reap")
        }
        self._release, self._restore, self._reap = scripts["release"], scripts["restore"], scripts["reap"]
        claims = ClaimScript(gate, scripts["claim"], self)
        self.claim = claims.claim
        """Take a node over, see ``claim_script``."""
        self.claim_all = claims.claim_all
        """Take many over."""

    def bucket(self, node_id: str) -> str:
        """The key of the hash that holds the node's entry."""
        return self._buckets[zlib.crc32(node_id.encode()) % BUCKETS]

    def lease(self, worker_id: str) -> str:
        """The key of a worker's lease."""
        return f"{self._prefix}worker:{worker_id}"

    def takeovers(self, node_id: str) -> str:
        """The key of the connections that lost the node within the last minute."""
        return f"{self._prefix}takeovers:{node_id}"

    def duel(self, node_id: str) -> str:
        """The key of the record that two agents use the node's token."""
        return f"{self._prefix}duel:{node_id}"

    def dials(self, node_id: str) -> str:
        """The key of how often the node has dialled lately."""
        return f"{self._prefix}dials:{node_id}"

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

    def release(self, connections: Iterable[tuple[str, str]]) -> set[str]:
        """Remove entries, given as (node id, connection id), that are still those connections'.

        :returns: the ids of those connections that somebody else had taken over already.
        """
        answers = self._by_bucket(self._release, connections)
        return {text_of(connection_id) for answer in answers for connection_id in answer}

    def forgive(self, connections: Iterable[tuple[str, str]]) -> None:
        """These connections (node id, connection id) were over before they lost their nodes: no takeover."""
        pairs = list(connections)

        def send(client: redis.Redis) -> None:
            pipeline = client.pipeline(transaction=False)
            for node_id, connection_id in pairs:
                pipeline.zrem(self.takeovers(node_id), connection_id)
            pipeline.execute()

        if pairs:
            self._gate.run(send)

    def is_alive(self, worker_id: str) -> bool:
        """Whether the worker's lease lives."""
        return bool(self.alive({worker_id}))

    def record_duel(self, node_id: str, addresses: tuple[str, str]) -> bool:
        """Remember that two agents use the node's token; True if that is news."""
        now = int(datetime.now(UTC).timestamp() * 1000)
        value = f"{now} {addresses[0] or '-'} {addresses[1] or '-'}"
        return not self._gate.run(
            lambda client: client.set(self.duel(node_id), value, px=DUEL_QUIET_MS, get=True)
        )

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
        answers = self._by_bucket(self._restore, ((node, entry.pack()) for node, entry in entries.items()))
        return {text_of(node_id) for answer in answers for node_id in answer}

    def _by_bucket(self, script: Any, values: Iterable[tuple[str, str]]) -> list[Any]:
        arguments: dict[str, list[str]] = defaultdict(list)
        for node_id, value in values:
            arguments[self.bucket(node_id)] += [node_id, value]
        if not arguments:
            return []

        calls = [([bucket], pairs) for bucket, pairs in arguments.items()]
        return self._gate.run(lambda client: script_answers(client, script, calls))

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
            pipeline.mget([self.duel(node_id) for node_id in node_ids])
            answers: list[Any] = pipeline.execute()
            return answers

        *answers, records = self._gate.run(send)
        entries = {
            node_id: entry
            for ids, values in zip(by_bucket.values(), answers, strict=True)
            for node_id, value in zip(ids, values, strict=True)
            if (entry := entry_in(value)) is not None
        }
        alive = self.alive({entry.worker_id for entry in entries.values()})
        duels = {node: duel for node, value in zip(node_ids, records, strict=True) if (duel := _duel(value))}
        return {
            node_id: replace(_presence(entries.get(node_id), alive), duel=duels.get(node_id))
            for node_id in node_ids
        }

    def connected(self) -> dict[str, int | None]:
        """Every node that is connected anywhere, with when its event stream began (Unix time in milliseconds).

        ``None`` for a WebSocket. Asked about whole fleets, so of each entry only that is read.
        """
        held: dict[bytes, list[tuple[bytes, int | None]]] = defaultdict(list)
        for bucket in self._read_buckets(range(BUCKETS)):
            for node_id, value in bucket.items():
                fields = value.split(b" ")
                if len(fields) < _FIELDS or fields[7] != b"1":
                    continue  # see entry_in; not subscribed yet
                began = int(fields[4]) if fields[3] == b"sse" else None
                held[fields[2]].append((node_id, began))
        alive = self.alive({text_of(worker) for worker in held})
        return {
            text_of(node_id): began
            for worker, nodes in held.items()
            if text_of(worker) in alive
            for node_id, began in nodes
        }

    def reap(self) -> int:
        """Remove the entries of dead workers; how many there were."""
        dead: list[tuple[str, str]] = []
        for start in range(0, BUCKETS, BUCKETS_A_LOOK):  # all at once would be memory that the worker keeps
            entries = self._entries_in(range(start, start + BUCKETS_A_LOOK))
            alive = self.alive({entry.worker_id for entry in entries.values()})
            dead += [(node, entry.pack()) for node, entry in entries.items() if entry.worker_id not in alive]
        return sum(int(count) for count in self._by_bucket(self._reap, dead))

    def take_turn(self, name: str, seconds: int) -> bool:
        """Whether what *name* stands for is this worker's to do: of all workers one has the turn for so long.

        :raises RedisAwayError: Redis is away.
        """
        key = f"{self._prefix}{name}"
        return bool(self._gate.run(lambda client: client.set(key, "1", nx=True, ex=seconds)))

    def _entries_in(self, numbers: range) -> dict[str, Entry]:
        return {
            text_of(node_id): entry
            for bucket in self._read_buckets(numbers)
            for node_id, value in bucket.items()
            if (entry := entry_in(value)) is not None
        }

    def _read_buckets(self, numbers: range) -> list[dict[bytes, bytes]]:
        def send(client: redis.Redis) -> list[Any]:
            pipeline = client.pipeline(transaction=False)
            for number in numbers:
                pipeline.hgetall(f"{self._prefix}presence:{number:02x}")
            answers: list[Any] = pipeline.execute()
            return answers

        return self._gate.run(send)

    def alive(self, worker_ids: set[str]) -> set[str]:
        """Those of the workers whose leases live."""
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


def _duel(value: bytes | None) -> Duel | None:
    if not value:
        return None
    at_ms, incumbent, newcomer = text_of(value).split(" ")
    return Duel((incumbent, newcomer), datetime.fromtimestamp(int(at_ms) / 1000, UTC))
