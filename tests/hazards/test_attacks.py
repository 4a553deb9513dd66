"""What broke when the server was attacked on purpose: each test fails without the rule that it names."""

import os
import signal
import socket
import sqlite3
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import requests
from flask import Flask
from sqlalchemy.orm import Session

from app import assembly, enrollment, environments, revisions, standings
from app.assembly import EnvironmentPlan
from app.audit import Actor
from app.database import db, transaction
from app.push.connection import Connection
from app.push.hub import Hub
from tests.conftest import StartServer
from tests.hazards.conftest import Fleet, MakeFleet
from tests.support.until import until
from tests.support.websocket_client import WebSocketClient, handshake_headers, upgrade_request
from tools.redis_server import RedisServer


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis for this test alone, to be spoilt."""
    folder = tmp_path / "redis"
    folder.mkdir()
    with RedisServer(folder) as server:
        yield server


@pytest.fixture
def spoilt(own_redis: RedisServer, start_server: StartServer, make_fleet: MakeFleet) -> Fleet:
    """A fleet whose server alone uses ``own_redis``."""
    return make_fleet(start_server({"SIGNALBOX_REDIS_URL": own_redis.url}))


def test_a_redis_that_refuses_writes_ends_neither_worker_nor_master(
    spoilt: Fleet, own_redis: RedisServer
) -> None:
    """NOREPLICAS, MISCONF and their like are answers, not lost connections: they count as Redis being away."""
    server = spoilt.server
    before = server.worker_pids()
    with redis.Redis.from_url(own_redis.url) as client:
        leases = until(
            lambda: found if len(found := client.keys("*worker:*")) == 2 else None,
            what="both workers' leases",
        )
        client.config_set("min-replicas-to-write", 1)
        until(lambda: max(client.pttl(lease) for lease in leases) < 5000, what="a renewal that was refused")
    assert server.worker_pids() == before
    server.kill_worker(before[0])
    until(
        lambda: not server.process.is_running or len(set(server.worker_pids()) - set(before)) == 1,
        what="a new worker",
    )
    server.wait_ready()
    assert spoilt.operator.deploy(spoilt.pipeline_id)["version"] == 1


def test_a_full_redis_still_has_its_leases_renewed(spoilt: Fleet, own_redis: RedisServer) -> None:
    """Hazard 22: PEXPIRE needs no memory where SET is refused, so no badge goes out under an open socket."""
    with redis.Redis.from_url(own_redis.url) as client:
        leases = client.keys("*worker:*")
        assert len(leases) == 2
        client.config_set("maxmemory", "1mb")
        for lease in leases:  # each for itself: they are renewed at different times
            until(lambda lease=lease: client.pttl(lease) < 7500, what="the lease's aging")
            until(lambda lease=lease: client.pttl(lease) > 7500, what="its renewal")


def test_a_lost_nudge_is_made_up_at_once_also_to_who_was_nudged_a_moment_before(
    spoilt: Fleet, own_redis: RedisServer
) -> None:
    """Decision 4: after the subscriber reconnects the sweep nudges whoever is behind, however busy it was."""
    agent = spoilt.agent()
    client = spoilt.connect(agent)
    spoilt.until_connected([agent])
    with redis.Redis.from_url(own_redis.url) as commands:
        for _ in range(3):
            spoilt.operator.deploy(spoilt.pipeline_id)
            assert client.read_message()["type"] == "config_changed"
            agent.heartbeat(configRevision=agent.config().json()["configRevision"])
            commands.client_kill_filter(_type="pubsub")
            spoilt.operator.deploy(spoilt.pipeline_id)
            assert client.read_message(seconds=8)["type"] == "config_changed"


def test_sockets_that_are_reset_in_the_middle_of_their_handshake_are_no_error(spoilt: Fleet) -> None:
    """A peer that has gone is not the server's fault: no trace in the log, and no 500."""
    agents = spoilt.agents(8)  # few enough dials each that none is damped
    agent = agents[0]
    url = f"{spoilt.operator.url}/api/agent"
    for number in range(40):
        token = agents[number // 2 % 7 + 1].token
        stream = {"Host": "here", "Authorization": f"Bearer {token}"}
        path, headers = [("ws", handshake_headers(url, token)), ("push", stream)][number % 2]
        client = WebSocketClient.dial(url)
        client.send_bytes(upgrade_request(f"{url}/{path}", headers))
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    last = spoilt.connect(agent)
    spoilt.until_connected([agent])
    spoilt.operator.deploy(spoilt.pipeline_id)
    assert last.read_message()["reason"] == "deploy"
    log = spoilt.server.log.read_text()
    assert "Traceback" not in log
    assert '"status": 500' not in spoilt.server.access_log.read_text()


def test_a_deploy_that_was_committed_is_never_answered_as_if_nothing_had_changed(
    own_redis: RedisServer, start_server: StartServer, make_fleet: MakeFleet, sqlite_url: str
) -> None:
    """The database is locked after the commit, while the nudge waits for a frozen Redis: still a success."""
    settings = {"SIGNALBOX_REDIS_URL": own_redis.url, "SIGNALBOX_DATABASE_URL": sqlite_url}
    fleet = make_fleet(start_server(settings, workers=1))
    fleet.agent()
    path = f"/pipelines/{fleet.pipeline_id}/deploy"
    answers: list[requests.Response] = []
    deploying = threading.Thread(target=lambda: answers.append(fleet.operator.request("POST", path, {})))
    other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    query = "SELECT count(*) FROM pipeline_version"
    own_redis.suspend()
    try:
        deploying.start()
        until(lambda: other.execute(query).fetchone() == (1,), every=0.005, what="the version's commit")
        other.execute("BEGIN IMMEDIATE")
        deploying.join(30)
    finally:
        if other.in_transaction:
            other.execute("ROLLBACK")
        other.close()
        own_redis.resume()
    assert [answer.status_code for answer in answers] == [200]


def test_a_reload_fails_no_request_and_leaves_no_folder(
    start_server: StartServer, make_fleet: MakeFleet, tmp_path: Path
) -> None:
    """SIGHUP to the master: new workers answer while the old ones drain, and metrics' folders go with them."""
    fleet = make_fleet(start_server({"TMPDIR": str(tmp_path)}))
    agent = fleet.agent()
    before = set(fleet.server.worker_pids())
    os.kill(fleet.server.process.pid, signal.SIGHUP)

    def is_reloaded() -> bool:
        answer = requests.get(
            f"{agent.url}/api/agent/config", headers={"Authorization": f"Bearer {agent.token}"}, timeout=5
        )
        assert answer.status_code == 200
        workers = set(fleet.server.worker_pids())
        return len(workers) == 2 and not workers & before

    until(is_reloaded, seconds=20, what="the new workers alone")
    assert fleet.server.stop() == 0
    assert list(tmp_path.glob("signalbox-metrics-*")) == []


def test_of_two_sockets_adopted_in_the_wrong_order_the_newer_stays() -> None:
    """Two handshakes of one node cross in one worker: the higher fence wins, or both end as replaced."""
    closed: list[int] = []
    hub = Hub(lambda connection, _reason: closed.append(connection.fence), lambda _connection, _ids: None)
    peers = []
    for fence in (2, 1):
        ours, theirs = socket.socketpair()
        peers.append(theirs)
        connection = Connection("node", "environment", f"c{fence}", fence, "ws", 0, "-", None)
        connection.fd = ours.detach()
        hub.add(connection)
    held = hub.get("node")
    for connection in hub.connections():
        hub.drop(connection, "the test's end")
    for peer in peers:
        peer.close()
    assert held is not None
    assert held.fence == 2
    assert closed[0] == 1


def test_a_commit_during_a_sweep_s_query_costs_one_assembly_not_one_a_node(
    application: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of an older nonce, a plan of a newer one: 500 nodes must not assemble 500 times without a yield."""
    actor = Actor("test", "-")
    environment = environments.create("swept", actor)
    token = enrollment.rotate_token(environment.id, actor).text
    node_ids = [enrollment.enroll(token, "node").node_id for _ in range(12)]
    wanted_for, assemble = assembly.wanted_for, assembly._assemble
    commits, assembled = [environment.id], list[str]()

    def commit_first(environment_id: str, nonce: str | None = None) -> EnvironmentPlan:
        if commits:
            transaction(lambda session: revisions.touch(session, commits.pop()))
        return wanted_for(environment_id, nonce)

    def count(session: Session, environment_id: str) -> EnvironmentPlan:
        assembled.append(environment_id)
        return assemble(session, environment_id)

    monkeypatch.setattr(assembly, "wanted_for", commit_first)
    monkeypatch.setattr(assembly, "_assemble", count)
    assert len(standings.StandingReads(db.engine).standings(node_ids)) == 12
    assert len(assembled) <= 2
