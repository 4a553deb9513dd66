"""A self-update as the agents that we did not write understand it: done when the new version is reported."""

import hashlib
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.conformance.agent_b import AgentB
from tests.conformance.go_agent import GoAgent
from tests.conformance.test_agents import Place, agent, connected, place
from tests.support.tls_server import self_signed
from tests.support.until import until

__all__ = ["agent", "place"]

BINARY = b"the new agent"
CHECKSUM = hashlib.sha256(BINARY).hexdigest()


class Downloads(BaseHTTPRequestHandler):
    """Every path is the new agent."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(BINARY)))
        self.end_headers()
        self.wfile.write(BINARY)

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return self_signed(tmp_path)


@pytest.fixture
def downloads(certificate: Path) -> Iterator[str]:
    """Where the new agent is, over TLS: B takes it from nowhere else."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Downloads) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"https://localhost:{server.server_port}/agent"
        server.shutdown()


def test_an_update_is_done_when_the_new_version_is_reported(
    agent: GoAgent, place: Place, downloads: str, certificate: Path
) -> None:
    """Not when it was pushed or fetched: they tell of no action, they come back as another version.

    The new process finds its token, runs what it should, is connected, and is asked for nothing again.
    """
    agent.trusted = certificate
    until(lambda: place.node["push"]["connected"])
    body = {
        "action": "self_update",
        "targetVersion": "2.0.0",
        "downloadUrl": downloads,
        "checksum": f"sha256:{CHECKSUM}",
    }
    heartbeat, reported = agent._heartbeat, threading.Event()
    agent._heartbeat = lambda: (reported.wait(20), heartbeat())[1]  # type: ignore[method-assign]
    asked = place.operator.call("POST", f"/nodes/{place.node['id']}/actions", body)
    until(lambda: agent.counts["updated"] == 1, what=f"the update: {agent.problems}")
    action = f"/actions/{asked['actionId']}"
    until(lambda: place.operator.call("GET", action)["status"] == "DELIVERED")
    reported.set()
    until(lambda: place.operator.call("GET", action)["status"] == "COMPLETED")
    node = place.node
    assert (node["agentVersion"], agent.version) == ("2.0.0", "2.0.0")
    assert "pendingAction" not in agent.call("GET", "config")
    place.wait_running(1)
    until(lambda: agent.counts["connects"] == 2 and place.node["push"]["connected"])
    assert (agent.counts["updated"], agent.counts["enrolled"]) == (1, 1)
    assert not [each for each in agent.problems if "channel" not in each]


@pytest.mark.parametrize("kind", [AgentB], ids=["B"], indirect=True)
def test_b_takes_an_update_over_https_only(agent: GoAgent, place: Place) -> None:
    """Its refusal ends the action, and is shown as it was said."""
    connected(agent)
    until(lambda: place.node["push"]["connected"])
    body = {
        "action": "self_update",
        "targetVersion": "2.0.0",
        "downloadUrl": "http://localhost/agent",
        "checksum": f"sha256:{CHECKSUM}",
    }
    asked = place.operator.call("POST", f"/nodes/{place.node['id']}/actions", body)
    row = until(
        lambda: (found := place.operator.call("GET", f"/actions/{asked['actionId']}"))["finishedAt"] and found
    )
    assert (row["status"], "must use https" in row["error"]) == ("FAILED", True)
