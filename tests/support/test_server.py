"""The server that other tests rely on is the real one, and can be hurt and restarted."""

import psutil
import pytest
import requests

from app.errors import ConflictError
from tests.conftest import StartServer
from tests.support.api import AgentByHand, ApiError, Operator
from tests.support.server import Server, ServerError, run_flask
from tests.support.until import until


def test_two_workers_serve_on_either_database(start_server: StartServer, database_url: str) -> None:
    """The same server over SQLite and over PostgreSQL, with a token made by the command."""
    server = start_server({"SIGNALBOX_DATABASE_URL": database_url})
    operator = Operator(server.url, server.create_api_token())

    environment = operator.create_environment("first")

    assert operator.call("GET", f"/environments/{environment['id']}")["name"] == "first"
    assert len(server.worker_pids()) == 2


def test_a_killed_worker_is_replaced(start_server: StartServer) -> None:
    """One worker's death is the master's business: another takes its place."""
    server = start_server()
    victim, other = server.worker_pids()

    server.kill_worker(victim)

    until(lambda: len(server.worker_pids()) == 2 and victim not in server.worker_pids())
    assert other in server.worker_pids()


def test_it_stops_in_order_and_starts_again_on_the_same_port(start_server: StartServer) -> None:
    """SIGTERM ends the master with 0 and every worker with it; agents need no new URL afterwards."""
    server = start_server()
    workers, url = server.worker_pids(), server.url

    assert server.stop() == 0
    assert not [pid for pid in workers if psutil.pid_exists(pid)]
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{url}/healthz", timeout=5)

    server.start()
    assert requests.get(f"{url}/healthz", timeout=5).status_code == 200


def test_a_server_that_ends_at_once_is_reported_with_its_last_words(start_server: StartServer) -> None:
    """Nobody waits for the readiness of a server that has gone."""
    with pytest.raises(ServerError, match=r"(?s)exited with 1 before it was ready.*SIGNALBOX_SECRET_KEY"):
        start_server({"SIGNALBOX_SECRET_KEY": ""})


def test_a_command_that_fails_is_reported_with_what_it_said(server: Server) -> None:
    """A wrong command line is a failure of the test that wrote it, with the reason."""
    with pytest.raises(ServerError, match="exited with 2"):
        run_flask(server.settings, "api-token", "create", "tests", "--no-such-option")


def test_an_admin_is_made_once(server: Server) -> None:
    """The same address twice is refused."""
    server.create_admin("ada@example.com", "correct horse battery staple")

    with pytest.raises(ConflictError):
        server.create_admin("ada@example.com", "correct horse battery staple")


def test_an_agent_by_hand_enrolls_polls_and_is_pushed(server: Server, operator: Operator) -> None:
    """The two clients speak the contract that the server does."""
    environment = operator.create_environment("by hand")
    agent = AgentByHand(server.url)
    agent.enroll(operator.enrollment_token(environment["id"]), hostname="hand-1")

    config = agent.config()
    assert config.json()["pipelines"] == []
    assert agent.config(config.headers["ETag"]).status_code == 304
    assert agent.heartbeat().json() == {"ok": True}
    with agent.connect() as channel:
        assert channel.read_message()["type"] == "config_changed"
        until(lambda: operator.node(agent.node_id)["push"]["connected"])


def test_a_refusal_carries_its_status(operator: Operator) -> None:
    """What the server answered can be asserted."""
    with pytest.raises(ApiError, match="/api/v1/nodes/nosuchnode answered 404") as refused:
        operator.node("nosuchnode")

    assert refused.value.status == 404
