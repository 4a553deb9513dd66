"""Hazards 24 and 25: a locked database and half-sent bodies hold up nobody else."""

import json
import socket
import sqlite3
import threading
from collections.abc import Callable
from contextlib import ExitStack
from http.client import HTTPResponse
from urllib.parse import urlsplit

import psycopg
import pytest
import requests
from sqlalchemy import make_url

from app.failure_limits import FAILURES_A_WINDOW
from tests.conftest import StartServer
from tests.hazards.conftest import YAML, Fleet, MakeFleet
from tests.support.api import AgentByHand
from tests.support.until import until


def test_a_locked_sqlite_database_freezes_no_worker(
    start_server: StartServer, make_fleet: MakeFleet, sqlite_url: str
) -> None:
    """Hazard 24: while another process holds the write lock, the one worker still answers; the write waits.

    With SQLite's own busy timeout the greenlet would wait in C, and the worker with it.
    """
    fleet = make_fleet(start_server({"SIGNALBOX_DATABASE_URL": sqlite_url}, workers=1))
    agent = fleet.agent()
    client = fleet.connect(agent)
    answers: list[requests.Response] = []
    other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waiting = threading.Thread(target=lambda: answers.append(agent.heartbeat()))
    try:
        waiting.start()
        for _ in range(20):
            health = requests.get(f"{fleet.operator.url}/healthz", timeout=5)
            assert health.status_code == 200
        client.send_frame(0x9, b"alive?")
        assert client.read_frame(seconds=5).payload == b"alive?"
        assert answers == []
    finally:
        other.execute("ROLLBACK")
        other.close()
    waiting.join(30)
    assert [answer.status_code for answer in answers] == [200]


def test_a_database_that_stays_locked_is_a_503_and_no_half_written_row(
    start_server: StartServer, make_fleet: MakeFleet, sqlite_url: str
) -> None:
    """Hazard 24: after its deadline the writer gives up with a sentence and a Retry-After."""
    fleet = make_fleet(start_server({"SIGNALBOX_DATABASE_URL": sqlite_url}, workers=1))
    other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        answer = fleet.operator.request("POST", f"/pipelines/{fleet.pipeline_id}/deploy", {})
    finally:
        other.execute("ROLLBACK")
        other.close()
    assert answer.status_code == 503
    assert "Retry-After" in answer.headers
    assert "busy" in answer.json()["error"]
    assert fleet.operator.call("GET", f"/pipelines/{fleet.pipeline_id}/versions")["items"] == []


def test_writers_of_all_workers_wait_for_each_other_and_none_is_lost(fleet: Fleet) -> None:
    """Hazard 24: forty heartbeats and deploys at once over two workers; each is answered with success."""
    agents = fleet.agents(8)
    together = threading.Barrier(len(agents) + 2)
    failures: list[str] = []

    def beat(number: int) -> None:
        together.wait(30)
        for _ in range(5):
            answer = agents[number].heartbeat()
            if answer.status_code != 200:
                failures.append(answer.text)

    def deploy() -> None:
        together.wait(30)
        for _ in range(5):
            answer = fleet.operator.request("POST", f"/pipelines/{fleet.pipeline_id}/deploy", {})
            if answer.status_code != 200:
                failures.append(answer.text)

    threads = [threading.Thread(target=beat, args=[number]) for number in range(len(agents))]
    threads += [threading.Thread(target=deploy) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    versions = fleet.operator.call("GET", f"/pipelines/{fleet.pipeline_id}/versions")["items"]
    assert sorted(version["version"] for version in versions) == list(range(1, 11))


def test_deploys_and_reports_of_the_same_nodes_never_wait_for_each_other_in_a_ring(
    start_server: StartServer, make_fleet: MakeFleet, postgresql_url: str
) -> None:
    """PostgreSQL finds a ring of waiting transactions after a second and fails one: a deploy could end as a 503.

    A deploy supersedes the rows that nudges, fetches and heartbeats of the same nodes write; all of them take
    those rows in one order, so there is never a ring.
    """
    fleet = make_fleet(start_server({"SIGNALBOX_DATABASE_URL": postgresql_url}))
    agents = fleet.agents(8)
    for agent in agents:
        fleet.connect(agent)
    fleet.until_connected(agents)
    other = fleet.operator.create_pipeline(fleet.environment_id, "other", YAML)["id"]
    ended = threading.Event()
    refused: list[str] = []

    def ask(act: Callable[[], requests.Response]) -> requests.Response | None:
        try:
            answer = act()
        except requests.RequestException as error:
            refused.append(repr(error))
            return None
        if answer.status_code != 200:
            refused.append(answer.text)
            return None
        return answer

    def follow(agent: AgentByHand) -> None:
        while not ended.wait(0.05):
            answer = ask(agent.config)
            if answer is not None:
                runs = [
                    {"pipelineId": each["pipelineId"], "version": each["version"], "status": "RUNNING"}
                    for each in answer.json()["pipelines"]
                ]
                ask(lambda runs=runs: agent.heartbeat(runs))

    followers = [threading.Thread(target=follow, args=[agent]) for agent in agents]
    for thread in followers:
        thread.start()
    for _ in range(8):
        for pipeline_id in (fleet.pipeline_id, other):
            ask(lambda id=pipeline_id: fleet.operator.request("POST", f"/pipelines/{id}/deploy", {}))
    ended.set()
    for thread in followers:
        thread.join(60)
    assert refused == []
    with psycopg.connect(
        make_url(postgresql_url).set(drivername="postgresql").render_as_string(False)
    ) as client:
        count = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        assert client.execute(count).fetchone() == (0,)


def half_sent(url: str, path: str, token: str | None, source: str = "127.0.0.1") -> socket.socket:
    """A POST from the address *source* that announces a thousand bytes and sends one."""
    parts = urlsplit(url)
    address = (parts.hostname or "", parts.port or 0)
    connection = socket.create_connection(address, timeout=30, source_address=(source, 0))
    lines = [f"POST {path} HTTP/1.1", f"Host: {parts.netloc}", "Content-Type: application/json"]
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    lines += ["Content-Length: 1000", "", "{"]
    connection.sendall("\r\n".join(lines).encode())
    return connection


def still_waiting(connections: list[socket.socket]) -> int:
    """How many of *connections* have been neither answered nor closed."""
    count = 0
    for connection in connections:
        connection.setblocking(False)
        try:
            connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            count += 1
    return count


def test_half_sent_bodies_hold_up_nobody(start_server: StartServer) -> None:
    """Hazard 25: with a thousand places for requests, 1,005 of these stop a worker.

    Then nobody is answered before the bodies are given up, so what counts is how many of them still wait when
    the others have been answered; on a machine too busy to take all of them in within ten seconds, once more.
    """
    server = start_server(workers=1)
    for _ in range(3):
        with ExitStack() as open_sockets:
            stalled = [
                # A worker waits for no more than 64 of one address.
                open_sockets.enter_context(
                    half_sent(server.url, "/api/agent/enroll", None, source=f"127.0.1.{1 + number % 25}")
                )
                for number in range(1200)
            ]
            for _ in range(10):
                assert requests.get(f"{server.url}/healthz", timeout=30).status_code == 200
            if still_waiting(stalled) > 1100:
                return
    pytest.fail("nobody was answered while eleven hundred bodies were outstanding")


@pytest.mark.parametrize("with_token", [True, False])
def test_a_body_that_does_not_arrive_is_given_up_with_a_sentence(fleet: Fleet, with_token: bool) -> None:
    """Hazard 25: ten seconds for the whole body, then 408."""
    agent = fleet.agent()
    path = "/api/agent/heartbeat" if with_token else "/api/agent/enroll"
    with half_sent(fleet.operator.url, path, agent.token if with_token else None) as connection:
        answer = HTTPResponse(connection)
        answer.begin()
        assert answer.status == 408
        assert "10 seconds" in json.loads(answer.read())["error"]


def test_a_bad_token_is_refused_without_reading_the_body(fleet: Fleet) -> None:
    """Hazard 25: 401 comes at once, whatever was announced."""
    with half_sent(fleet.operator.url, "/api/agent/heartbeat", "nonsense") as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize(
    "body", [b"zz\r\n", b"-1\r\n", b"5\r\nab", b"1\r\n{x\r\n0\r\n\r\n"], ids=["hex", "sign", "short", "long"]
)
def test_a_body_in_broken_chunks_is_a_400_and_no_line_in_the_log(fleet: Fleet, body: bytes) -> None:
    """One answer, no stack trace, and the connection is closed: nothing behind it is taken for a request."""
    before = fleet.server.log.read_text().count("Traceback")
    parts = urlsplit(fleet.operator.url)
    head = f"POST /api/agent/enroll HTTP/1.1\r\nHost: {parts.netloc}\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=15) as connection:
        connection.sendall(head.encode() + body)
        connection.shutdown(socket.SHUT_WR)
        said = b"".join(iter(lambda: connection.recv(65536), b""))
    assert said.startswith(b"HTTP/1.1 400 ")
    assert said.count(b"HTTP/1.1 ") == 1
    assert b'{"error":"The ' in said
    assert fleet.server.log.read_text().count("Traceback") == before


def test_strangers_bodies_are_bounded_per_address(own_fleet: Fleet) -> None:
    """Hazard 25: a worker waits for 64 bodies without a token of one address; the oldest makes way.

    So one who sends all of it at once is served, whoever else sits behind the same address.
    """
    with ExitStack() as open_sockets:
        strangers = [
            open_sockets.enter_context(half_sent(own_fleet.operator.url, "/api/agent/enroll", None))
            for _ in range(200)
        ]

        def refused() -> int:
            count = 0
            for connection in strangers:
                connection.setblocking(False)
                try:
                    count += connection.recv(100, socket.MSG_PEEK).startswith(b"HTTP/1.1 429 ")
                except BlockingIOError:
                    continue
            return count

        until(lambda: refused() >= 200 - 2 * 64, what="those that made way")
        for _ in range(5):
            own_fleet.agent()


def test_a_database_that_is_away_is_a_503_and_comes_back(
    start_server: StartServer, make_fleet: MakeFleet, postgresql_url: str
) -> None:
    """Every answer says so in a sentence with a Retry-After, sockets stay open, and afterwards all is as before."""
    fleet = make_fleet(start_server({"SIGNALBOX_DATABASE_URL": postgresql_url}))
    agent = fleet.agent()
    client = fleet.connect(agent)
    fleet.until_connected([agent])
    url = make_url(postgresql_url)
    database = url.database
    maintenance = url.set(drivername="postgresql", database="postgres").render_as_string(hide_password=False)
    with psycopg.connect(maintenance, autocommit=True) as superuser:
        superuser.execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS false'.encode())
        superuser.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [database]
        )
        try:
            for answer in (
                agent.config(),
                agent.heartbeat(),
                fleet.operator.request("GET", "/nodes"),
                fleet.operator.request("POST", f"/pipelines/{fleet.pipeline_id}/deploy", {}),
            ):
                assert answer.status_code == 503
                assert "database" in answer.json()["error"]
                assert answer.headers["Retry-After"]
            assert requests.get(f"{fleet.operator.url}/readyz", timeout=30).status_code == 503
            assert requests.get(f"{fleet.operator.url}/healthz", timeout=30).status_code == 200
        finally:
            superuser.execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS true'.encode())
    until(lambda: agent.config().status_code == 200, what="the database's return")
    assert fleet.operator.deploy(fleet.pipeline_id)["pushed"] == 1
    assert client.read_message()["type"] == "config_changed"


def test_a_guesser_waits_and_a_neighbour_does_not(own_fleet: Fleet) -> None:
    """Hazard 26: both come from one address; only tokens that never were good are told to wait."""
    agent = own_fleet.agent()
    url = f"{own_fleet.operator.url}/api/agent/config"

    def guess(number: int) -> int:
        token = f"sbx_node_{agent.node_id}_{number:064x}"
        return requests.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=10).status_code

    # Each of the two workers counts for itself, and the kernel shares the connections out as it likes:
    # the last answer may well be the first failure that the less busy one sees. Their sum is what holds.
    answers = [guess(number) for number in range(200)]
    assert set(answers) == {401, 429}
    assert answers.count(401) <= 2 * FAILURES_A_WINDOW
    for _ in range(20):
        assert agent.config().status_code == 200
    own_fleet.connect(agent)
    own_fleet.until_connected([agent])
