"""A node goes into maintenance and comes back, with the real agent and a server of two workers."""

from contextlib import suppress

import psutil

from tests.conftest import StartAgent
from tests.support.agent_process import AgentProcess
from tests.support.api import Operator
from tests.support.server import Server
from tests.support.signed_in import signed_in
from tests.support.until import until

YAML = """
sources: {made: {type: demo_logs, format: json}}
sinks: {gone: {type: blackhole, inputs: [made]}}
"""
LOGIN = ("maintenance@example.org", "a long enough password")


def vectors(agent: AgentProcess) -> int:
    """How many run a pipeline just now; the agent starts others only to ask for their version."""
    found = 0
    for pid in agent.child_pids():
        with suppress(psutil.NoSuchProcess):
            found += any(word.startswith("--config") for word in psutil.Process(pid).cmdline())
    return found


def test_a_node_in_maintenance_runs_nothing_keeps_its_channel_and_returns_to_the_newest(
    server: Server, operator: Operator, start_agent: StartAgent
) -> None:
    """Also across a restart of the agent and a deploy meanwhile, without waiting for any poll."""
    server.create_admin(*LOGIN)
    environment_id = operator.create_environment("maintained")["id"]
    pipeline_id = operator.create_pipeline(environment_id, "made", YAML)["id"]
    operator.deploy(pipeline_id)
    agent = start_agent(server.url, operator.enrollment_token(environment_id))
    node_id = agent.node_id

    def row() -> dict:  # type: ignore[type-arg]
        return operator.node(node_id)  # type: ignore[no-any-return]

    def runs(version: int) -> bool:
        return [(each["version"], each["status"]) for each in row()["pipelines"]] == [(version, "RUNNING")]

    def rests() -> bool:
        """Told, done and reported: the node is connected, not behind, and has no Vector."""
        node = row()
        return node["push"]["connected"] and not node["behind"] and not node["pipelines"]

    def set_maintenance(on: bool) -> None:
        operator.call("PATCH", f"/nodes/{node_id}", {"maintenanceMode": on})

    until(lambda: runs(1), seconds=40, what="the first version")
    assert vectors(agent) > 0
    since = row()["push"]["since"]

    set_maintenance(True)
    until(rests, seconds=40, what="a node at rest")
    assert vectors(agent) == 0
    assert row()["push"]["since"] == since, "the channel stays"
    assert row()["status"] == "HEALTHY"
    with signed_in(server.url, *LOGIN) as pages:
        for path in (f"/?environment={environment_id}", f"/nodes/{node_id}"):
            page = pages.get(server.url + path, timeout=30)
            assert "It runs nothing until maintenance ends." in page.text, path

    agent.stop()
    agent.start()
    until(lambda: row()["push"]["since"] not in (None, since) and rests(), seconds=40, what="the agent again")
    assert vectors(agent) == 0

    since = row()["push"]["since"]
    deployed = operator.deploy(pipeline_id)
    assert deployed["version"] == 2

    def fetched_and_reported() -> bool:
        (node,) = operator.call("GET", f"/deployments/{deployed['deploymentId']}")["nodes"]["items"]
        return node["fetchedAt"] is not None and row()["lastSeenAt"] > node["fetchedAt"] and rests()

    until(fetched_and_reported, seconds=40, what="the node's taking note of the deploy")
    assert vectors(agent) == 0
    assert row()["push"]["since"] == since

    set_maintenance(False)
    until(lambda: runs(2), seconds=40, what="the version that was deployed meanwhile")
    assert row()["maintenanceMode"] is False
    changes = [
        (entry["detail"]["before"]["maintenance_mode"], entry["detail"]["after"]["maintenance_mode"])
        for entry in operator.call("GET", "/audit")["items"]
        if entry["action"] == "node.update" and entry["subjectId"] == node_id
    ]
    assert changes == [(True, False), (False, True)]
