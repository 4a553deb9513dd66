"""The agent as a process, against a server that a test scripts: applying, reporting, the push channel."""

import base64
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.agent.conftest import WriteVector
from tests.agent.impatient_agent import GRACE_SECONDS
from tests.agent.scripted_server import ScriptedServer, pipeline_entry
from tests.conftest import StartAgent
from tests.support import PROJECT
from tests.support.agent_process import AgentProcess
from tests.support.until import until

STAYS_UP = "serve(); signal.signal(15, lambda *_: os._exit(0)); validating and sys.exit(0); time.sleep(600)"
"""A Vector that takes every configuration and runs until it is told to end."""
YAML = """\
sources:
  lines: {type: demo_logs, format: json, interval: 0.05}
transforms:
  kept: {type: filter, inputs: [lines], condition: 'true'}
sinks:
  out: {type: blackhole, inputs: [kept]}
"""


@pytest.fixture
def agent(
    start_agent: StartAgent, scripted_server: ScriptedServer, write_vector: WriteVector
) -> AgentProcess:
    """An agent with a Vector that is content with anything."""
    return start_agent(
        scripted_server.url,
        "enroll-1",
        {"SIGNALBOX_VECTOR_BIN": write_vector(STAYS_UP), "SIGNALBOX_LABELS": "zone=a"},
    )


def test_it_enrolls_once_and_keeps_its_token(agent: AgentProcess, scripted_server: ScriptedServer) -> None:
    """A restart is the same node; another enrollment token makes another one."""
    scripted_server.heartbeat_where(lambda body: True)
    (enrollment,) = scripted_server.enrollments
    assert enrollment["token"] == "enroll-1"
    assert enrollment["labels"]["zone"] == "a"
    assert agent.node_token == scripted_server.node_token
    assert (agent.data / "node-token").stat().st_mode & 0o777 == 0o600

    agent.stop()
    agent.start()
    scripted_server.heartbeat_where(lambda body: True)
    assert len(scripted_server.enrollments) == 1

    agent.stop()
    agent.settings["SIGNALBOX_TOKEN"] = "enroll-2"
    agent.start()
    until(lambda: len(scripted_server.enrollments) == 2)
    assert scripted_server.enrollments[1]["installId"] == enrollment["installId"]


def test_the_journey_of_a_nudge(start_agent: StartAgent, scripted_server: ScriptedServer) -> None:
    """With the demo's Vector: nudged, fetched, validated, replaced, running, counted, reported."""
    agent = start_agent(scripted_server.url, "enroll-1")
    scripted_server.pipelines = [pipeline_entry(config_yaml=YAML)]
    first = scripted_server.running()
    assert first["configChecksum"] == scripted_server.pipelines[0]["checksum"]
    counted = scripted_server.pipeline_where(lambda p: p.get("eventsOut", 0) > 0)
    components = {c["componentId"]: c["componentKind"] for c in counted["componentMetrics"]}
    assert components == {"lines": "source", "kept": "transform", "out": "sink"}
    assert counted["eventsIn"] >= counted["eventsOut"] > 0

    scripted_server.deploy(pipeline_entry(version=2, config_yaml=YAML + "# changed\n"))
    second = scripted_server.running(version=2)
    assert second["pid"] != first["pid"]
    body = scripted_server.heartbeat_where(lambda body: "configRevision" in body)
    assert body["configRevision"] == scripted_server.config()["configRevision"]
    assert body["vectorVersion"].startswith("vector ")
    assert body["labels"]["hostname"]
    assert body["hostMetrics"]["memoryTotalBytes"] > 0
    assert body["agentHealth"]["pushConnected"] is True

    log = agent.log.read_text()
    assert "nudged type=config_changed pipeline=- reason=deploy" in log
    assert "child pipeline=p1 version=2 state=RUNNING" in log
    assert scripted_server.node_token not in log


def test_the_upgrade_carries_what_the_server_wants_to_know(
    agent: AgentProcess, scripted_server: ScriptedServer
) -> None:
    """Token, instance and revision; no origin, and no compression, which costs the server 100 KiB a socket."""
    headers = scripted_server.socket().headers

    assert headers["authorization"] == f"Bearer {scripted_server.node_token}"
    assert headers["x-agent-instance"]
    assert headers["x-config-revision"] == scripted_server.config()["configRevision"]
    assert "origin" not in headers
    assert "sec-websocket-extensions" not in headers


def test_an_identical_redeploy_restarts_nothing(agent: AgentProcess, scripted_server: ScriptedServer) -> None:
    """Only the reported version changes."""
    scripted_server.pipelines = [pipeline_entry()]
    before = scripted_server.running()
    scripted_server.deploy(pipeline_entry(version=2))

    assert scripted_server.running(version=2)["pid"] == before["pid"]


def test_an_unchanged_configuration_is_asked_for_by_its_etag(
    agent: AgentProcess, scripted_server: ScriptedServer
) -> None:
    """A poll that brings nothing new costs the server one row."""
    scripted_server.heartbeat_where(lambda body: True)
    asked = len(scripted_server.config_requests)
    scripted_server.nudge()
    until(lambda: len(scripted_server.config_requests) > asked)

    assert scripted_server.config_requests[-1]["If-None-Match"].startswith('"')


def test_undeploying_stops_the_child(agent: AgentProcess, scripted_server: ScriptedServer) -> None:
    """Absence from a valid answer, and only that, stops a pipeline."""
    scripted_server.pipelines = [pipeline_entry()]
    pid = scripted_server.running()["pid"]
    scripted_server.deploy()

    scripted_server.heartbeat_where(lambda body: body["pipelines"] == [])
    assert not psutil.pid_exists(pid)
    assert not (agent.data / "pipelines/p1/pipeline.yaml").exists()


def test_a_refused_configuration_leaves_the_old_one_untouched(
    start_agent: StartAgent, scripted_server: ScriptedServer
) -> None:
    """The demo's Vector says what is wrong; what runs goes on with the same pid."""
    start_agent(scripted_server.url, "enroll-1")
    scripted_server.pipelines = [pipeline_entry(config_yaml=YAML)]
    before = scripted_server.running()
    scripted_server.deploy(pipeline_entry(version=2, config_yaml=YAML.replace("[kept]", "[nothing]")))

    report = scripted_server.pipeline_where(lambda p: "failedVersion" in p)
    assert (report["status"], report["version"], report["pid"]) == ("RUNNING", 1, before["pid"])
    assert report["failedVersion"] == 2
    assert 'nput "nothing"' in report["error"]
    assert str(PROJECT) not in report["error"]
    body = scripted_server.heartbeat_where(lambda body: "triedRevision" in body)
    assert body["triedRevision"] == scripted_server.config()["configRevision"]
    assert "configRevision" not in body


def test_a_configuration_whose_child_dies_early_goes_back(
    start_agent: StartAgent, scripted_server: ScriptedServer, write_vector: WriteVector
) -> None:
    """What runs, what failed, and its last words without the secrets in them."""
    behaviour = (
        "if 'BAD' in config and not validating: print('cannot bind', os.environ['VF_SECRET_A']); sys.exit(7)\n"
        + STAYS_UP
    )
    agent = start_agent(scripted_server.url, "enroll-1", {"SIGNALBOX_VECTOR_BIN": write_vector(behaviour)})
    scripted_server.pipelines = [pipeline_entry(config_yaml="good")]
    scripted_server.running()
    scripted_server.deploy(pipeline_entry(version=2, config_yaml="BAD", secrets={"VF_SECRET_A": "hunter2"}))

    report = scripted_server.pipeline_where(lambda p: "failedVersion" in p and p["status"] == "RUNNING")
    assert (report["version"], report["failedVersion"]) == (1, 2)
    assert report["failedChecksum"] == scripted_server.pipelines[0]["checksum"]
    assert report["error"] == "Vector exited with code 7\ncannot bind ***"
    assert "cannot bind ***" in str(
        [p.get("recentLogs") for b in scripted_server.heartbeats for p in b["pipelines"]]
    )
    assert "hunter2" not in str(scripted_server.heartbeats)
    assert "hunter2" not in agent.log.read_text()


def test_a_killed_child_comes_back(agent: AgentProcess, scripted_server: ScriptedServer) -> None:
    """By the crash backoff, under a new pid."""
    scripted_server.pipelines = [pipeline_entry()]
    pid = scripted_server.running()["pid"]
    os.kill(pid, signal.SIGKILL)

    report = scripted_server.pipeline_where(lambda p: p["status"] == "RUNNING" and p["pid"] != pid)
    assert report["version"] == 1


def test_a_child_that_ignores_sigterm_holds_up_nothing(
    start_agent: StartAgent, scripted_server: ScriptedServer, write_vector: WriteVector
) -> None:
    """For its thirty seconds: polls, heartbeats, the link and other pipelines go on."""
    behaviour = "serve(); signal.signal(15, signal.SIG_IGN if 'STUBBORN' in config else signal.SIG_DFL)\n"
    behaviour += "validating and sys.exit(0)\ntime.sleep(600)"
    agent = start_agent(scripted_server.url, "enroll-1", {"SIGNALBOX_VECTOR_BIN": write_vector(behaviour)})
    scripted_server.pipelines = [pipeline_entry(config_yaml="STUBBORN")]
    stubborn = scripted_server.running()["pid"]

    scripted_server.deploy(pipeline_entry("p2"))
    assert scripted_server.running("p2")
    assert psutil.pid_exists(stubborn)
    agent.kill()
    until(lambda: not psutil.pid_exists(stubborn), what="the end of the orphan")


def test_sigterm_ends_children_in_parallel_and_exits_with_0(
    start_agent: StartAgent, scripted_server: ScriptedServer, write_vector: WriteVector
) -> None:
    """Three that take three seconds each take three seconds."""
    behaviour = "serve(); signal.signal(15, lambda *_: (time.sleep(3), os._exit(0)))\n"
    behaviour += "validating and sys.exit(0)\ntime.sleep(600)"
    agent = start_agent(scripted_server.url, "enroll-1", {"SIGNALBOX_VECTOR_BIN": write_vector(behaviour)})
    scripted_server.pipelines = [pipeline_entry(id) for id in ("p1", "p2", "p3")]
    scripted_server.heartbeat_where(lambda body: body["agentHealth"]["pipelinesRunning"] == 3)
    children = agent.child_pids()

    before = time.monotonic()
    assert agent.stop() == 0
    assert 3.0 <= time.monotonic() - before < 8.0
    assert not any(psutil.pid_exists(pid) for pid in children)


def test_children_that_ignore_sigterm_are_killed_with_all_that_they_started(
    start_agent: StartAgent, scripted_server: ScriptedServer, write_vector: WriteVector
) -> None:
    """All at once when their time is up, grandchildren too; the agent then exits in order."""
    behaviour = """
if validating: sys.exit(0)
signal.signal(15, signal.SIG_IGN)
import subprocess
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], stdout=subprocess.DEVNULL)
serve()
time.sleep(600)
"""
    settings = {"SIGNALBOX_VECTOR_BIN": write_vector(behaviour)}
    agent = start_agent(scripted_server.url, "enroll-1", settings, "tests.agent.impatient_agent")
    scripted_server.pipelines = [pipeline_entry(id) for id in ("p1", "p2")]
    scripted_server.heartbeat_where(lambda body: body["agentHealth"]["pipelinesRunning"] == 2)
    below = agent.child_pids()
    assert len(below) == 4

    before = time.monotonic()
    assert agent.stop() == 0
    assert GRACE_SECONDS <= time.monotonic() - before < GRACE_SECONDS + 10
    until(lambda: not any(psutil.pid_exists(pid) for pid in below), what="the end of all of them")


def test_a_changed_log_level_or_certificate_takes_effect(
    agent: AgentProcess, scripted_server: ScriptedServer
) -> None:
    """With the same YAML: a new child, with the new level, that finds the new bytes; what is unused goes."""

    def certificate(filename: str, content: bytes) -> list[dict[str, str]]:
        data = base64.b64encode(content).decode()
        return [{"name": "ca", "filename": filename, "data": data}]

    certs = agent.data / "certs"
    scripted_server.pipelines = [
        pipeline_entry(checksum="c1", logLevel="info", certFiles=certificate("ca.pem", b"old"))
    ]
    first = scripted_server.running()["pid"]
    scripted_server.deploy(
        pipeline_entry(
            version=2, checksum="c2", logLevel="debug", certFiles=certificate("/etc/ca.pem", b"old")
        )
    )
    second = scripted_server.running(version=2)["pid"]
    assert second != first
    assert psutil.Process(second).environ()["VECTOR_LOG"] == "debug"

    scripted_server.deploy(
        pipeline_entry(version=3, checksum="c3", logLevel="debug", certFiles=certificate("ca.pem", b"new"))
    )
    third = scripted_server.running(version=3)["pid"]
    assert third != second
    assert (certs / "ca.pem").read_bytes() == b"new"

    scripted_server.deploy(
        pipeline_entry(version=4, checksum="c4", certFiles=certificate("other.pem", b"new"))
    )
    scripted_server.running(version=4)
    until(lambda: [path.name for path in certs.iterdir()] == ["other.pem"], what="the end of the old file")


def test_it_comes_back_to_a_link_that_was_cut(agent: AgentProcess, scripted_server: ScriptedServer) -> None:
    """Dropped without a word, then closed with 1001; each time with the same instance."""
    scripted_server.more_config = {"reconnectSpreadMs": 500}
    first = scripted_server.socket(0)
    first.drop()
    second = scripted_server.socket(1)
    second.close(1001, "going away")
    third = scripted_server.socket(2)

    assert first.headers["x-agent-instance"] == third.headers["x-agent-instance"]
    body = scripted_server.heartbeat_where(lambda body: body["agentHealth"]["pushReconnectsTotal"] == 2)
    assert body["agentHealth"]["pushConnected"] is True


def test_a_replaced_agent_does_not_come_back_at_once(
    agent: AgentProcess, scripted_server: ScriptedServer
) -> None:
    """It says when it will: not before a minute has passed."""
    scripted_server.socket().close(1000, "replaced")
    line = until(
        lambda: next(
            (line for line in agent.log.read_text().splitlines() if "reason='replaced'" in line), None
        )
    )
    scripted_server.heartbeat_where(lambda body: not body["agentHealth"]["pushConnected"])

    wait = float(line.rpartition("next_try=")[2].removesuffix("s"))
    assert 60 <= wait <= 300
    assert len(scripted_server.sockets) == 1


def test_without_a_push_channel_it_is_a_correct_polling_agent(
    start_agent: StartAgent, scripted_server: ScriptedServer, write_vector: WriteVector
) -> None:
    """Upgrades are refused throughout; deploys arrive by polling."""
    scripted_server.socket_status = 503
    scripted_server.more_config = {"pollIntervalMs": 500}
    start_agent(scripted_server.url, "enroll-1", {"SIGNALBOX_VECTOR_BIN": write_vector(STAYS_UP)})
    scripted_server.heartbeat_where(lambda body: True)
    scripted_server.pipelines = [pipeline_entry()]

    assert scripted_server.running()
    assert scripted_server.sockets == []


def test_messages_that_it_does_not_know_are_logged_and_ignored(
    agent: AgentProcess, scripted_server: ScriptedServer
) -> None:
    """A newer server may say more than this agent understands."""
    channel = scripted_server.socket()
    channel.ping()
    for message in (
        {"type": "sing"},
        {"type": "tap_start", "requestId": "r"},
        {},
        {"type": ["config_changed"]},
    ):
        channel.send(message)
    channel.send({"type": "config_changed", "reason": 7, "spreadMs": "soon", "pipelineId": []})
    scripted_server.pipelines = [pipeline_entry()]
    scripted_server.nudge()

    assert scripted_server.running()
    assert "ignored a push message type='sing'" in agent.log.read_text()
    assert len(scripted_server.sockets) == 1


def test_a_restart_is_done_once_and_acknowledged(
    agent: AgentProcess, scripted_server: ScriptedServer
) -> None:
    """However often the action is sent."""
    scripted_server.pipelines = [pipeline_entry()]
    pid = scripted_server.running()["pid"]
    action = {"type": "action", "action": "restart", "actionId": "a1", "pipelineId": "p1"}
    scripted_server.socket().send(action)
    scripted_server.socket().send(action)

    body = scripted_server.heartbeat_where(lambda body: "completedActions" in body)
    assert body["completedActions"] == [{"actionId": "a1"}]
    assert body["pipelines"][0]["pid"] != pid
    assert agent.log.read_text().count("state=TERMINATING") == 1


def test_an_agent_from_its_sources_restarts_as_a_whole_and_does_not_update(
    agent: AgentProcess, scripted_server: ScriptedServer
) -> None:
    """The same process with a new life; what it was asked before it does not do again."""
    scripted_server.pipelines = [pipeline_entry()]
    child = scripted_server.running()["pid"]
    pid, first = agent.process.pid, scripted_server.heartbeats[-1]["bootId"]
    scripted_server.more_config = {"pendingAction": {"type": "restart", "actionId": "r1"}}
    scripted_server.nudge()

    body = scripted_server.heartbeat_where(lambda body: "completedActions" in body)
    assert body["completedActions"] == [{"actionId": "r1"}]
    assert body["bootId"] != first
    assert agent.process.pid == pid
    assert scripted_server.running()["pid"] != child
    assert agent.log.read_text().count("restarting: stopping all children") == 1

    update = {"type": "self_update", "actionId": "u1", "targetVersion": "9.0", "downloadUrl": "https://x/"}
    scripted_server.more_config = {"pendingAction": update}
    scripted_server.nudge()
    body = scripted_server.heartbeat_where(lambda body: "completedActions" in body)
    assert body["completedActions"][0]["error"].startswith("cannot update: this agent ")


def test_certificates_and_secrets_reach_the_child(
    agent: AgentProcess, scripted_server: ScriptedServer
) -> None:
    """The file by its base name, 0600; the value in the environment; the agent's own token in neither."""
    scripted_server.pipelines = [
        pipeline_entry(
            logLevel="debug",
            secrets={"VF_SECRET_A": "hunter2"},
            certFiles=[{"name": "ca", "filename": "/../../etc/ca.pem", "data": "cGVt"}],
        )
    ]
    pid = scripted_server.running()["pid"]

    environment = psutil.Process(pid).environ()
    assert environment["VF_SECRET_A"] == "hunter2"
    assert environment["VECTOR_LOG"] == "debug"
    assert environment["VF_DATA_DIR"] == str(agent.data)
    assert not any("enroll-1" in value or "sbx_node" in value for value in environment.values())
    certificate = agent.data / "certs" / "ca.pem"
    assert certificate.read_bytes() == b"pem"
    assert certificate.stat().st_mode & 0o777 == 0o600


def run_agent(settings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], **settings}
    return subprocess.run(
        [sys.executable, "-m", "agent"],
        env=environment,
        cwd=PROJECT,
        text=True,
        capture_output=True,
        timeout=20,
    )


def test_a_second_agent_on_a_data_folder_refuses_to_start(
    agent: AgentProcess, scripted_server: ScriptedServer
) -> None:
    """One sentence, exit code 1, and the first goes on."""
    scripted_server.heartbeat_where(lambda body: True)

    second = run_agent(agent.settings)

    assert second.returncode == 1
    sentence = f"cannot use the data folder {agent.data}: another agent is running on it\n"
    assert second.stderr == sentence
    scripted_server.heartbeat_where(lambda body: True)


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({}, "SIGNALBOX_URL is not set"),
        ({"SIGNALBOX_URL": "http://127.0.0.1:1"}, "SIGNALBOX_TOKEN is not set"),
        ({"SIGNALBOX_URL": "http://127.0.0.1:1", "SIGNALBOX_CA_FILE": "/nowhere"}, "SIGNALBOX_CA_FILE"),
        ({"SIGNALBOX_URL": "http://127.0.0.1:1", "HTTP_PROXY": "socks5://u:p@h"}, "HTTP_PROXY"),
    ],
)
def test_bad_settings_are_one_sentence(tmp_path: Path, settings: dict[str, str], part: str) -> None:
    """No traceback at night; exit code 2, with which the service is not started again."""
    refused = run_agent(settings | {"SIGNALBOX_DATA_DIR": str(tmp_path / "data")})

    assert refused.returncode == 2
    assert part in refused.stderr
    assert refused.stderr.count("\n") == 1
