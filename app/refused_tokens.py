"""Tokens of other systems that agents have presented and that were refused: what an operator may adopt.

In Redis, not in the database: a stranger writes no row, and agents, which ask every fifteen seconds for ever, fill
the list again after it was lost. A token itself is stored nowhere; its digest names it, and the digest's first
sixteen digits are its fingerprint.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

import redis

from app.push.redis_gate import RedisAwayError, RedisGate

MAX_REMEMBERED = 200
"""Those that were seen last."""
REMEMBERED_SECONDS = 3600
FINGERPRINT_DIGITS = 16

log = logging.getLogger("signalbox.adoption")


@dataclass(frozen=True, slots=True)
class RefusedToken:
    """A token that is nobody's here."""

    digest: str
    address: str
    """Whence it came last."""
    first_seen_at: datetime
    last_seen_at: datetime

    @property
    def fingerprint(self) -> str:
        """What people see of it, and compare with the SHA-256 of the agent's own ``node-token``."""
        return self.digest[:FINGERPRINT_DIGITS]


class RefusedTokens:
    """At most two hundred, each for an hour after it was seen last."""

    def __init__(self, gate: RedisGate, prefix: str) -> None:
        self._gate = gate
        self._order = f"{prefix}refused-tokens"
        self._prefix = f"{prefix}refused-token:"

    def note(self, digest: str, address: str, *, only_known: bool = False) -> None:
        """It was presented and belongs to nobody. Never raises: it will be presented again.

        *only_known*: nobody has asked now whose it is, so only what is listed already is brought up to date.
        """
        now = time.time()

        def write(client: redis.Redis) -> None:
            key = self._prefix + digest
            if only_known and not client.exists(key):
                return
            pipeline = client.pipeline()
            pipeline.hsetnx(key, "first", now)
            pipeline.hset(key, mapping={"last": now, "address": address})
            pipeline.expire(key, REMEMBERED_SECONDS)
            pipeline.zadd(self._order, {digest: now})
            pipeline.zremrangebyscore(self._order, "-inf", now - REMEMBERED_SECONDS)
            pipeline.zremrangebyrank(self._order, 0, -MAX_REMEMBERED - 1)
            pipeline.expire(self._order, REMEMBERED_SECONDS)
            pipeline.execute()

        try:
            self._gate.run(write)
        except RedisAwayError as error:
            log.debug("refused token not remembered: %s", error)

    def listing(self) -> list[RefusedToken]:
        """All of them, the one seen last first.

        :raises RedisAwayError: nobody can say.
        """

        def read(client: redis.Redis) -> list[tuple[bytes, dict[bytes, bytes]]]:
            digests = cast(list[bytes], client.zrevrange(self._order, 0, MAX_REMEMBERED - 1))
            pipeline = client.pipeline(transaction=False)
            for digest in digests:
                pipeline.hgetall(self._prefix + digest.decode())
            return list(zip(digests, pipeline.execute() if digests else [], strict=True))

        return [
            RefusedToken(
                digest.decode(),
                about[b"address"].decode(),
                datetime.fromtimestamp(float(about[b"first"]), UTC),
                datetime.fromtimestamp(float(about[b"last"]), UTC),
            )
            for digest, about in self._gate.run(read)
            if about
        ]

    def forget(self, digest: str) -> None:
        """It is somebody's now. Never raises: it is not noted again, and so forgotten within the hour."""

        def delete(client: redis.Redis) -> None:
            pipeline = client.pipeline()
            pipeline.delete(self._prefix + digest)
            pipeline.zrem(self._order, digest)
            pipeline.execute()

        try:
            self._gate.run(delete)
        except RedisAwayError as error:
            log.debug("adopted token not forgotten: %s", error)
