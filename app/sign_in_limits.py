"""How often somebody may try to sign in: counted in Redis for all workers and machines alike.

Each attempt is counted before the password is looked at, and taken back if it was right, so that many at once get
no more tries than one after the other. Three counters (hazard 26):

- of an account, or what is no account: strangers together have so many tries;
- of an account and a device or address that it has signed in with: its own, so that nobody who guesses elsewhere
  locks out the owner, and instead of the other two;
- of an address, if there is one: tries of strangers, for whatever accounts. Behind a unix socket there is none.

While Redis is away each worker counts for itself: nobody is locked out, and nobody tries without limit.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TypeVar

from flask import Flask, current_app
from limits import RateLimitItem, RateLimitItemPerMinute
from limits.storage import MemoryStorage, RedisStorage, Storage
from limits.strategies import FixedWindowRateLimiter

from app.errors import TooManyRequestsError
from app.push.redis_gate import RedisAwayError, RedisGate
from app.switchboard_process import of

Result = TypeVar("Result")

WINDOW_MINUTES = 15
OF_AN_ACCOUNT = RateLimitItemPerMinute(10, WINDOW_MINUTES)
OF_A_KNOWN_PLACE = RateLimitItemPerMinute(10, WINDOW_MINUTES)
OF_AN_ADDRESS = RateLimitItemPerMinute(100, WINDOW_MINUTES)

log = logging.getLogger("signalbox.limits")


@dataclass(frozen=True, slots=True)
class Counter:
    """One limit, and whose tries it counts."""

    limit: RateLimitItem
    whose: tuple[str, ...]


def counters(email: str, address: str | None, known_place: str | None) -> list[Counter]:
    """What an attempt for *email* counts against.

    *known_place* names the device or address with which the account has signed in before; ``None``: it has not.
    """
    account = _shortened(email)
    if known_place is not None:
        return [Counter(OF_A_KNOWN_PLACE, ("known", account, _shortened(known_place)))]
    found = [Counter(OF_AN_ACCOUNT, ("account", account))]
    if address:
        found.append(Counter(OF_AN_ADDRESS, ("address", _shortened(_network(address)))))
    return found


class SignInLimits:
    """See the module. *key_prefix* is what every key in Redis begins with."""

    def __init__(self, gate: RedisGate, key_prefix: str) -> None:
        self._gate = gate
        self._key_prefix = key_prefix

    @cached_property
    def _shared(self) -> RedisStorage:
        # Never connects by itself: its commands are run by the gate, with the gate's connections.
        return RedisStorage(
            "redis://",
            connection_pool=self._gate.client.connection_pool,
            key_prefix=f"{self._key_prefix}sign-in",
        )

    @cached_property
    def _own(self) -> MemoryStorage:
        return MemoryStorage()

    def attempt(self, counted: Sequence[Counter]) -> None:
        """Count an attempt, or refuse it; what refuses it is all that counts it.

        :raises TooManyRequestsError: with the seconds until the next one is allowed.
        """

        def hit(storage: Storage) -> Counter | None:
            limiter = FixedWindowRateLimiter(storage)
            for number, counter in enumerate(counted):
                if not limiter.hit(counter.limit, *counter.whose):
                    for before in counted[:number]:
                        _take_back(storage, before)
                    return counter
            return None

        refusing = self._run(hit)
        if refusing is None:
            return
        ends = self._run(lambda storage: storage.get_expiry(refusing.limit.key_for(*refusing.whose)))
        seconds = max(1, min(WINDOW_MINUTES * 60, round(ends - time.time())))
        log.warning("attempts to sign in refused by=%s:%s", refusing.whose[0], refusing.whose[-1])
        raise TooManyRequestsError(
            "There were too many attempts to sign in. Wait a while, or use a browser in which you signed in before.",
            retry_after=seconds,
        )

    def give_back(self, counted: Sequence[Counter]) -> None:
        """The attempt was none of a guesser's."""

        def decrease(storage: Storage) -> None:
            for counter in counted:
                _take_back(storage, counter)

        self._run(decrease)

    def _run(self, work: Callable[[Storage], Result]) -> Result:
        try:
            return self._gate.run(lambda _client: work(self._shared))
        except RedisAwayError as error:
            log.debug("attempts to sign in are counted in this worker: %s", error)
            return work(self._own)


def init_app(app: Flask, key_prefix: str) -> None:
    """Make the limits; they share the switchboard's way to Redis."""
    app.extensions["sign_in_limits"] = SignInLimits(of(app).gate, key_prefix)


def sign_in_limits() -> SignInLimits:
    """The current application's."""
    limits: SignInLimits = current_app.extensions["sign_in_limits"]
    return limits


def _take_back(storage: Storage, counter: Counter) -> None:
    storage.incr(counter.limit.key_for(*counter.whose), counter.limit.get_expiry(), amount=-1)


def _network(address: str) -> str:
    """The address, or the /64 of an IPv6 one, of which everybody has 2^64."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    return str(ip_network((parsed, 64), strict=False)) if isinstance(parsed, IPv6Address) else str(parsed)


def _shortened(text: str) -> str:
    """A name of bounded length; Redis need not know whose it is."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
