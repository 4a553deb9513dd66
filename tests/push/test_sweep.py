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


class Database:
    """A database in which every node that is asked for is behind, or none is."""

    def __init__(self) -> None:
        self.is_behind = False
        self.nonce = "1"
        self.asked: list[list[str]] = []
        self.acting: set[str] = set()

    def standings(self, node_ids: Sequence[str]) -> dict[str, Standing]:
        self.asked.append(sorted(node_ids))
        return {
            node_id: Standing("e", self.nonce, True, "wanted", self.is_behind, node_id in self.acting)
            for node_id in node_ids
        }

    def nonces(self, environment_ids: Sequence[str]) -> dict[str, str]:
        return dict.fromkeys(environment_ids, self.nonce)

    def untold(self, environment_ids: Sequence[str]) -> set[str]:
        return self.acting

    def record_nudged(self, written: Sequence[tuple[str, str, datetime]]) -> None: ...

    def record_seen(self, node_ids: Sequence[str]) -> None: ...

    def poll_interval_ms(self) -> int | None:
        return None

    def tidy_up(self) -> None: ...


def hub_of(*names: str) -> Hub:
    """Channels that loops of their own serve, so that nothing has to read them."""
    hub = Hub(lambda _connection, _reason: None, lambda _connection, _receipt: None)
    for name in names:
        hub.add(Connection(name, "e", name, 1, "ws", 0, "-", None, loop=LoopEnd(lambda: None)))
    return hub


def test_a_sweep_asks_only_where_something_can_have_changed() -> None:
    """Hazard 9: a settled node again with a new nonce, and once in ten sweeps; one that is behind each time."""
    hub, database = hub_of("a", "b"), Database()
    sweep = Sweep(hub, database, lambda _node_id: None, "test:1")
    for _ in range(9):
        sweep.run_once(at_once=False)
    assert database.asked == [["a", "b"]]
    database.asked.clear()
    sweep.run_once(at_once=False)
    assert database.asked == [["a", "b"]], "the tenth trusts nobody"
    database.asked.clear()
    database.nonce, database.is_behind = "2", True
    sweep.run_once(at_once=False)
    sweep.run_once(at_once=False)
    assert database.asked == [["a", "b"]] * 2, "behind"
    database.is_behind = False
    sweep.run_once(at_once=False)
    sweep.run_once(at_once=True)
    assert database.asked == [["a", "b"]] * 3, "settled again"


def test_a_new_connection_is_settled_only_if_it_runs_what_it_should() -> None:
    """What the look leaves open the sweep asks again."""
    hub, database = hub_of("fresh", "stale"), Database()
    fresh, stale = hub.get("fresh"), hub.get("stale")
    assert fresh
    assert stale
    fresh.revision = "wanted"
    sweep = Sweep(hub, database, lambda _node_id: None, "test:1")
    sweep.look([fresh, stale])
    database.asked.clear()
    sweep.run_once(at_once=False)
    assert database.asked == [["stale"]]


def test_deaf_is_who_was_not_told_and_not_who_is_slow() -> None:
    """Both are behind; one was nudged since the last sweep and has not got there yet. Nor is it deaf later."""
    hub, database = hub_of("deaf", "slow"), Database()
    sweep = Sweep(hub, database, lambda _node_id: None, "test:1")
    sweep.run_once(at_once=False)
    slow = hub.get("slow")
    assert slow is not None
    hub.deliver(slow, messages.config_changed("deploy", "p"))
    database.nonce, database.is_behind = "2", True
    before = REGISTRY.get_sample_value("signalbox_deaf_nodes_total") or 0.0
    sweep.run_once(at_once=False)
    sweep.run_once(at_once=False)
    assert (REGISTRY.get_sample_value("signalbox_deaf_nodes_total") or 0.0) - before == 1


def test_a_node_that_was_not_told_of_an_action_is_asked_about_and_nudged() -> None:
    """Its environment has not changed, so nothing else would make the sweep look at it."""
    hub = hub_of("a", "b")
    database = Database()
    sweep = Sweep(hub, database, lambda _node_id: None, "test:1")
    sweep.run_once(at_once=False)
    sweep.run_once(at_once=False)
    database.asked.clear()
    database.acting = {"b"}
    a, b = hub.get("a"), hub.get("b")
    assert a is not None
    assert b is not None
    before = a.last_nudged
    sweep.run_once(at_once=False)
    assert database.asked == [["b"]]
    assert b.last_nudged > before
    assert a.last_nudged == before


def test_a_new_connection_is_told_of_an_action_although_it_is_up_to_date() -> None:
    """Its revision is the wanted one; the push came while it had no socket."""
    hub = hub_of("a", "b")
    database = Database()
    database.acting = {"b"}
    sweep = Sweep(hub, database, lambda _node_id: None, "test:1")
    connections = hub.connections()
    for connection in connections:
        connection.revision = "wanted"
    sweep.look(connections)
    assert [c.node_id for c in connections if c.last_nudged > 0] == ["b"]
