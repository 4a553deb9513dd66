"""How often a node that stays behind is nudged again, and which of those are deaf."""

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

from prometheus_client import REGISTRY

from app.push import messages
from app.push.connection import Connection, LoopEnd
from app.push.hub import Hub
from app.push.standing import Standing
from app.push.sweep import Patience, Sweep


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


class Behind:
    """A database in which every node that is asked for is behind, or none is."""

    is_behind = False

    def standings(self, node_ids: Sequence[str]) -> dict[str, Standing]:
        return {node_id: Standing("e", True, "wanted", self.is_behind) for node_id in node_ids}

    def record_nudged(self, written: Sequence[tuple[str, str, datetime]]) -> None: ...

    def record_seen(self, node_ids: Sequence[str]) -> None: ...


def test_deaf_is_who_was_not_told_and_not_who_is_slow() -> None:
    """Both are behind; one was nudged since the last sweep and has not got there yet. Nor is it deaf later."""
    hub = Hub(lambda _connection, _reason: None, lambda _connection, _receipt: None)
    loop = LoopEnd(lambda: None)
    for name in ("deaf", "slow"):
        hub.add(Connection(name, "e", name, 1, "ws", 0, "-", None, loop=loop))
    database = Behind()
    sweep = Sweep(hub, database, lambda _node_id: None, "test:1")
    sweep.run_once(at_once=False)
    slow = hub.get("slow")
    assert slow is not None
    hub.deliver(slow, messages.config_changed("deploy", "p"))
    database.is_behind = True
    before = REGISTRY.get_sample_value("signalbox_deaf_nodes_total") or 0.0
    sweep.run_once(at_once=False)
    sweep.run_once(at_once=False)
    assert (REGISTRY.get_sample_value("signalbox_deaf_nodes_total") or 0.0) - before == 1
