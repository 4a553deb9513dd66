import random

import pytest

from agent.backoff import Backoff, after_retry_hint, spread


def test_the_span_doubles_up_to_the_cap_and_the_delay_lies_anywhere_in_it() -> None:
    """Full jitter is drawn after the cap: late retries of a fleet are spread over the whole cap."""
    spans = [1, 2, 4, 8, 16, 30, 30]
    draws: list[list[float]] = [[] for _ in spans]
    for seed in range(300):
        backoff = Backoff(1.0, 30.0, random.Random(seed))
        for collected in draws:
            collected.append(backoff.next_delay())

    for span, delays in zip(spans, draws, strict=True):
        assert 0 <= min(delays) < 0.1 * span
        assert 0.9 * span < max(delays) <= span


def test_a_floor_is_always_waited() -> None:
    """A child that keeps dying is never restarted at once."""
    backoff = Backoff(1.0, 60.0, random.Random(1), floor=0.5)

    assert all(backoff.next_delay() >= span / 2 for span in (1, 2, 4, 8, 16, 32, 60, 60))


def test_a_reset_starts_over() -> None:
    """After a stable while the next failure is a first one again."""
    backoff = Backoff(1.0, 30.0, random.Random(1))
    for _ in range(10):
        backoff.next_delay()

    backoff.reset()

    assert backoff.failures == 0
    assert backoff.next_delay() <= 1.0


def test_it_survives_being_asked_for_ever() -> None:
    """A server that is away for a year must not end in an overflow."""
    backoff = Backoff(1.0, 30.0, random.Random(1))
    backoff.failures = 5000

    assert 0 <= backoff.next_delay() <= 30


@pytest.mark.parametrize("seed", range(20))
def test_a_retry_hint_is_a_lower_bound(seed: int) -> None:
    """Retry-After is honoured, and spread so that not all come back in the same second."""
    assert 60 <= after_retry_hint(60, random.Random(seed)) <= 90


def test_intervals_are_spread_around_their_value() -> None:
    """A fleet that was started together does not poll together."""
    values = [spread(15, random.Random(seed)) for seed in range(200)]

    assert 13.5 <= min(values) < 14
    assert 16 < max(values) <= 16.5
