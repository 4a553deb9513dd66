"""Hazard 26: a guesser is slowed down, its neighbours behind the same address are not."""

from collections.abc import Sequence

import pytest

from app.errors import TooManyRequestsError
from app.failure_limits import BAD_SECONDS, FAILURES_A_WINDOW, WINDOW_SECONDS, FailureLimits
from app.tokens import digest


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Nowhere:
    """No other worker knows anything."""

    def add(self, digest: str, seconds: float) -> None:
        assert seconds > 0

    def add_all(self, digests: Sequence[str], seconds: float) -> None:
        assert seconds > 0

    def holds(self, digest: str) -> bool:
        return False


def exhausted(address: str, clock: Clock) -> FailureLimits:
    """Limits that *address* has used up with guesses."""
    limits = FailureLimits(Nowhere(), clock)
    for number in range(FAILURES_A_WINDOW):
        assert not limits.is_known_bad(digest(f"guess-{number}"), address)
        limits.failed(digest(f"guess-{number}"), address)
    return limits


def test_a_guesser_has_to_wait() -> None:
    """Past the limit the next guess is refused before any database work, until the window is over."""
    clock = Clock()
    limits = exhausted("10.0.0.1", clock)
    with pytest.raises(TooManyRequestsError) as refused:
        limits.is_known_bad(digest("another guess"), "10.0.0.1")
    assert 0 < (refused.value.retry_after or 0) <= WINDOW_SECONDS
    clock.now += WINDOW_SECONDS
    assert not limits.is_known_bad(digest("another guess"), "10.0.0.1")


def test_a_good_token_behind_the_same_address_does_not() -> None:
    """One bad node must not lock out a whole site."""
    clock = Clock()
    limits = FailureLimits(Nowhere(), clock)
    limits.succeeded(digest("good"))
    for number in range(FAILURES_A_WINDOW):
        limits.failed(digest(f"guess-{number}"), "10.0.0.1")
    assert not limits.is_known_bad(digest("good"), "10.0.0.1")


def test_one_bad_node_that_tries_for_ever_counts_once_a_minute() -> None:
    """Its token is known to be bad without the database, and known bad tokens fill no window."""
    clock = Clock()
    limits = FailureLimits(Nowhere(), clock)
    limits.failed(digest("revoked"), "10.0.0.1")
    for _ in range(1000):
        assert limits.is_known_bad(digest("revoked"), "10.0.0.1")
    assert not limits.is_known_bad(digest("new"), "10.0.0.1")
    clock.now += BAD_SECONDS
    assert not limits.is_known_bad(digest("revoked"), "10.0.0.1")


def test_without_an_address_nobody_waits() -> None:
    """On a unix socket every address is empty: a limit would lock out everybody."""
    limits = exhausted("", Clock())
    assert not limits.is_known_bad(digest("another guess"), "")


def test_a_token_that_has_just_been_revoked_is_bad_and_blames_nobody() -> None:
    """It was good; its owner's neighbours are not counted against."""
    clock = Clock()
    limits = FailureLimits(Nowhere(), clock)
    for number in range(FAILURES_A_WINDOW):
        limits.succeeded(digest(f"node-{number}"))
        limits.failed(digest(f"node-{number}"), "10.0.0.1")
        assert limits.is_known_bad(digest(f"node-{number}"), "10.0.0.1")
    assert not limits.is_known_bad(digest("new"), "10.0.0.1")
