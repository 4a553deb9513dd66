"""How often a node that stays behind is nudged again."""

from itertools import pairwise

from app.push.sweep import Patience


def test_a_node_that_stays_behind_is_nudged_less_and_less_often() -> None:
    """After 30 s, 1, 2 and 5 minutes, then every 5 minutes; a sweep every 30 s."""
    patience = Patience()
    nudged = [now for now in range(0, 1800, 30) if patience.due(["n"], float(now))]
    assert nudged[:5] == [0, 30, 90, 210, 510]
    assert {later - earlier for earlier, later in pairwise(nudged[4:])} == {300}


def test_a_node_that_caught_up_starts_again_from_the_beginning() -> None:
    """What it once missed says nothing about the next deploy."""
    patience = Patience()
    for now in range(0, 600, 30):
        patience.due(["n"], float(now))
    assert patience.due([], 600.0) == []
    assert patience.due(["n"], 601.0) == ["n"]
