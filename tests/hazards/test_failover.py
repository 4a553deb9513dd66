"""Hazard 23: after a fail-over, or a split, everybody follows the master, and nobody stays with an old one."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from app.push.redis_gate import Identity, RedisGate
from app.push.redis_guard import what_is_wrong
from tests.conftest import StartServer
from tests.hazards.conftest import Fleet, MakeFleet
from tests.support.api import AgentByHand
from tests.support.redis_sentinel import RedisSentinel, address_of
from tests.support.until import until
from tools.redis_server import RedisServer


def test_what_a_guard_finds_wrong() -> None:
    """Another role or another Redis; what nobody may ask is not held against anybody."""
    assert what_is_wrong(Identity("a", "master"), "a") is None
    assert what_is_wrong(Identity("a", "master"), None) is None
    assert "slave" in (what_is_wrong(Identity("a", "slave"), "a") or "")
    assert "another" in (what_is_wrong(Identity("b", "master"), "a") or "")


@pytest.fixture
def three_redis(tmp_path: Path) -> Iterator[list[RedisServer]]:
    """Three servers on TCP that know nothing of each other."""
    with ExitStack() as running:
        servers = []
        for name in ("a", "b", "c"):
            (tmp_path / name).mkdir()
            servers.append(running.enter_context(RedisServer(tmp_path / name, tcp=True)))
        yield servers


def holds_everything(server: RedisServer, fleet: Fleet, agent: AgentByHand) -> bool:
    """Whether the workers listen at *server*, and the node's presence is there."""
    prefix = fleet.server.settings["SIGNALBOX_REDIS_PREFIX"]
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        is_heard = client.pubsub_numsub(f"{prefix}node:{{{agent.node_id}}}")[0][1] == 1
        return is_heard and any(
            client.hexists(key, agent.node_id) for key in client.keys(f"{prefix}presence:*")
        )


def run_id(server: RedisServer) -> str:
    with redis.Redis.from_url(server.url) as client:
        return str(client.info("server")["run_id"])


def nudged_by_a_deploy(fleet: Fleet, agent: AgentByHand) -> None:
    """A deploy is pushed, and heard within seconds: the sweep is far away."""
    client = fleet.opened[-1]
    until(
        lambda: fleet.operator.deploy(fleet.pipeline_id)["pushed"] == 1,
        seconds=40,
        every=0.3,
        what="a deploy that is pushed",
    )
    assert client.read_message()["type"] == "config_changed"


def test_a_sentinel_s_fail_over_and_its_word_on_a_split_are_followed(
    start_server: StartServer, make_fleet: MakeFleet, three_redis: list[RedisServer], tmp_path: Path
) -> None:
    """The master dies: a replica takes over. Later Sentinel names another, while the old one thinks itself master."""
    first, second, third = three_redis
    with redis.Redis.from_url(second.url) as client:
        client.replicaof(*map(str, address_of(first)))
    sentinel = RedisSentinel(tmp_path, first)
    try:
        until(sentinel.knows_a_replica, seconds=60, what="the replica")
        fleet = make_fleet(
            start_server({"SIGNALBOX_REDIS_URL": sentinel.url, "SIGNALBOX_SWEEP_INTERVAL": "3600"}, workers=1)
        )
        agent = fleet.agent()
        fleet.connect(agent)
        fleet.until_connected([agent])
        assert holds_everything(first, fleet, agent)
        first.kill()
        until(lambda: sentinel.master() == address_of(second), seconds=60, what="the fail-over")
        until(lambda: holds_everything(second, fleet, agent), seconds=60, what="presence on the new master")
        fleet.until_connected([agent])
        nudged_by_a_deploy(fleet, agent)
        gate = RedisGate(sentinel.url)
        assert gate.identity().run_id == run_id(second)
        sentinel.watch_another(third)
        assert gate.identity().run_id == run_id(third), "its one connection was open, and still was not used"
        gate.client.close()
        until(
            lambda: holds_everything(third, fleet, agent), seconds=60, what="presence where Sentinel points"
        )
        fleet.until_connected([agent])
        nudged_by_a_deploy(fleet, agent)
    finally:
        sentinel.close()


class MovingAddress:
    """An address that leads to one server and later to another, as a virtual IP does. What is open stays open."""

    def __init__(self, to: RedisServer) -> None:
        self.to = to
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listening.getsockname()[1]}/0"
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(address_of(self.to))
                self._open += [client, server]
                for one, other in ((client, server), (server, client)):
                    threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    @staticmethod
    def _pump(one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        for each in (one, other):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        for each in [self._listening, *self._open]:
            each.close()


def test_a_subscriber_left_behind_at_an_old_master_follows(
    start_server: StartServer, make_fleet: MakeFleet, three_redis: list[RedisServer]
) -> None:
    """Commands go to a new server, the subscription lives on at the old one: nothing breaks, nothing is heard.

    Afterwards the new one is made a replica: it answers, but it is not the place to publish.
    """
    first, second, third = three_redis
    address = MovingAddress(first)
    try:
        settings = {"SIGNALBOX_REDIS_URL": address.url, "SIGNALBOX_SWEEP_INTERVAL": "3600"}
        fleet = make_fleet(start_server(settings, workers=1))
        agent = fleet.agent()
        fleet.connect(agent)
        fleet.until_connected([agent])
        address.to = second
        with redis.Redis.from_url(first.url) as client:
            client.client_kill_filter(_type="normal", skipme=True)
        channel = f"{fleet.server.settings['SIGNALBOX_REDIS_PREFIX']}node:{{{agent.node_id}}}"
        with redis.Redis.from_url(first.url) as client:

            def has_moved() -> bool:
                client.publish(channel, "noise, so that the silence of its own echo does not give it away")
                return holds_everything(second, fleet, agent)

            until(has_moved, seconds=60, every=0.5, what="the subscription")
        assert "the subscriber listens to another Redis" in fleet.server.log.read_text()
        nudged_by_a_deploy(fleet, agent)
        address.to = third
        with redis.Redis.from_url(second.url) as client:
            client.replicaof(*map(str, address_of(third)))
        until(lambda: holds_everything(third, fleet, agent), seconds=60, what="the way to the master")
        # By the guard: it met the replica, or a new connection that already led past it.
        assert fleet.server.log.read_text().count("redis connections made again") >= 2
        nudged_by_a_deploy(fleet, agent)
    finally:
        address.close()
