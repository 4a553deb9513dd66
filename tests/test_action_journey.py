"""The way of an action: asked at one server, pushed by another, done by a real agent, and told."""

import base64
import json
from pathlib import Path

import psutil
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.conftest import StartAgent, StartServer
from tests.support.agent_file import AgentFile
from tests.support.agent_process import AgentProcess
from tests.support.api import Operator
from tests.support.until import until

YAML = """
sources:
  made:
    type: demo_logs
    format: json
sinks:
  gone:
    type: blackhole
    inputs: [made]
"""
HOUR_MS = str(3600 * 1000)


def test_a_restart_of_one_pipeline_reaches_the_agent_through_another_worker(
    start_server: StartServer, start_agent: StartAgent
) -> None:
    """It gets a new process, the other pipeline keeps its own, and the row becomes COMPLETED.

    Polls and sweeps come once an hour, so nothing but the push can have told the agent.
    """
    there = start_server(
        {
            "SIGNALBOX_POLL_INTERVAL_MS": HOUR_MS,
            "SIGNALBOX_IDLE_POLL_INTERVAL_MS": HOUR_MS,
            "SIGNALBOX_SWEEP_INTERVAL": "3600",
            "SIGNALBOX_HEARTBEAT_INTERVAL_MS": HOUR_MS,
            "SIGNALBOX_IDLE_HEARTBEAT_INTERVAL_MS": HOUR_MS,
        },
        workers=1,
    )
    here = start_server(there.settings, workers=1)
    operator = Operator(here.url, here.create_api_token())
    environment_id = operator.create_environment("e")["id"]
    pipelines = [operator.create_pipeline(environment_id, name, YAML)["id"] for name in ("one", "two")]
    for pipeline_id in pipelines:
        operator.deploy(pipeline_id)
    agent = start_agent(there.url, operator.enrollment_token(environment_id))
    until(lambda: _running(operator, agent) == set(pipelines), seconds=60, what="both pipelines")
    holder = operator.node(agent.node_id)["push"]["worker"]
    assert int(holder.rpartition(":")[2]) in there.worker_pids()
    before = {pipeline_id: _pid(agent, pipeline_id) for pipeline_id in pipelines}

    asked = operator.call(
        "POST", f"/nodes/{agent.node_id}/actions", {"action": "restart", "pipelineId": pipelines[0]}
    )
    assert asked["pushed"] == 1
    action = until(lambda: _ended(operator, asked["actionId"]), seconds=30, what="the restart")
    assert (action["status"], action["error"], action["attempts"]) == ("COMPLETED", None, 1)
    assert action["createdAt"] <= action["deliveredAt"] <= action["finishedAt"]
    after = {pipeline_id: _pid(agent, pipeline_id) for pipeline_id in pipelines}
    assert after[pipelines[0]] != before[pipelines[0]]
    assert after[pipelines[1]] == before[pipelines[1]]
    assert operator.node(agent.node_id)["behind"] is False

    # of a pipeline that this node does not run it says so
    other = operator.create_pipeline(environment_id, "three", YAML, nodeSelector="zone=nowhere")["id"]
    operator.deploy(other)
    asked = operator.call(
        "POST", f"/nodes/{agent.node_id}/actions", {"action": "restart", "pipelineId": other}
    )
    action = until(lambda: _ended(operator, asked["actionId"]), seconds=30, what="the refusal")
    assert (action["status"], "does not run it" in action["error"]) == ("FAILED", True)


def test_an_update_to_the_file_that_the_server_offers(
    start_server: StartServer, start_agent: StartAgent, tmp_path: Path
) -> None:
    """Asked without a word about versions: a signed file is fetched, tried and accepted, and the row says so."""
    key = Ed25519PrivateKey.generate()
    public = base64.b64encode(key.public_key().public_bytes_raw()).decode()
    offered, installed = AgentFile(tmp_path, "0.9.0", key=key), AgentFile(tmp_path, "0.1.0", key=key)
    offered.path.with_suffix(".json").write_text(json.dumps(offered.description))
    server = start_server({"SIGNALBOX_AGENT_FILE": str(offered.path)})
    operator = Operator(server.url, server.create_api_token())
    environment_id = operator.create_environment("e")["id"]
    pipeline_id = operator.create_pipeline(environment_id, "one", YAML)["id"]
    operator.deploy(pipeline_id)
    settings = {
        "SIGNALBOX_DEPLOYMENT_MODE": "STANDALONE",
        "SIGNALBOX_ALLOW_HTTP_UPDATE": "1",
        "SIGNALBOX_UPDATE_KEY": public,
    }
    agent = start_agent(server.url, operator.enrollment_token(environment_id), settings, file=installed.path)
    until(lambda: _running(operator, agent) == {pipeline_id}, seconds=60, what="the pipeline")
    assert operator.node(agent.node_id)["agentVersion"] == "0.1.0"
    asked = operator.call("POST", f"/nodes/{agent.node_id}/actions", {"action": "self_update"})
    action = until(lambda: _ended(operator, asked["actionId"]), seconds=90, what="the update")
    assert (action["status"], action["error"]) == ("COMPLETED", None)
    until(
        lambda: _running(operator, agent) == {pipeline_id}, seconds=30, what="the pipeline under the new one"
    )
    node = operator.node(agent.node_id)
    assert (node["agentVersion"], node["behind"], node["push"]["connected"]) == ("0.9.0", False, True)


def _ended(operator: Operator, action_id: str) -> dict | None:  # type: ignore[type-arg]
    action = operator.call("GET", f"/actions/{action_id}")
    return action if action["finishedAt"] else None


def _running(operator: Operator, agent: AgentProcess) -> set[str]:
    rows = operator.node(agent.node_id)["pipelines"]
    return {row["pipelineId"] for row in rows if row["status"] == "RUNNING"}


def _pid(agent: AgentProcess, pipeline_id: str) -> int:
    """The process that runs the pipeline."""
    (pid,) = [
        pid
        for pid in agent.child_pids()
        if any(pipeline_id in part for part in psutil.Process(pid).cmdline())
    ]
    return pid
