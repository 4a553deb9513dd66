"""Decision 2: who is connected is answered alike by every process, and right again after every fault."""

import os
import signal
import time

import psutil
import pytest
import redis

from tests.conftest import StartServer
from tests.hazards.conftest import Fleet, MakeFleet
from tests.support.api import AgentByHand, Operator
from tests.support.doors import TRANSPORTS
from tests.support.until import until
from tools.redis_server import RedisServer


def push_of(operator: Operator, agent: AgentByHand) -> dict[str, object]:
    push: dict[str, object] = operator.node(agent.node_id)["push"]
    return push


def test_two_machines_show_the_same_badge(own_fleet: Fleet, start_server: StartServer) -> None:
    """Two masters on one Redis and database: whichever is asked, the same worker is named."""
    other = start_server(own_fleet.server.settings)
    other_operator = Operator(other.url, other.create_api_token())
    agents = own_fleet.agents(6)
    for number, agent in enumerate(agents):
        where = agent if number % 2 else AgentByHand(other.url, agent.token)
        own_fleet.open(where, TRANSPORTS[number // 2 % 2])
    own_fleet.until_connected(agents)
    for number, agent in enumerate(agents):
        here, there = push_of(own_fleet.operator, agent), push_of(other_operator, agent)
        assert here == there
        assert here["transport"] == TRANSPORTS[number // 2 % 2]
    workers = {str(push_of(other_operator, agent)["worker"]).rpartition(":")[2] for agent in agents}
    all_workers = {str(pid) for pid in own_fleet.server.worker_pids() + other.worker_pids()}
    assert workers <= all_workers
    assert other_operator.deploy(own_fleet.pipeline_id)["pushed"] == 6


@pytest.mark.parametrize(("first", "second"), [("ws", "ws"), ("sse", "sse"), ("ws", "sse"), ("sse", "ws")])
def test_a_late_close_never_evicts_the_newer_connection(fleet: Fleet, first: str, second: str) -> None:
    """The older socket's end is noticed long after the newer took over; the badge stays."""
    agent = fleet.agent()
    older = fleet.open(agent, first)
    fleet.until_connected([agent])
    since = push_of(fleet.operator, agent)["since"]
    newer = fleet.open(agent, second)
    until(lambda: push_of(fleet.operator, agent)["since"] != since, what="the newer connection")
    fleet.until_connected([agent])
    older.close()
    with pytest.raises(TimeoutError):
        newer.read_message(seconds=1)
    assert push_of(fleet.operator, agent)["connected"] is True
    newer.close()
    until(lambda: push_of(fleet.operator, agent)["connected"] is False, what="the badge's end")


def test_a_killed_worker_takes_its_nodes_off_and_they_come_back(own_fleet: Fleet) -> None:
    """SIGKILL: the master ends the worker's lease; without it nine seconds would. Reconnecting brings them back."""
    agents = own_fleet.agents(8)
    clients = {
        agent.node_id: own_fleet.open(agent, TRANSPORTS[number % 2]) for number, agent in enumerate(agents)
    }
    own_fleet.until_connected(agents)
    holder = int(str(push_of(own_fleet.operator, agents[0])["worker"]).rpartition(":")[2])
    own = [a for a in agents if str(push_of(own_fleet.operator, a)["worker"]).endswith(f":{holder}")]
    own_fleet.server.kill_worker(holder)
    until(
        lambda: all(push_of(own_fleet.operator, agent)["connected"] is False for agent in own),
        seconds=30,
        what="the dead worker's nodes",
        tolerate=(OSError,),
    )
    for agent in own:
        clients[agent.node_id].read_end()
        until(lambda agent=agent: own_fleet.connect(agent), what="a new channel", tolerate=(OSError,))
    own_fleet.until_connected(agents)


def test_a_lost_machine_takes_its_nodes_off_and_they_come_back_elsewhere(
    own_fleet: Fleet, start_server: StartServer
) -> None:
    """Master and workers die at once, so nobody ends a lease: its expiry alone does it, within 15 s."""
    other = start_server(own_fleet.server.settings, workers=1)
    operator = Operator(other.url, other.create_api_token())
    agents = own_fleet.agents(6)
    for agent in agents:
        own_fleet.connect(agent)
    own_fleet.until_connected(agents)
    stays = own_fleet.agent()
    own_fleet.opened.append(AgentByHand(other.url, stays.token).connect())
    until(lambda: push_of(operator, stays)["connected"], what="the neighbour's channel")
    own_fleet.server.kill()
    until(
        lambda: not any(push_of(operator, agent)["connected"] for agent in agents),
        seconds=30,
        what="the lost machine's nodes to be off",
    )
    assert push_of(operator, stays)["connected"] is True
    for agent in agents:
        own_fleet.opened.append(AgentByHand(other.url, agent.token).connect())
    until(lambda: all(push_of(operator, agent)["connected"] for agent in agents), what="their return")


def test_a_flushed_redis_heals_by_itself(
    start_server: StartServer, make_fleet: MakeFleet, own_redis: RedisServer
) -> None:
    """FLUSHALL: leases come back within three seconds, entries with the audit within ten."""
    fleet = make_fleet(start_server({"SIGNALBOX_REDIS_URL": own_redis.url}))
    agents = fleet.agents(6)
    for number, agent in enumerate(agents):
        fleet.open(agent, TRANSPORTS[number % 2])
    fleet.until_connected(agents)
    with redis.Redis.from_url(own_redis.url) as client:

        def is_seen_to_be_empty() -> bool:
            client.flushall()  # an audit may have come between this and the look
            return push_of(fleet.operator, agents[0])["connected"] is False

        until(is_seen_to_be_empty, what="an empty Redis")
    until(
        lambda: all(push_of(fleet.operator, agent)["connected"] for agent in agents),
        seconds=30,
        what="the presence of all",
    )


def test_a_frozen_redis_is_noticed_and_unknown_is_not_offline(
    start_server: StartServer, make_fleet: MakeFleet, own_redis: RedisServer
) -> None:
    """SIGSTOP: calls are answered all the same and say unknown since when; afterwards all is as it was."""
    fleet = make_fleet(start_server({"SIGNALBOX_REDIS_URL": own_redis.url}))
    agent = fleet.agent()
    client = fleet.connect(agent)
    fleet.until_connected([agent])
    own_redis.suspend()
    try:
        push = until(
            lambda: (push := push_of(fleet.operator, agent))["connected"] is None and push, what="unknown"
        )
        assert push["unknownSince"]
        assert agent.config().status_code == 200
        assert agent.heartbeat().status_code == 200
        until(
            lambda: "subscriber lost" in fleet.server.log.read_text(),
            seconds=30,
            what="the subscriber's noticing that Redis is frozen",
        )
    finally:
        own_redis.resume()
    until(lambda: push_of(fleet.operator, agent)["connected"], what="the badge")
    fleet.operator.deploy(fleet.pipeline_id)
    assert client.read_message(seconds=30)["type"] == "config_changed"


def test_a_redis_that_comes_back_empty_makes_nobody_look_disconnected(
    start_server: StartServer, make_fleet: MakeFleet, own_redis: RedisServer
) -> None:
    """Until every worker has written its presence again, who is missing there is unknown, not disconnected."""
    fleet = make_fleet(start_server({"SIGNALBOX_REDIS_URL": own_redis.url}))
    agents = fleet.agents(6)
    for agent in agents:
        fleet.connect(agent)
    fleet.until_connected(agents)
    seen = set()

    def all_connected() -> bool:
        rows = fleet.operator.nodes()
        seen.update(row["push"]["connected"] for row in rows)
        return all(row["push"]["connected"] for row in rows)

    own_redis.kill()
    until(lambda: not all_connected(), what="unknown")
    own_redis.start()
    until(all_connected, what="the presence of all")
    assert seen == {True, None}
    unwatched = fleet.operator.nodes(connected="false")
    assert unwatched == []


def test_a_worker_that_sleeps_past_its_lease_does_not_take_over_again(
    own_fleet: Fleet, start_server: StartServer
) -> None:
    """Hazard 21: it looks before it says "I live": a node that moved meanwhile stays where it is."""
    other = start_server(own_fleet.server.settings)
    agent = own_fleet.agent()
    older = own_fleet.connect(agent)
    own_fleet.until_connected([agent])
    holder = int(str(push_of(own_fleet.operator, agent)["worker"]).rpartition(":")[2])
    operator = Operator(other.url, own_fleet.operator.session.headers["Authorization"].split()[1])
    os.kill(holder, signal.SIGSTOP)
    try:
        until(lambda: psutil.Process(holder).status() == psutil.STATUS_STOPPED, what="the stopped worker")
        until(lambda: push_of(operator, agent)["connected"] is False, seconds=30, what="the lease's end")
        newer = AgentByHand(other.url, agent.token).connect()
        own_fleet.opened.append(newer)
        until(lambda: push_of(operator, agent)["connected"], what="the newer connection")
        worker = push_of(operator, agent)["worker"]
    finally:
        os.kill(holder, signal.SIGCONT)
    assert older.read_close().close_reason == "replaced"
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        push = push_of(operator, agent)
        assert (push["connected"], push["worker"]) == (True, worker)
        with pytest.raises(TimeoutError):
            newer.read_close(seconds=0.5)


@pytest.mark.parametrize("act", ["revoke", "delete", "move"])
def test_a_node_that_is_sent_away_loses_its_socket(
    own_fleet: Fleet, start_server: StartServer, act: str
) -> None:
    """1008, whichever machine is asked and whichever worker holds it; a revoked token gets no new socket."""
    other = start_server(own_fleet.server.settings)
    elsewhere = own_fleet.operator.create_environment("elsewhere")["id"]
    for transport in TRANSPORTS:
        agent = own_fleet.agent()
        channel = own_fleet.open(AgentByHand(other.url, agent.token), transport)
        own_fleet.until_connected([agent])
        path = f"/nodes/{agent.node_id}"
        if act == "revoke":
            own_fleet.operator.call("POST", f"{path}/revoke")
        elif act == "delete":
            own_fleet.operator.call("DELETE", path)
        else:
            own_fleet.operator.call("PATCH", path, {"environmentId": elsewhere})
        assert channel.read_goodbye()[0] == 1008
        assert agent.config().status_code == (200 if act == "move" else 401)
