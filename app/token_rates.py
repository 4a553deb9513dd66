"""How many requests each API token has made lately, counted in Redis for all workers and machines.

A limit for a script that has gone wild, not for one that has much to do. Where Redis is away nobody is refused.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import redis
from flask import Flask, current_app

from app.config import Settings
from app.push.redis_gate import RedisAwayError, RedisGate
from app.switchboard_process import switchboard

WINDOW_SECONDS = 10

log = logging.getLogger("signalbox.limits")


@dataclass(frozen=True, slots=True)
class Share:
    """What a token has left."""

    quota: int
    """Requests in a window."""
    left: int
    """Below zero: one too many."""
    seconds: int
    """Until the next window begins."""


class TokenRates:
    """Counts requests in windows of ten seconds; *clock* answers seconds since 1970."""

    def __init__(
        self, gate: RedisGate, prefix: str, a_second: int, clock: Callable[[], float] = time.time
    ) -> None:
        self._gate = gate
        self._prefix = f"{prefix}api-rate:"
        self._quota = a_second * WINDOW_SECONDS
        self._clock = clock

    def take(self, token_id: str) -> Share | None:
        """Count a request of the token; ``None`` where nothing is counted: without a limit, or without Redis."""
        if not self._quota:
            return None
        window, passed = divmod(self._clock(), WINDOW_SECONDS)
        key = f"{self._prefix}{token_id}:{int(window)}"

        def count(client: redis.Redis) -> int:
            pipeline = client.pipeline(transaction=False)
            pipeline.incr(key)
            pipeline.expire(key, WINDOW_SECONDS * 2)
            used: int = pipeline.execute()[0]
            return used

        try:
            used = self._gate.run(count)
        except RedisAwayError as error:
            log.debug("request not counted: %s", error)
            return None
        return Share(self._quota, self._quota - used, max(1, WINDOW_SECONDS - int(passed)))


def init_app(app: Flask, settings: Settings) -> None:
    """Make the application's counter. Comes after the switchboard, whose way to Redis it goes."""
    with app.app_context():
        gate = switchboard().gate
    app.extensions["token_rates"] = TokenRates(gate, settings.redis_prefix, settings.api_rate)


def take(token_id: str) -> Share | None:
    """As ``TokenRates.take``."""
    rates: TokenRates = current_app.extensions["token_rates"]
    return rates.take(token_id)
