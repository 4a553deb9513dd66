"""Hazards 18 and 21: two agents with one token do not take over from each other for ever; one that comes back may."""

import re
import socket
import threading
import uuid

import pytest
import requests

from agent.protocol import REPLACED
from app.push.channels import Channels
from app.push.claims import Claims, HeldOffError
from app.push.connection import Connection
from app.push.entries import Entry
from app.push.hub import Hub
from app.push.presence import Registry
from app.push.publisher import Publisher
from app.push.records import Records
from app.push.redis_gate import RedisGate
from tests.conftest import StartServer
from tests.hazards.conftest import Fleet
from tests.support.api import AgentByHand
from tests.support.until import until
from tests.support.websocket_client import Answer, WebSocketClient, WebSocketRefusedError
from tools.redis_server import RedisServer

PASSWORD = "correct horse battery"


def dial(fleet: Fleet, agent: AgentByHand, instance: str | None) -> WebSocketClient:
    client = agent.connect({"X-Agent-Instance": instance} if instance else {})
    fleet.opened.append(client)
    return client


def held_off(fleet: Fleet, agent: AgentByHand, instance: str | None) -> Answer:
    with pytest.raises(WebSocketRefusedError) as refused:
        dial(fleet, agent, instance)
    return refused.value.answer


def fleet_page(fleet: Fleet, path: str = "/") -> str:
    """What an operator's browser shows."""
    fleet.server.create_admin("admin@example.org", PASSWORD)
    with requests.Session() as session:
        session.headers["Connection"] = "close"  # the server ends idle ones, perhaps as we send
        form = session.get(f"{fleet.server.url}/sign-in", timeout=10)
        token = re.search(r'name="csrf_token" value="([^"]+)"', form.text)
        assert token is not None
        fields = {"csrf_token": token[1], "email": "admin@example.org", "password": PASSWORD}
        session.post(f"{fleet.server.url}/sign-in", fields, timeout=10).raise_for_status()
        pages = [session.get(fleet.server.url + part, timeout=10).text for part in ("/", path)]
        return "\n".join(pages)


def test_two_agents_with_one_token_are_told_apart_and_the_newcomer_is_held_off(
    own_fleet: Fleet, start_server: StartServer
) -> None:
    """Three takeovers in a minute, then 503 before the upgrade while the incumbent lives; shown with both addresses.

    On two machines; with instances, and without, as VectorFlow's agents come.
    """
    other = start_server(own_fleet.server.settings)
    for instances in (("one", "two"), (None, None)):
        agent = own_fleet.agent()
        sides = [agent, AgentByHand(other.url, agent.token)]
        incumbent = dial(own_fleet, sides[0], instances[0])
        for number in range(1, 4):
            loser, incumbent = incumbent, dial(own_fleet, sides[number % 2], instances[number % 2])
            assert loser.read_close().close_reason == "replaced"
        for number in range(3):
            # The incumbent is the second agent's, on the other machine; the first comes to either.
            answer = held_off(own_fleet, sides[number % 2], instances[0])
            assert (answer.status, answer.headers["retry-after"]) == (503, "60")
            assert b"Two agents" in answer.body
        own_fleet.until_connected([agent])
        with pytest.raises(TimeoutError):
            incumbent.read_close(seconds=0.5)
        duel = own_fleet.operator.node(agent.node_id)["push"]["duel"]
        assert duel["addresses"] == ["127.0.0.1", "127.0.0.1"]
        assert duel["at"].endswith("Z")
        if instances[1]:
            # Who holds the node may come back as often as before, and holds it still.
            again = dial(own_fleet, sides[0], instances[1])
            assert incumbent.read_close().close_reason == "replaced"
            incumbent = again
            answer = held_off(own_fleet, sides[1], instances[0])
            assert answer.headers["retry-after"] == "60"
            # Another node is nobody's concern.
            dial(own_fleet, own_fleet.agent(), "three")
            shown = fleet_page(own_fleet, f"/nodes/{agent.node_id}")
            assert shown.count("two agents use this identity") >= 2
            assert "connected, from 127.0.0.1; another one" in shown
        incumbent.close()
        until(
            lambda: dial(own_fleet, sides[0], instances[0]),  # noqa: B023
            what="the newcomer's turn once the incumbent has gone",
            tolerate=(WebSocketRefusedError,),
        )
    metrics = requests.get(f"{own_fleet.server.url}/metrics", timeout=10).text
    assert re.search(r'signalbox_push_refusals_total{reason="duel"} [1-9]', metrics)


def test_an_agent_that_comes_back_is_no_duel(own_fleet: Fleet, start_server: StartServer) -> None:
    """It lets go of its socket and dials again at once, wherever it lands, before anybody has noticed the end.

    So does agent A. And the same instance may leave a live socket behind as often as it likes.
    """
    other = start_server(own_fleet.server.settings)
    agent, same = own_fleet.agents(2)
    sides = [agent, AgentByHand(other.url, agent.token)]
    for number in range(7):
        client = dial(own_fleet, sides[number % 2], None)
        client.reset() if number % 3 else client.close()
    dial(own_fleet, agent, None)
    for number in range(7):
        dial(own_fleet, [same, AgentByHand(other.url, same.token)][number % 2], "same")
    own_fleet.until_connected([agent, same])
    for node in (agent, same):
        assert "duel" not in own_fleet.operator.node(node.node_id)["push"]


class Side:
    """The claims of one worker, without the worker."""

    def __init__(self, redis_url: str, prefix: str) -> None:
        self.gate = RedisGate(redis_url)
        self.registry = Registry(self.gate, prefix)
        self.worker_id = uuid.uuid4().hex
        self.closed: dict[str, str] = {}
        self.hub = Hub(self._on_closed, _quiet)
        publisher = Publisher(self.gate, Channels(prefix))
        self.records = Records(self.registry, publisher, None)  # type: ignore[arg-type]  # it asks nothing here
        self.claims = Claims(self.registry, publisher, self.hub, self._entry, lambda function: function())

    def _on_closed(self, connection: Connection, reason: str) -> None:
        self.closed[connection.connection_id] = reason
        self.records.ended(connection, by_itself=reason != REPLACED)

    def _entry(self, connection: Connection) -> Entry:
        c = connection
        return Entry(
            c.fence, c.connection_id, self.worker_id, c.transport, c.since_ms, "host:1", c.address, True
        )

    def admit(self, node_id: str = "n") -> Connection:
        connection = Connection(node_id, "e", uuid.uuid4().hex, 0, "ws", 0, "10.0.0.1", None)
        self.claims.admit(connection)
        return connection

    def hold(self, connection: Connection) -> socket.socket:
        """Give the connection a socket; the peer's end."""
        ours, theirs = socket.socketpair()
        connection.fd = ours.detach()
        self.hub.add(connection)
        return theirs

    def close(self) -> None:
        for connection in self.hub.connections():
            self.hub.drop(connection, "the test's end")
        self.gate.client.close()


def _quiet(_connection: Connection, _ids: tuple[str, ...]) -> None:
    pass


@pytest.fixture
def side(redis_server: RedisServer, unique_prefix: str) -> Side:
    return Side(redis_server.url, unique_prefix)


def test_what_a_dead_worker_held_is_not_taken_over(side: Side, redis_server: RedisServer) -> None:
    """Workers that are killed leave entries behind; who comes back from them comes as often as that happens."""
    prefix = side.registry.lease("").removesuffix("worker:")
    for _ in range(6):
        dead = Side(redis_server.url, prefix)
        dead.registry.renew_lease(dead.worker_id, "host:2")
        dead.admit()
        dead.registry.end_lease(dead.worker_id)
        dead.close()
    side.registry.renew_lease(side.worker_id, "host:1")
    peer = side.hold(side.admit())
    rival = Side(redis_server.url, prefix)
    assert rival.admit().fence > 0, "it is the first that takes over from anybody alive"
    assert side.registry.of(["n"])["n"].duel is None
    peer.close()
    rival.close()
    side.close()


def test_an_old_socket_that_is_dead_is_dropped_before_the_claim(side: Side) -> None:
    """Hazard 21: this worker looks at the older socket, which has ended unread; nobody is told *replaced*.

    An end behind bytes that wait to be read is an end too.
    """
    side.registry.renew_lease(side.worker_id, "host:1")
    for last_words in (b"", b"bytes", b"", b"", b"bytes", b""):
        connection = side.admit()
        peer = side.hold(connection)
        peer.sendall(last_words)
        peer.close()
        side.closed.clear()
        newer = side.admit()
        assert side.closed == {connection.connection_id: "agent closed"}
        side.hub.drop(connection, "already gone")
        assert newer.fence > connection.fence
        side.gate.run(lambda client: client.delete(side.registry.dials("n")))
    side.close()


def test_an_end_that_is_noticed_after_the_takeover_takes_it_back(
    side: Side, redis_server: RedisServer
) -> None:
    """The agent let go and landed elsewhere before the worker that held it looked: nobody lost anything.

    A newcomer that would be held off waits for a moment whether some worker is about to say so.
    """
    prefix = side.registry.lease("").removesuffix("worker:")
    rival = Side(redis_server.url, prefix)
    for each in (side, rival):
        each.registry.renew_lease(each.worker_id, "host:1")
    loser, saying = side, []
    peer = loser.hold(loser.admit())
    for _ in range(6):
        winner = rival if loser is side else side
        peer.close()
        connection = winner.admit()
        loser.hub.turn()
        assert set(loser.closed.values()) == {"agent closed"}
        saying.append(threading.Timer(0.15, loser.records.flush))
        saying[-1].start()
        peer, loser = winner.hold(connection), winner
    for timer in saying:
        timer.join(10)
    assert side.registry.of(["n"])["n"].duel is None
    peer.close()
    side.close()
    rival.close()


def test_a_duel_lasts_until_it_has_been_quiet(side: Side, redis_server: RedisServer) -> None:
    """The newcomer comes each minute, when the takeovers are forgotten: it is held off all the same."""
    prefix = side.registry.lease("").removesuffix("worker:")
    rival = Side(redis_server.url, prefix)
    for each in (side, rival):
        each.registry.renew_lease(each.worker_id, "host:1")
    peers = [side.hold(side.admit())]
    for number in range(3):
        winner = (rival, side)[number % 2]
        peers.append(winner.hold(winner.admit()))
    with pytest.raises(HeldOffError):
        side.admit()
    side.gate.run(lambda client: client.delete(side.registry.takeovers("n")))
    with pytest.raises(HeldOffError) as held_off:
        side.admit()
    assert (held_off.value.reason, held_off.value.retry_after) == ("duel", 60)
    rival.registry.end_lease(rival.worker_id)  # the incumbent's worker dies, and the incumbent with it
    assert side.admit().fence > 0
    for peer in peers:
        peer.close()
    side.close()
    rival.close()
