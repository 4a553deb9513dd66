"""Bars of nodes' states: what somebody has to look at is never too narrow to be seen."""

from app.pages.bars import LEAST_PERCENT, segments


def test_one_failed_node_among_many_can_be_seen() -> None:
    """The widest segment gives it room, and all stay inside of the bar; states without nodes are left out."""
    good, bad = segments(
        (("good", "●", 9999, "running"), ("bad", "✕", 1, "failed"), ("busy", "▲", 0, "x")), 10_000
    )
    assert (good.start, good.width, bad.start, bad.width) == (0, 98, 98, LEAST_PERCENT)


def test_what_is_not_there_yet_stays_empty() -> None:
    """Also where it is one node among many; and a bar of nothing is empty."""
    (half,) = segments((("good", "●", 1, "running"),), 2)
    assert (half.start, half.width) == (0, 50)
    (almost,) = segments((("good", "●", 9999, "running"),), 10_000)
    assert almost.width == 100 - LEAST_PERCENT
    assert segments((("good", "●", 0, "running"),), 0) == []
