"""A server that the module's agents share, and agents that end with their test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conformance.agent_a import AgentA
from tests.conformance.agent_b import AgentB
from tests.conformance.go_agent import GoAgent
from tests.conftest import StartServer
from tests.support.api import Operator
from tests.support.server import Server

StartGoAgent = Callable[..., GoAgent]

YAML = """\
sources:
  made:
    type: demo_logs
    format: json
sinks:
  gone:
    type: blackhole
    inputs: [made]
"""


@pytest.fixture
def start_go(tmp_path: Path) -> Iterator[StartGoAgent]:
    """Starts agents for this test alone: `start_go(AgentA, server, token, name="a", **more)`.

    Whatever the server has told them had no number with a point: one `15000.0` and A throws the whole answer away.
    """
    running: list[GoAgent] = []

    def start(kind: type[GoAgent], url: str, token: str = "", **more: object) -> GoAgent:
        name = f"{kind.__name__}-{len(running)}".lower()
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        agent = kind(folder, url, token, name=name, **more)  # type: ignore[arg-type]
        running.append(agent)
        agent.start()
        return agent

    yield start
    for agent in running:
        agent.stop()
    assert not [point for agent in running for point in agent.points]


@pytest.fixture(params=[AgentA, AgentB], ids=["A", "B"])
def kind(request: pytest.FixtureRequest) -> type[GoAgent]:
    """Which of the two."""
    chosen: type[GoAgent] = request.param
    return chosen


@pytest.fixture
def own_server(start_server: StartServer) -> Server:
    """A server for this test alone."""
    return start_server()


@pytest.fixture
def own_operator(own_server: Server) -> Operator:
    return Operator(own_server.url, own_server.create_api_token())
