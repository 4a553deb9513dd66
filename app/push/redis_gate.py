"""The way to Redis for commands: short time-outs, no retries, and no queue of callers before a dead server.

After a failure Redis counts as away for a second, and everybody is told so at once: with redis-py's own
defaults one PUBLISH takes 58 s on a frozen server.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

Result = TypeVar("Result")

TIMEOUT_SECONDS = 1.0
AWAY_SECONDS = 1.0


class RedisAwayError(Exception):
    """Redis cannot be reached just now; ``since`` says for how long that has been so."""

    def __init__(self, since: datetime) -> None:
        super().__init__("Redis cannot be reached.")
        self.since = since


def connection_options(url: str) -> dict[str, Any]:
    """What each of our connections to *url* is made with."""
    return {
        "url": url,
        "protocol": 2,
        "socket_timeout": TIMEOUT_SECONDS,
        "socket_connect_timeout": TIMEOUT_SECONDS,
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": 0,
    }


class RedisRefusedError(RedisAwayError):
    """Redis answers, but refuses this command: OOM, READONLY, NOREPLICAS, MISCONF. That passes, too."""

    def __init__(self, answer: redis.exceptions.ResponseError) -> None:
        super().__init__(datetime.now(UTC))
        self.args = (f"Redis refuses to write: {str(answer)[:200]}",)


class RedisGate:
    """Runs commands, or says at once that Redis is away."""

    def __init__(self, url: str) -> None:
        self.client: redis.Redis = redis.Redis.from_url(**connection_options(url))
        self._closed_until = 0.0
        self._away_since: datetime | None = None

    @property
    def away_since(self) -> datetime | None:
        """When the first of the failures that still last was seen; ``None`` while Redis answers."""
        return self._away_since

    def run(self, command: Callable[[redis.Redis], Result]) -> Result:
        """The result of *command*.

        :raises RedisAwayError: it could not be run, or nobody should try just now.
        """
        if time.monotonic() < self._closed_until and self._away_since is not None:
            raise RedisAwayError(self._away_since)
        try:
            result = command(self.client)
        except redis.exceptions.ResponseError as error:
            raise RedisRefusedError(error) from error
        except redis.exceptions.RedisError as error:
            self._away_since = self._away_since or datetime.now(UTC)
            self._closed_until = time.monotonic() + AWAY_SECONDS
            raise RedisAwayError(self._away_since) from error
        self._away_since = None
        return result
