"""Points of metrics: differences of counters, shares of minutes, sums, and what is stored."""

import pytest

from app.metrics_points import (
    HOST,
    HOUR,
    LONGEST_GAP_SECONDS,
    MINUTE,
    Block,
    Sheet,
    Standing,
    between,
    block_start,
    fields,
    pack,
    total,
    unpack,
)

PIPELINE = "a" * 32
ZERO = 1_800_000_000.0  # a full hour


def standing(at: float, **counters: float) -> Standing:
    return Standing(ZERO + at, {PIPELINE: counters})


def events(before: Standing | None, now: Standing) -> dict[int, tuple[float, float]]:
    """Seconds and events by the minute's start."""
    return {int(start - ZERO): (point[0], point[1]) for _, start, point in between(before, now)}


def test_a_difference_is_shared_between_the_minutes_that_it_covers() -> None:
    """To the second, whatever minutes it begins and ends in."""
    assert events(standing(0, eventsIn=10), standing(60, eventsIn=70)) == {0: (60, 60)}
    assert events(standing(30, eventsIn=0), standing(150, eventsIn=240)) == {
        0: (30, 60),
        60: (60, 120),
        120: (30, 60),
    }


def test_a_counter_that_fell_has_started_again() -> None:
    """What it shows is what it has counted since."""
    assert events(standing(0, eventsIn=1000), standing(60, eventsIn=30)) == {0: (60, 30)}


def test_what_nobody_saw_is_a_gap() -> None:
    """No standing before, none of this pipeline, the same or an older moment, or too long ago."""
    now = standing(0, eventsIn=5)
    assert events(None, now) == {}
    assert events(Standing(ZERO - 60, {}), now) == {}
    assert events(standing(0, eventsIn=1), now) == events(standing(5, eventsIn=1), now) == {}
    assert events(standing(-LONGEST_GAP_SECONDS - 1, eventsIn=1), now) == {}
    assert sum(events(standing(-LONGEST_GAP_SECONDS, eventsIn=1), now)[minute][1] for minute in (-60,)) > 0


def test_a_level_is_weighted_by_its_seconds() -> None:
    """So that a mean is a total by the seconds, at every level of roll-up."""
    before = Standing(ZERO, {HOST: {}})
    one = Standing(ZERO + 20, {HOST: {"memoryUsedBytes": 100.0}})
    other = Standing(ZERO + 60, {HOST: {"memoryUsedBytes": 400.0}})
    sheet = Sheet(MINUTE)
    for earlier, later in ((before, one), (one, other)):
        for subject, _, point in between(earlier, later):
            sheet.add(subject, 0, point)
    block = unpack(sheet.packed())
    place = 1 + fields(HOST).index("memoryUsedBytes")
    assert block[HOST][0][0] == 60
    assert block[HOST][0][place] / 60 == pytest.approx((20 * 100 + 40 * 400) / 60)


def test_what_is_stored_is_read_again() -> None:
    """Gaps stay gaps, and a subject whose width is of another release is left out."""
    block: Block = {PIPELINE: {0: [60.0, *range(6)], 59: [30.0, *range(6)]}, HOST: {7: [1.0, *range(10)]}}
    assert unpack(pack(MINUTE, block)) == block
    assert unpack(pack(MINUTE, {})) == {}
    sheet = Sheet(MINUTE, pack(MINUTE, block))
    sheet.add(PIPELINE, 59, [30.0, *range(6)])
    sheet.add(PIPELINE, 1, [60.0, *range(6)])
    added = {0: [60.0, *range(6)], 1: [60.0, *range(6)], 59: [60.0, *range(0, 12, 2)]}
    assert unpack(sheet.packed()) == {**block, PIPELINE: added}, "the others stay as they were"
    assert total([[60.0, 1.0], [30.0, 2.0]]) == [90.0, 3.0]
    assert block_start(MINUTE, ZERO + 3599) == ZERO
    assert block_start(MINUTE, ZERO + 3600) == ZERO + 3600
    assert block_start(HOUR, ZERO) % 86400 == 0
