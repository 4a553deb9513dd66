"""Hazards 7 and 11: a nudge is heard by every socket that is open, and counted as what it is."""

import itertools
import os
import random
import signal
import threading

import psutil
import pytest

from tests.conftest import StartServer
from tests.hazards.conftest import Fleet, MakeFleet
from tests.support.api import AgentByHand
from tests.support.doors import TRANSPORTS
from tests.support.until import until
from tools.redis_server import RedisServer


@pytest.fixture
def unswept_fleet(start_server: StartServer, make_fleet: MakeFleet) -> Fleet:
    """A fleet whose server never sweeps, so that what is heard was pushed or looked up."""
    return make_fleet(start_server({"SIGNALBOX_SWEEP_INTERVAL": "3600"}))


def test_a_deploy_at_any_moment_of_a_connection_s_birth_is_heard(unswept_fleet: Fleet) -> None:
    """Hazard 7: subscribe, wait for the confirmation, then look. Whatever the order of the two, one tells.

    Looking before the subscription stands leaves a gap in which a deploy is lost. Every other agent has a stream.
    """
    fleet = unswept_fleet
    agents = fleet.agents(8)
    for _ in range(6):
        before = {agent.node_id: agent.config().json()["configRevision"] for agent in agents}
        deploying = threading.Timer(random.uniform(0.0, 0.15), fleet.operator.deploy, [fleet.pipeline_id])
        deploying.start()
        clients = [
            fleet.open(agent, transport, revision=before[agent.node_id])
            for agent, transport in zip(agents, itertools.cycle(TRANSPORTS))
        ]
        for client in clients:
            assert client.read_message()["type"] == "config_changed"
        deploying.join(30)
        for client in clients:
            client.close()


def test_a_socket_that_replaces_another_is_not_deaf(unswept_fleet: Fleet) -> None:
    """Hazard 7: the old one's UNSUBSCRIBE must not follow the new one's SUBSCRIBE, whatever the form of either."""
    fleet = unswept_fleet
    transports = itertools.cycle(("ws", "ws", "sse", "sse", "ws"))
    for _ in range(5):
        agents = fleet.agents(6)  # others each time: who replaces himself too often is held off
        latest = []
        for agent in agents:
            for _ in range(3):
                client = fleet.open(agent, next(transports))
            latest.append(client)
        fleet.until_connected(agents)
        pushed = fleet.operator.deploy(fleet.pipeline_id)["pushed"]
        assert pushed == len(agents)
        for client in latest:
            assert client.read_message()["type"] == "config_changed"
            client.close()
        until(lambda: not fleet.operator.nodes(connected="true"), what="the end of these")


def test_the_older_socket_is_closed_wherever_it_is(own_fleet: Fleet, start_server: StartServer) -> None:
    """One live channel per node, also across two machines: the older is told that it was replaced."""
    other = start_server(own_fleet.server.settings)
    for forms in itertools.product(TRANSPORTS, TRANSPORTS):
        agent = own_fleet.agent()  # another one each time: who replaces himself too often is held off
        there = AgentByHand(other.url, agent.token)
        older = own_fleet.open(agent, forms[0])
        own_fleet.until_connected([agent])
        newer = own_fleet.open(there, forms[1])
        assert older.read_goodbye() == (1000, "replaced")
        own_fleet.until_connected([agent])
        again = own_fleet.open(agent, forms[0])
        assert newer.read_goodbye() == (1000, "replaced")
        again.close()


def test_pushed_means_handed_over_and_nudged_at_means_written(
    start_server: StartServer, make_fleet: MakeFleet
) -> None:
    """Hazard 11: Redis counts a subscriber that is stopped; the deployment's nudgedAt waits for the write."""
    fleet = make_fleet(start_server())
    agent = fleet.agent()
    client = fleet.connect(agent)
    fleet.until_connected([agent])
    holder = int(fleet.operator.node(agent.node_id)["push"]["worker"].rpartition(":")[2])
    assert holder in fleet.server.worker_pids()
    fleet.operator.session.close()
    os.kill(holder, signal.SIGSTOP)
    try:
        until(lambda: psutil.Process(holder).status() == psutil.STATUS_STOPPED, what="the stopped worker")
        answer = fleet.operator.deploy(fleet.pipeline_id)
        assert (answer["targets"], answer["pushed"]) == (1, 1)
        nodes = fleet.operator.call("GET", f"/deployments/{answer['deploymentId']}")["nodes"]["items"]
        assert [node["nudgedAt"] for node in nodes] == [None]
    finally:
        os.kill(holder, signal.SIGCONT)
    assert client.read_message()["reason"] == "deploy"
    until(
        lambda: fleet.operator.call("GET", f"/deployments/{answer['deploymentId']}")["nodes"]["items"][0][
            "nudgedAt"
        ],
        what="the time of the write",
    )


def test_a_deploy_without_redis_is_a_deploy_and_says_that_it_was_not_pushed(
    start_server: StartServer, make_fleet: MakeFleet, own_redis: RedisServer
) -> None:
    """The version is written, the answer says pushed 0 and why, and who connects or waits learns of it later."""
    server = start_server({"SIGNALBOX_REDIS_URL": own_redis.url, "SIGNALBOX_SWEEP_INTERVAL": "3600"})
    fleet = make_fleet(server)
    agent = fleet.agent()
    client = fleet.connect(agent)
    fleet.until_connected([agent])
    own_redis.stop()
    answer = fleet.operator.deploy(fleet.pipeline_id)
    assert (answer["version"], answer["targets"], answer["pushed"]) == (1, 1, 0)
    assert "Redis" in answer["pushError"]
    push = fleet.operator.node(agent.node_id)["push"]
    assert push["connected"] is None
    assert push["unknownSince"]
    assert agent.config().json()["pipelines"][0]["version"] == 1
    own_redis.start()
    # The socket outlived Redis; once the subscriber is back, the sweep tells who is behind.
    assert client.read_message(seconds=30)["type"] == "config_changed"
    fleet.until_connected([agent])


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_an_action_is_delivered_once_its_push_is_written(unswept_fleet: Fleet, transport: str) -> None:
    """To an agent that asks for nothing: the message says all, the row says when, and nobody is behind for it."""
    fleet = unswept_fleet
    agent = fleet.agent()
    client = fleet.open(agent, transport, revision=agent.follow())
    fleet.until_connected([agent])
    asked = fleet.operator.call("POST", f"/nodes/{agent.node_id}/actions", {"action": "restart"})
    assert asked["pushed"] == 1
    message = client.read_message()
    if message["type"] == "config_changed":  # the look at the new connection found the action too
        message = client.read_message()
    assert message == {"type": "action", "action": "restart", "actionId": asked["actionId"]}

    def delivered() -> bool:
        row = fleet.operator.call("GET", f"/actions/{asked['actionId']}")
        return (row["status"], row["attempts"]) == ("DELIVERED", 1)

    until(delivered, what="the delivery's being written down")
    assert fleet.operator.node(agent.node_id)["behind"] is False


def test_an_action_that_was_asked_while_nobody_listened_is_heard_of_on_connecting(
    unswept_fleet: Fleet,
) -> None:
    """The agent runs what it should, so nothing but the action is a reason to tell it to look."""
    fleet = unswept_fleet
    agent = fleet.agent()
    revision = agent.follow()
    asked = fleet.operator.call("POST", f"/nodes/{agent.node_id}/actions", {"action": "restart"})
    assert asked["pushed"] == 0
    client = fleet.open(agent, "ws", revision=revision)
    assert client.read_message() == {"type": "config_changed", "reason": "connected"}
    assert agent.config().json()["pendingAction"]["actionId"] == asked["actionId"]
