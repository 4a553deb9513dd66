"""The agent that other tests rely on is the real one."""

import pytest

from tests.conftest import StartAgent
from tests.support.agent_process import AgentProcessError
from tests.support.api import Operator
from tests.support.server import Server
from tests.support.until import until


def test_an_agent_enrolls_connects_and_stays_the_same_node(
    server: Server, operator: Operator, start_agent: StartAgent
) -> None:
    """A second start on the same data folder is the same node, not a new one."""
    environment = operator.create_environment("agents")
    agent = start_agent(server.url, operator.enrollment_token(environment["id"]))
    node_id = agent.node_id
    until(lambda: operator.node(node_id)["push"]["connected"])

    assert agent.stop() == 0
    until(lambda: operator.node(node_id)["push"]["connected"] is False)
    agent.start()
    until(lambda: operator.node(node_id)["push"]["connected"])

    assert [node["id"] for node in operator.nodes(environmentId=environment["id"])] == [node_id]


def test_an_agent_that_refuses_to_start_is_reported_with_its_last_words(start_agent: StartAgent) -> None:
    """Nobody waits for the enrollment of an agent that has gone."""
    agent = start_agent("not a url", "sbx_enroll_1_2")

    with pytest.raises(AgentProcessError, match="the agent exited with 2"):
        assert agent.node_id
