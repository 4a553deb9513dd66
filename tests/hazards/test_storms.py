"""Redis dies at the worst moment; deploys come faster than anybody can follow. Everybody ends where they should."""

import os
import signal
import threading
import time

import psutil
import redis

from tests.conftest import StartServer
from tests.hazards.conftest import Fleet, MakeFleet
from tests.support.api import Operator
from tests.support.redis_proxy import RedisProxy
from tests.support.swarm import Swarm, enroll
from tests.support.until import until
from tools.redis_server import RedisServer

SOCKETS = 200
DEPLOYS = 20


def test_redis_dies_between_the_commit_and_the_publish(
    own_redis: RedisServer, redis_proxy: RedisProxy, start_server: StartServer, make_fleet: MakeFleet
) -> None:
    """SIGKILL as the nudge is on its way: the deploy stands and says so; connected agents learn of it afterwards.

    The subscriber's recovery and the sweep find who is behind; no agent asks by itself here.
    """
    settings = {"SIGNALBOX_REDIS_URL": redis_proxy.url, "SIGNALBOX_SWEEP_INTERVAL": "2"}
    fleet = make_fleet(start_server(settings))
    agents = fleet.agents(8)
    clients = [fleet.connect(agent) for agent in agents]
    fleet.until_connected(agents)
    redis_proxy.act_on((b"PUBLISH", b"node:{", b"config_changed"), own_redis.kill)
    answer = fleet.operator.request("POST", f"/pipelines/{fleet.pipeline_id}/deploy", {})
    assert redis_proxy.swallowed, "the moment was not hit"
    assert answer.status_code == 200
    body = answer.json()
    assert (body["version"], body["targets"], body["pushed"]) == (1, len(agents), 0)
    assert "Redis" in body["pushError"]
    versions = fleet.operator.call("GET", f"/pipelines/{fleet.pipeline_id}/versions")["items"]
    assert [version["version"] for version in versions] == [1]
    own_redis.start()
    for agent, client in zip(agents, clients, strict=True):
        assert client.read_message()["type"] == "config_changed"
        assert [one["version"] for one in agent.config().json()["pipelines"]] == [1]
    fleet.until_connected(agents)


def test_a_storm_of_deploys_cuts_no_subscriber_and_ends_with_the_last(
    own_redis: RedisServer, start_server: StartServer, make_fleet: MakeFleet
) -> None:
    """Hazard 10: a worker reads all that is there, then writes once to each node.

    First as fast as it goes, with a Redis that soon cuts who does not keep up; then to a worker that was stopped
    all the while: its agents hear once or twice, not twenty times.
    """
    fleet = make_fleet(
        start_server({"SIGNALBOX_REDIS_URL": own_redis.url, "SIGNALBOX_SWEEP_INTERVAL": "3600"}, workers=1)
    )
    holder = fleet.server
    other = start_server(holder.settings, workers=1)
    operator = Operator(other.url, fleet.operator.session.headers["Authorization"].split()[1])
    revision = fleet.agent().config().json()["configRevision"]
    nodes = enroll(holder.settings, fleet.environment_id, SOCKETS)
    with redis.Redis.from_url(own_redis.url) as client:
        client.config_set("client-output-buffer-limit", "pubsub 262144 0 0")
    with Swarm([holder.url], nodes, revision) as swarm:
        until(lambda: swarm.connected() == SOCKETS, seconds=30, what="all channels")
        began = time.monotonic()
        several = [threading.Thread(target=deploy_often, args=(operator, fleet, 5)) for _ in range(4)]
        for thread in several:
            thread.start()
        for thread in several:
            thread.join(60)
        last = time.monotonic()
        assert operator.deploy(fleet.pipeline_id)["pushed"] == SOCKETS
        until(lambda: swarm.heard_since(last) == SOCKETS, what="the last deploy's reaching all")
        assert all(member.last_heard > began and not member.closes for member in swarm.members)
        assert "subscriber lost" not in holder.log.read_text()

        with redis.Redis.from_url(own_redis.url) as client:
            client.config_set("client-output-buffer-limit", "pubsub 33554432 0 0")
        before = {member.node_id: member.heard for member in swarm.members}
        (worker,) = holder.worker_pids()
        os.kill(worker, signal.SIGSTOP)
        try:
            until(lambda: psutil.Process(worker).status() == psutil.STATUS_STOPPED, what="the stopped worker")
            deploy_often(operator, fleet, DEPLOYS)
            last = time.monotonic()
        finally:
            os.kill(worker, signal.SIGCONT)
        until(lambda: swarm.heard_since(last) == SOCKETS, what="the storm's reaching all")
        time_to_settle = time.monotonic() + 1
        until(lambda: time.monotonic() > time_to_settle)
        most = max(member.heard - before[member.node_id] for member in swarm.members)
        assert most <= 3, (
            f"{most} frames for one agent after {DEPLOYS} deploys that it could have heard as one"
        )


def deploy_often(operator: Operator, fleet: Fleet, times: int) -> None:
    """So many deploys, one after the other."""
    mine = Operator(operator.url, operator.session.headers["Authorization"].split()[1])
    for _ in range(times):
        mine.deploy(fleet.pipeline_id)
    mine.session.close()
