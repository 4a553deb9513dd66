"""`signalbox alerts`: what fires and by which rules, against the real server."""

import uuid

from tests.cli.conftest import Cli
from tests.support.api import AgentByHand, Operator
from tests.support.server import Server
from tests.support.until import until

YAML = """
sources: {made: {type: demo_logs, format: json}}
sinks: {gone: {type: blackhole, inputs: [made]}}
"""


def test_what_fires_is_listed_and_acknowledged(cli: Cli, server: Server, operator: Operator) -> None:
    """As a table and as JSON; a rule that is deleted leaves its alert among those that were resolved."""
    name = f"alerts-{uuid.uuid4().hex[:8]}"
    environment = operator.create_environment(name)["id"]
    assert cli.json("alerts", "list", "-e", name) == []
    assert "No alert." in cli.run("alerts", "list", "-e", name).stderr
    agent = AgentByHand(server.url)
    agent.enroll(operator.enrollment_token(environment), "edge-01")
    pipeline = operator.create_pipeline(environment, "flow", YAML)["id"]
    rule = {"name": "crashes", "kind": "pipeline_failed", "environmentId": environment, "forSeconds": 0}
    rule_id = operator.call("POST", "/alert-rules", rule)["id"]
    rule = {"name": "slow", "kind": "throughput_below", "environmentId": environment, "threshold": 2.5}
    operator.call("POST", "/alert-rules", rule)
    (first, second) = cli.run("alerts", "rules", "-e", name).stdout.splitlines()[1:]
    assert first.split()[:4] == ["slow", "throughput_below", "2.5", "events/s"]
    assert second.split()[:2] == ["crashes", "pipeline_failed"]
    agent.heartbeat([{"pipelineId": pipeline, "version": 1, "status": "CRASHED"}])
    (alert,) = until(lambda: cli.json("alerts", "list", "-e", name, "--state", "firing"), seconds=60)
    line = cli.run("alerts", "list", "-e", name).stdout.splitlines()[1]
    assert line.startswith("FIRING")
    assert "flow on edge-01" in line
    assert cli.json("alerts", "acknowledge", alert["id"])["acknowledgedBy"] is not None
    assert "already" in cli.refused("alerts", "acknowledge", alert["id"], code=6)
    operator.call("DELETE", f"/alert-rules/{rule_id}")
    assert cli.json("alerts", "list", "-e", name) == []
    assert [each["state"] for each in cli.json("alerts", "list", "-e", name, "--all")] == ["RESOLVED"]
