"""The way to Redis: short time-outs, no retries, and no queue of callers before a dead server.

After a failure Redis counts as away for a second, and everybody is told so at once: with redis-py's own
defaults one PUBLISH takes 58 s on a frozen server. All of our connections are made here; through Sentinels each
new one asks where the master is.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from app.push import redis_url
from app.push.deadlines import deadline

Result = TypeVar("Result")

TIMEOUT_SECONDS = 1.0
DEADLINE_SECONDS = 8.0
"""For a whole call: each of its steps (names, addresses, Sentinels, bytes that trickle) has its own second."""
AWAY_SECONDS = 1.0
AT_ONCE = 64
"""So many calls of one process at most; the others wait. redis-py's pool refuses the hundred and first, as if Redis
were away, and one Redis gains nothing from more."""
SETTLING_SECONDS = 6.0
"""After its return every worker has noticed (each asks every 2 s) and written again what only Redis knew."""
MASTER = "master"


class RedisAwayError(Exception):
    """Redis cannot be reached just now; ``since`` says for how long that has been so."""

    def __init__(self, since: datetime) -> None:
        super().__init__("Redis cannot be reached.")
        self.since = since


class RedisRefusedError(RedisAwayError):
    """Redis answers, but refuses this command: OOM, READONLY, NOREPLICAS, MISCONF. That passes, too."""

    def __init__(self, answer: redis.exceptions.ResponseError) -> None:
        super().__init__(datetime.now(UTC))
        self.args = (f"Redis refuses to write: {str(answer)[:200]}",)


def connection_pool(url: str, on_connect: Callable[[Any], None] | None = None) -> redis.ConnectionPool:
    """What makes our connections to *url*, one server or the master that Sentinels name; connects to nothing.

    *on_connect* gets each new connection, which has said hello to nobody yet.
    """
    options: dict[str, Any] = {
        "redis_connect_func": on_connect,
        "protocol": 2,
        "socket_timeout": TIMEOUT_SECONDS,
        "socket_connect_timeout": TIMEOUT_SECONDS,
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": 0,
    }
    place = redis_url.parse(url)
    if place is None:
        return redis.ConnectionPool.from_url(url, **options)
    sentinel = Sentinel(place.sentinels, sentinel_kwargs={**options, "ssl": place.tls})  # type: ignore[no-untyped-call]
    pool: redis.ConnectionPool = SentinelConnectionPool(  # type: ignore[no-untyped-call]
        place.master_name,
        sentinel,
        ssl=place.tls,
        db=place.database,
        username=place.username,
        password=place.password,
        **options,
    )
    return pool


def lone_connection(pool: redis.ConnectionPool) -> Any:
    """A connection as *pool* makes them that it knows nothing of; not connected yet.

    Its own ``make_connection`` counts each and refuses the hundred and first, although they are long closed.
    """
    return pool.connection_class(**pool.connection_kwargs)


def run_id_of(connection: Any) -> str | None:
    """Which Redis *connection* leads to; ``None`` where we may not ask."""
    connection.send_command("INFO", "server")
    try:
        answer = connection.read_response()
    except redis.exceptions.ResponseError:
        return None
    found = re.search(rb"^run_id:(\w+)", answer, re.M) if isinstance(answer, bytes) else None
    return found[1].decode() if found else None


@dataclass(frozen=True, slots=True)
class Identity:
    """Which Redis answers: its run id, new for each start, and its role."""

    run_id: str
    role: str


class RedisGate:
    """Runs commands, or says at once that Redis is away."""

    def __init__(self, url: str) -> None:
        self._pool = connection_pool(url, self._meet)
        self.client: redis.Redis = redis.Redis.from_pool(self._pool)
        self._slots = threading.BoundedSemaphore(AT_ONCE)
        self._closed_until = 0.0
        self._away_since: datetime | None = None
        self._last_away_since: datetime | None = None
        self._settled_at = 0.0
        self._run_id: str | None = None
        """Of the Redis that was last connected to."""

    @property
    def unsure_since(self) -> datetime | None:
        """Since when what is missing in Redis says nothing: it is away, or came back only just now.

        It may have come back empty, or with leases that expired while it was frozen.
        """
        if self._away_since is None and time.monotonic() < self._settled_at:
            return self._last_away_since
        return self._away_since

    def run(self, command: Callable[[redis.Redis], Result]) -> Result:
        """The result of *command*.

        :raises RedisAwayError: it could not be run, or nobody should try just now.
        """
        self._refuse_while_away()
        try:
            with deadline(DEADLINE_SECONDS), self._slots:
                self._refuse_while_away()  # it may have gone away while this one waited
                result = command(self.client)
        except redis.exceptions.ResponseError as error:
            raise RedisRefusedError(error) from error
        except (redis.exceptions.RedisError, TimeoutError) as error:
            self._away_since = self._away_since or datetime.now(UTC)
            self._closed_until = time.monotonic() + AWAY_SECONDS
            raise RedisAwayError(self._away_since) from error
        if self._away_since is not None:
            self._last_away_since, self._away_since = self._away_since, None
            self._settled_at = time.monotonic() + SETTLING_SECONDS
        return result

    def _meet(self, connection: Any) -> None:
        """Greet Redis as redis-py does, and see whether it is the one that we knew.

        Who asked nothing while it was away hears of no failure: the pool replaces connections that have ended.
        """
        connection.on_connect()
        run_id = run_id_of(connection)
        if run_id is None:
            return
        before, self._run_id = self._run_id, run_id
        if before is not None and run_id != before:
            self._last_away_since = self._away_since or datetime.now(UTC)
            self._settled_at = time.monotonic() + SETTLING_SECONDS

    def _refuse_while_away(self) -> None:
        if time.monotonic() < self._closed_until and self._away_since is not None:
            raise RedisAwayError(self._away_since)

    def identity(self) -> Identity:
        """Which Redis takes our commands; through Sentinels, the one that they call the master now.

        :raises RedisAwayError: none does, or it does not tell.
        """

        def ask(client: redis.Redis) -> Identity:
            if isinstance(self._pool, SentinelConnectionPool):
                self._pool.get_master_address()  # type: ignore[no-untyped-call]  # drops idle connections to another
            pipeline = client.pipeline(transaction=False)
            pipeline.info("server")
            pipeline.info("replication")
            server, replication = pipeline.execute()
            return Identity(str(server["run_id"]), str(replication["role"]))

        return self.run(ask)

    def drop(self) -> None:
        """Close the connections that nobody uses just now: the next call makes new ones."""
        self._pool.disconnect(inuse_connections=False)
