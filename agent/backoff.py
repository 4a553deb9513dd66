"""How long to wait before the next try. Pure: the randomness is handed in."""

from __future__ import annotations

from random import Random


class Backoff:
    """Exponential waiting with jitter, drawn after the cap and before the first retry too.

    ``floor`` is the share of each span that is always waited: 0 is full jitter, which spreads a herd best;
    a process that keeps dying is better not restarted at once, so it gets 0.5.
    """

    def __init__(self, first_seconds: float, cap_seconds: float, random: Random, floor: float = 0.0) -> None:
        self._first_seconds = first_seconds
        self._cap_seconds = cap_seconds
        self._random = random
        self._floor = floor
        self.failures = 0

    def next_delay(self) -> float:
        """Seconds to wait now; each call doubles the span of the next, up to the cap."""
        # 2 ** 1024 is no float; past 62 doublings every cap is long reached.
        span = min(self._cap_seconds, self._first_seconds * 2 ** min(self.failures, 62))
        self.failures += 1
        return self._random.uniform(span * self._floor, span)

    def reset(self) -> None:
        """Forget the failures: what was tried has worked for long enough."""
        self.failures = 0


def spread(interval_seconds: float, random: Random, share: float = 0.1) -> float:
    """``interval_seconds``, give or take ``share`` of it, so that a fleet does not march in step."""
    return interval_seconds * random.uniform(1 - share, 1 + share)


def after_retry_hint(hint_seconds: float, random: Random) -> float:
    """Seconds to wait when a server said ``Retry-After``: never less, and spread over half as much again."""
    return hint_seconds * random.uniform(1.0, 1.5)
