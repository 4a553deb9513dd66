"""Agent B on a way to the server that cuts its streams: after three it takes the address that it derives itself."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest

from tests.conformance.agent_b import SHORT_STREAMS, AgentB
from tests.conformance.conftest import StartGoAgent
from tests.conformance.test_agents import Place
from tests.conftest import StartServer
from tests.support.api import Operator
from tests.support.relay import Listener, read_head, relay
from tests.support.until import until

CONNECT_SECONDS = 10.0


class CuttingProxy(Listener):
    """Passes every connection on to `target`, an `http://host:port`.

    What is asked for below `/cut` is passed on without that, and ends once the server's head has come.
    """

    target = ""

    def serve(self, client: socket.socket, opened: ExitStack) -> None:
        head = read_head(client)
        parts = urlsplit(self.target)
        server = socket.create_connection((parts.hostname or "", parts.port or 0), timeout=CONNECT_SECONDS)
        self.keep(server, opened)
        server.settimeout(None)
        server.sendall(head.replace(b" /cut/", b" /", 1))
        if b" /cut/" in head:
            client.sendall(read_head(server))
        else:
            relay(client, server)


@pytest.fixture
def proxy() -> Iterator[CuttingProxy]:
    """Without a server behind it yet."""
    proxy = CuttingProxy()
    yield proxy
    proxy.close()


def test_b_derives_the_address_after_three_short_streams(
    proxy: CuttingProxy, start_server: StartServer, start_go: StartGoAgent
) -> None:
    """For good; the server neither damps it for the three nor shows it as gone, and pushes over the new one."""
    server = start_server({"SIGNALBOX_PUBLIC_URL": f"{proxy.url}/cut"}, workers=1)
    proxy.target = server.url
    place = Place.make(Operator(server.url, server.create_api_token()))
    agent = start_go(AgentB, proxy.url, place.token)
    assert isinstance(agent, AgentB)
    until(lambda: agent.push_url == f"{proxy.url}/cut/api/agent/push", what="the address that it is given")
    until(lambda: agent.push_url == f"{proxy.url}/api/agent/push" and agent.is_connected, seconds=20)
    assert (agent.counts["drops"], agent.counts["connects"]) == (SHORT_STREAMS, SHORT_STREAMS + 1)
    until(lambda: (push := place.node["push"])["connected"] and push["transport"] == "sse")
    assert place.operator.deploy(place.pipeline_id)["pushed"] == 1
    place.wait_running(1)
    assert agent.counts["failed stream"] == 0, agent.problems

    agent.close_channel()
    until(lambda: agent.counts["connects"] == SHORT_STREAMS + 2)
    assert agent.push_url == agent.fallback_url
    assert agent.counts["fell back"] == 1
