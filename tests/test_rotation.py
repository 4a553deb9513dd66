"""A new value of a secret, across processes: who is nudged, who fetches, and which child restarts."""

import base64
import json
from pathlib import Path

import psutil
import pytest
import requests

from tests.app.test_secrets import PEM
from tests.conftest import StartAgent, StartServer
from tests.support.agent_process import AgentProcess
from tests.support.api import AgentByHand, Operator
from tests.support.server import Server
from tests.support.until import until

HOUR = str(3600 * 1000)
NAMING = """
sources:
  lines: {type: file, include: ["CERT[ca]", "FOLDER/more.log"], read_from: beginning}
sinks:
  kept: {type: file, inputs: [lines], path: "SECRET[target]", encoding: {codec: text}}
"""
PLAIN = """
sources: {made: {type: demo_logs, format: json, interval: 1}}
sinks: {gone: {type: blackhole, inputs: [made]}}
"""


@pytest.fixture
def server(start_server: StartServer) -> Server:
    """Nothing but a push tells its agents anything within the test."""
    return start_server(
        {
            "SIGNALBOX_POLL_INTERVAL_MS": HOUR,
            "SIGNALBOX_IDLE_POLL_INTERVAL_MS": HOUR,
            "SIGNALBOX_SWEEP_INTERVAL": "3600",
            "SIGNALBOX_HEARTBEAT_INTERVAL_MS": "1000",
            "SIGNALBOX_IDLE_HEARTBEAT_INTERVAL_MS": "1000",
        }
    )


def test_a_new_value_restarts_exactly_the_pipeline_that_names_it(
    server: Server, start_agent: StartAgent, tmp_path: Path
) -> None:
    """Six nodes; three match the pipeline that names it: three nudges, one fetch by the one that is no puppet."""
    operator = Operator(server.url, server.create_api_token())
    environment_id = operator.create_environment("rotated")["id"]
    token = operator.enrollment_token(environment_id)
    concerned, other = start_agent(server.url, token), start_agent(server.url, token)
    puppets = [AgentByHand(server.url) for _ in range(4)]
    for puppet in puppets:
        puppet.enroll(token)
    for node_id in (concerned.node_id, puppets[0].node_id, puppets[1].node_id):
        operator.call("PATCH", f"/nodes/{node_id}", {"labels": {"role": "db"}})

    path = f"/environments/{environment_id}"
    first, second = tmp_path / "first", tmp_path / 'second "quoted" \\ $HOME'
    operator.call("PUT", f"{path}/secrets/target", {"value": str(first)})
    operator.call("PUT", f"{path}/secrets/unused", {"value": "unused"})
    certificate = {"filename": "ca.pem", "data": base64_of(PEM)}
    operator.call("PUT", f"{path}/certificates/ca", certificate)
    naming = operator.create_pipeline(
        environment_id, "naming", NAMING.replace("FOLDER", str(tmp_path)), nodeSelector="role=db"
    )["id"]
    plain = operator.create_pipeline(environment_id, "plain", PLAIN)["id"]
    operator.deploy(naming)
    operator.deploy(plain)

    running = {concerned: {"naming", "plain"}, other: {"plain"}}
    until(
        lambda: all(runs(operator, agent.node_id) == names for agent, names in running.items()),
        seconds=60,
        what="both agents' pipelines",
    )
    until(lambda: first.exists() and first.read_bytes() == PEM, seconds=30, what="the certificate's lines")
    sockets = [
        puppet.connect({"X-Config-Revision": puppet.follow(), "X-Agent-Instance": "ours"})
        for puppet in puppets
    ]
    until(
        lambda: all(operator.node(puppet.node_id)["push"]["connected"] for puppet in puppets),
        what="the puppets' sockets",
    )
    # Whatever is under way has come to rest when the agents have reported what is wanted.
    until(lambda: not any(node["behind"] for node in operator.nodes()), seconds=30, what="rest")
    before = children(concerned), children(other)
    written, fetched = nudges_written(server), fetches(server)

    answer = operator.call("PUT", f"{path}/secrets/target", {"value": str(second)})
    assert (answer["targets"], answer["pushed"], answer["usedBy"]) == (3, 3, [naming])
    message = {"type": "config_changed", "pipelineId": naming, "reason": "secret"}
    assert [socket.read_message() for socket in sockets[:2]] == [message] * 2
    # A later message to all of them is the next that each hears: nobody heard of the secret but those two.
    operator.deploy(plain)
    for socket in sockets:
        assert socket.read_message()["reason"] == "deploy"
    after = until(
        lambda: (now := children(concerned)).get(naming, before[0][naming]) != before[0][naming] and now,
        seconds=60,
        what="another child",
    )
    assert after[plain] == before[0][plain]
    assert children(other) == before[1]
    with (tmp_path / "more.log").open("a") as more:
        more.write("for the new place\n")
    until(
        lambda: second.exists() and second.read_text() == "for the new place\n",
        seconds=30,
        what="the line in the new place",
    )
    assert not operator.call("PUT", f"{path}/secrets/unused", {"value": "other"})["targets"]

    until(lambda: nudges_written(server) >= written + 3 + 6, what="the count of written nudges")
    assert nudges_written(server) == written + 3 + 6
    until(lambda: fetches(server) >= fetched + 1 + 2, what="the agents' fetches")
    assert fetches(server) == fetched + 1 + 2
    for socket in sockets:
        socket.close()
    logs = server.log.read_text() + server.access_log.read_text()
    assert str(second) not in logs
    assert str(second) not in concerned.log.read_text()


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def runs(operator: Operator, node_id: str) -> set[str]:
    return {each["name"] for each in operator.node(node_id)["pipelines"] if each["status"] == "RUNNING"}


def children(agent: AgentProcess) -> dict[str, int]:
    """The pid of each pipeline's Vector, by the pipeline's id, which is a folder on its command line."""
    found = {}
    for pid in agent.child_pids():
        try:
            command = psutil.Process(pid).cmdline()
        except psutil.NoSuchProcess:
            continue
        for word in command:
            if word.endswith("/pipeline.yaml") and "validate" not in command:
                found[Path(word).parent.name] = pid
    return found


def nudges_written(server: Server) -> int:
    text = requests.get(f"{server.url}/metrics", timeout=10).text
    (value,) = [
        line.split()[1] for line in text.splitlines() if line.startswith("signalbox_nudges_written_total")
    ]
    return int(float(value))


def fetches(server: Server) -> int:
    lines = map(json.loads, server.access_log.read_text().splitlines())
    return sum(line["path"] == "/api/agent/config" for line in lines)
