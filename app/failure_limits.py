"""Bad tokens are refused before the database is asked, and a guesser is slowed down; a neighbour is not.

Counted in each worker's memory: it protects that worker's database work, and nothing depends on it being exact.
Which tokens were good lately all workers know together, through Redis, which is asked only where an address has
used up its failures.
Three rules (hazard 26):

- a token that was found bad is bad for another minute, whatever else holds;
- one address may fail so often a minute with tokens that never were good; then tokens that this worker has not
  seen to be good are told to wait;
- a token that was good lately is never made to wait, and neither is anybody whose address is not known (behind a
  unix socket every address is the same empty one).
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from app.errors import TooManyRequestsError
from app.push import batches
from app.push.group_call import GroupCall
from app.push.redis_gate import RedisAwayError, RedisGate

BAD_SECONDS = 60.0
GOOD_SECONDS = 600.0
WINDOW_SECONDS = 60.0
FAILURES_A_WINDOW = 60
MAX_REMEMBERED = 50_000

log = logging.getLogger("signalbox.limits")


class _Memory:
    """Digests with an expiry each, at most fifty thousand: the oldest make way.

    There is one for each socket of the worker, so it is kept small: twelve bytes of the digest, which nobody can aim
    at, in a plain dictionary, and one moment for all that come together.
    """

    def __init__(self) -> None:
        self._until: dict[bytes, float] = {}

    def add(self, digest: str, until: float) -> None:
        key = _key(digest)
        self._until.pop(key, None)
        self._until[key] = until
        if len(self._until) > MAX_REMEMBERED:
            del self._until[next(iter(self._until))]

    def holds(self, digest: str, now: float) -> bool:
        return self._until.get(_key(digest), 0.0) > now

    def remove(self, digest: str) -> None:
        self._until.pop(_key(digest), None)


def _key(digest: str) -> bytes:
    return bytes.fromhex(digest[:24])


class GoodTokens(Protocol):
    """Which tokens any worker has found good lately."""

    def add(self, digest: str, seconds: float) -> None:
        """Remember the token for so long."""

    def add_all(self, digests: Sequence[str], seconds: float) -> None:
        """Remember all of these."""

    def holds(self, digest: str) -> bool:
        """Whether some worker remembers it; true where nobody can say."""


class GoodTokensInRedis:
    """As keys that expire. Those that are found good together are told in one pipeline: a herd brings thousands."""

    def __init__(self, gate: RedisGate, prefix: str) -> None:
        self._gate = gate
        self._prefix = f"{prefix}good-token:"
        self._told: GroupCall[tuple[str, float], None] = GroupCall(self._tell)

    def add(self, digest: str, seconds: float) -> None:
        """As ``GoodTokens.add``; without Redis nothing is remembered."""
        self.add_all([digest], seconds)

    def add_all(self, digests: Sequence[str], seconds: float) -> None:
        """As ``add``, together."""
        try:
            self._told.ask_all([(digest, seconds) for digest in digests])
        except (RedisAwayError, TimeoutError) as error:
            log.debug("%d good tokens not remembered: %s", len(digests), error)

    def _tell(self, tokens: Sequence[tuple[str, float]]) -> Mapping[tuple[str, float], None]:
        commands = [
            ("SET", self._prefix + digest, 1, "PX", int(seconds * 1000)) for digest, seconds in tokens
        ]
        self._gate.run(lambda client: batches.answers(client, commands))
        return {}

    def holds(self, digest: str) -> bool:
        """As ``GoodTokens.holds``."""
        try:
            return self._gate.run(lambda client: client.exists(self._prefix + digest)) == 1
        except RedisAwayError:
            return True


class FailureLimits:
    """See the module. Tokens are named by their digests; *clock* answers monotonic seconds."""

    def __init__(self, shared: GoodTokens, clock: Callable[[], float] = time.monotonic) -> None:
        self._shared = shared
        self._clock = clock
        self._bad = _Memory()
        self._good = _Memory()
        self._failures: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def is_known_bad(self, digest: str, address: str) -> bool:
        """Whether the token was found bad within the last minute.

        :raises TooManyRequestsError: the address has failed too often, and this token was not good lately.
        """
        now = self._clock()
        if self._good.holds(digest, now):
            return False
        if address:
            start, count = self._failures.get(address, (now, 0))
            is_used_up = count >= FAILURES_A_WINDOW and now - start < WINDOW_SECONDS
            if is_used_up and not self._shared.holds(digest):
                raise TooManyRequestsError(
                    "Too many bad tokens came from this address.",
                    retry_after=max(1, int(WINDOW_SECONDS - (now - start))),
                )
        return self._bad.holds(digest, now)

    def is_unsuspicious(self, digest: str, address: str) -> bool:
        """Whether ``is_known_bad`` would say no without asking anybody."""
        now = self._clock()
        if self._good.holds(digest, now):
            return True
        start, count = self._failures.get(address, (now, 0)) if address else (now, 0)
        is_used_up = count >= FAILURES_A_WINDOW and now - start < WINDOW_SECONDS
        return not is_used_up and not self._bad.holds(digest, now)

    def is_known_good(self, digest: str) -> bool:
        """Whether this worker has found the token good lately, so that nothing is to be counted or told of it."""
        return self._good.holds(digest, self._clock())

    def was_vouched_for(self, digest: str) -> bool:
        """Whether some worker knows the token to be good, whatever this one found before."""
        return self._shared.holds(digest)

    def vouch(self, digest: str) -> None:
        """The token is good from now on: it was adopted."""
        self._shared.add(digest, GOOD_SECONDS)

    def failed(self, digest: str, address: str) -> None:
        """The token is not good."""
        now = self._clock()
        was_good = self._good.holds(digest, now)
        self._good.remove(digest)
        self._bad.add(digest, now + BAD_SECONDS)
        if not address or was_good:
            return  # a token that has just been revoked says nothing about who else sits behind the address
        start, count = self._failures.get(address, (now, 0))
        if now - start >= WINDOW_SECONDS:
            start, count = now, 0
        self._failures[address] = (start, count + 1)
        self._failures.move_to_end(address)
        if len(self._failures) > MAX_REMEMBERED:
            self._failures.popitem(last=False)

    def succeeded(self, digest: str) -> None:
        """The token is good. All workers are told once in a while, not at every request."""
        self.succeeded_all([digest])

    def succeeded_all(self, digests: Sequence[str]) -> None:
        """As ``succeeded``, of all these."""
        now = self._clock()
        news = [digest for digest in digests if not self._good.holds(digest, now)]
        until = now + GOOD_SECONDS / 2
        for digest in news:
            self._good.add(digest, until)
        if news:
            self._shared.add_all(news, GOOD_SECONDS)
