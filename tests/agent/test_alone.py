"""A node on its own: what a machine may do to its agent, each provoked, and none of it stops a pipeline."""

import os
import re
import resource
import signal
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from agent.events import FetchFailed
from agent.loop import MOST_ASIDE, Loop
from agent.protocol import parse_rfc3339
from agent.settings import read_settings
from agent.store import Store
from tests.agent.conftest import WriteVector
from tests.agent.scripted_server import ScriptedServer, pipeline_entry
from tests.agent.test_agent import STAYS_UP
from tests.agent.troubled_agent import NAME
from tests.conftest import StartAgent
from tests.support.agent_process import AgentProcess
from tests.support.until import until

TROUBLED = "tests.agent.troubled_agent"
YEARS = 20 * 365 * 86400


@pytest.fixture
def vector(write_vector: WriteVector) -> dict[str, str]:
    """The setting that names a Vector that is content with anything."""
    return {"SIGNALBOX_VECTOR_BIN": write_vector(STAYS_UP)}


@pytest.fixture
def agent(start_agent: StartAgent, scripted_server: ScriptedServer, vector: dict[str, str]) -> AgentProcess:
    """An agent with one pipeline that runs."""
    scripted_server.pipelines = [pipeline_entry()]
    agent = start_agent(scripted_server.url, "enroll-1", vector)
    scripted_server.running()
    return agent


def until_logged(agent: AgentProcess, pattern: str, seconds: float = 40.0) -> re.Match[str]:
    return until(lambda: re.search(pattern, agent.log.read_text()), seconds=seconds, what=pattern)


def test_it_says_since_when_it_has_been_on_its_own(
    agent: AgentProcess, scripted_server: ScriptedServer
) -> None:
    """Over a boot, too; and that the server is back. A file has the moment, for whoever looks at the node."""
    kept = parse_rfc3339((agent.data / "last-contact").read_text().strip())
    assert abs((datetime.now(UTC) - kept).total_seconds()) < 60
    assert "on its own" not in agent.log.read_text()
    scripted_server.stop()
    agent.kill()
    agent.start()

    line = until_logged(agent, r"WARNING agent.contact on its own since=(\S+), what runs goes on")
    assert parse_rfc3339(line[1]) == kept
    until(lambda: agent.child_pids(), what="what it last ran")
    scripted_server.start()
    until_logged(agent, r"the server answers again, on its own since=" + re.escape(line[1]), seconds=45)
    assert agent.log.read_text().count("on its own since") == 2, "said once, however many fetches have failed"


def test_a_token_that_cannot_be_read_stops_nothing_and_makes_no_other_node(
    agent: AgentProcess, scripted_server: ScriptedServer
) -> None:
    """Another node would lack its labels. It runs what it ran, says what to do, and goes on once that is done."""
    agent.stop()
    token = (agent.data / "node-token").read_text()
    (agent.data / "node-token").unlink()
    (agent.data / "node-token").mkdir()
    # Neither does it matter whether it could enroll anew.
    del agent.settings["SIGNALBOX_TOKEN"]
    agent.start()
    until(lambda: agent.child_pids(), what="what it last ran")
    until_logged(agent, r"cannot read .*node-token: Is a directory: make it readable, or remove it")

    (agent.data / "node-token").rmdir()
    (agent.data / "node-token").write_text(token)
    pid = scripted_server.running(seconds=30)["pid"]
    assert pid in agent.child_pids()
    assert len(scripted_server.enrollments) == 1

    agent.stop()
    agent.settings["SIGNALBOX_TOKEN"] = "enroll-1"
    (agent.data / "node-token").unlink()
    (agent.data / "node-token").mkdir()
    agent.start()
    until(lambda: agent.log.read_text().count("make it readable") >= 2, what="a second complaint")
    assert len(scripted_server.enrollments) == 1


def test_a_full_disk_stops_nothing(agent: AgentProcess, scripted_server: ScriptedServer) -> None:
    """A deploy waits for room, what runs runs on, what dies comes back; with room again all goes on."""
    pid = scripted_server.running()["pid"]
    process = psutil.Process(agent.process.pid)
    _, hard = process.rlimit(resource.RLIMIT_FSIZE)
    process.rlimit(resource.RLIMIT_FSIZE, (0, hard))
    scripted_server.deploy(pipeline_entry(version=2, config_yaml="sources: {}\n"))

    report = scripted_server.pipeline_where(lambda p: "error" in p)
    assert (report["status"], report["version"], report["pid"]) == ("RUNNING", 1, pid)
    assert "File too large" in report["error"]
    os.kill(pid, signal.SIGKILL)
    again = scripted_server.pipeline_where(lambda p: p["status"] == "RUNNING" and p["pid"] != pid)
    assert again["version"] == 1

    process.rlimit(resource.RLIMIT_FSIZE, (hard, hard))
    scripted_server.running(version=2, seconds=70)
    assert not list(agent.data.rglob(".*.tmp"))
    agent.stop()
    scripted_server.stop()
    agent.start()
    until_logged(agent, r"remembered pipelines=p1@2")


def test_a_clock_that_jumps_changes_nothing(
    start_agent: StartAgent, scripted_server: ScriptedServer, vector: dict[str, str], tmp_path: Path
) -> None:
    """Twenty years ahead, and forty back: heartbeats come as before, a child that dies comes back, a deploy runs."""
    clock = tmp_path / "clock"
    clock.write_text("0")
    scripted_server.pipelines = [pipeline_entry()]
    settings = vector | {"SIGNALBOX_TEST_CLOCK": str(clock)}
    agent = start_agent(scripted_server.url, "enroll-1", settings, TROUBLED)
    scripted_server.running()
    for version, offset in enumerate((YEARS, -YEARS), start=2):
        clock.write_text(str(offset))
        before = time.monotonic()
        for _ in range(4):
            scripted_server.heartbeat_where(lambda body: True)
        assert time.monotonic() - before >= 1.2, "half a second each, and no burst"
        scripted_server.deploy(pipeline_entry(version=version, config_yaml=f"# {version}\n"))
        pid = scripted_server.running(version=version)["pid"]
    os.kill(pid, signal.SIGKILL)
    scripted_server.pipeline_where(lambda p: p["status"] == "RUNNING" and p["pid"] != pid)
    year = datetime.now(UTC).year
    text = agent.log.read_text()
    assert re.search(rf"^{year + 19}|^{year + 20}", text, re.M), "the clock did jump"
    assert len(scripted_server.sockets) == 1, "nor did the link"


@pytest.mark.parametrize("trouble", ["fail", "hang"])
def test_names_that_cannot_be_looked_up_stop_nothing(
    trouble: str,
    start_agent: StartAgent,
    scripted_server: ScriptedServer,
    vector: dict[str, str],
    tmp_path: Path,
) -> None:
    """What runs runs, what dies comes back, threads do not pile up; once names are found again all is told."""
    resolver = tmp_path / "resolver"
    port = scripted_server.url.rpartition(":")[2]
    scripted_server.pipelines = [pipeline_entry()]
    scripted_server.more_config = {
        "websocketUrl": f"ws://{NAME}:{port}/api/agent/ws",
        "pollIntervalMs": 500,
        "reconnectSpreadMs": 500,
    }
    settings = vector | {"SIGNALBOX_TEST_RESOLVER": str(resolver)}
    agent = start_agent(f"http://{NAME}:{port}", "enroll-1", settings, TROUBLED)
    pid = scripted_server.running()["pid"]

    resolver.write_text(trouble)
    scripted_server.socket().drop()
    if trouble == "fail":
        until_logged(agent, r"fetch failed, nothing is changed error='.*name resolution")
    heard = len(scripted_server.heartbeats)
    os.kill(pid, signal.SIGKILL)
    (second,) = until(lambda: [p for p in agent.child_pids() if p != pid], what="a child that came back")
    until(lambda: agent.log.read_text().count("state=RUNNING") == 2, what="that it runs")
    assert psutil.Process(agent.process.pid).num_threads() <= 8
    assert len(scripted_server.heartbeats) <= heard + 1

    resolver.unlink()
    told = scripted_server.running(seconds=45)
    assert told["pid"] == second
    scripted_server.socket()


def test_agents_of_one_host_do_not_take_each_others_ports(
    start_agent: StartAgent, scripted_server: ScriptedServer
) -> None:
    """Two data folders, the same three pipelines in each, started at once: all six run, each with its counters."""
    yaml = "sources: {in: {type: demo_logs, format: json}}\nsinks: {out: {type: blackhole, inputs: [in]}}\n"
    scripted_server.pipelines = [pipeline_entry(id, config_yaml=yaml) for id in ("p1", "p2", "p3")]
    agents = [start_agent(scripted_server.url, "enroll-1") for _ in range(2)]

    def counting() -> set[tuple[str, str]]:
        return {
            (body["bootId"], p["pipelineId"])
            for body in scripted_server.heartbeats
            for p in body["pipelines"]
            if p["status"] == "RUNNING" and p.get("eventsOut", 0) > 0
        }

    until(lambda: len(counting()) == 6, seconds=30, what="six pipelines that run and count")
    ports = [
        listening.laddr.port
        for agent in agents
        for pid in agent.child_pids()
        for listening in psutil.Process(pid).net_connections("tcp")
        if listening.status == psutil.CONN_LISTEN
    ]
    assert len(ports) == len(set(ports)) == 12


def test_what_a_heartbeat_would_have_told_is_told_by_the_next_that_arrives(
    start_agent: StartAgent, scripted_server: ScriptedServer, write_vector: WriteVector
) -> None:
    """A server that takes none for a while: actions, samples' answers, last lines, errors and counts all arrive."""
    behaviour = "print('line of', os.getpid(), flush=True)\n" + STAYS_UP
    scripted_server.pipelines = [pipeline_entry()]
    scripted_server.more_config = {"heartbeatIntervalMs": 1000, "idleHeartbeatIntervalMs": 1000}
    agent = start_agent(scripted_server.url, "enroll-1", {"SIGNALBOX_VECTOR_BIN": write_vector(behaviour)})
    scripted_server.running()
    heard = len(scripted_server.heartbeats)
    scripted_server.heartbeat_status = 503
    until(lambda: "heartbeat failed" in agent.log.read_text(), what="a heartbeat that fails")
    channel = scripted_server.socket()
    channel.send({"type": "action", "action": "restart", "actionId": "a1", "pipelineId": "p1"})
    until(lambda: agent.log.read_text().count("state=RUNNING") == 2, what="the restart")
    channel.send({"type": "action", "action": "dance", "actionId": "a2"})
    (pid,) = agent.child_pids()
    failed = agent.log.read_text().count("heartbeat failed")
    until(lambda: agent.log.read_text().count("heartbeat failed") > failed, what="another one", seconds=20)
    assert len(scripted_server.heartbeats) == heard

    scripted_server.heartbeat_status = 200
    told = scripted_server.heartbeat_where(lambda body: "completedActions" in body, seconds=40)
    assert {done["actionId"]: "error" in done for done in told["completedActions"]} == {
        "a1": False,
        "a2": True,
    }
    (report,) = told["pipelines"]
    assert report["pid"] == pid
    assert f"line of {pid}" in report["recentLogs"]
    assert told["agentHealth"]["heartbeatErrorsTotal"] >= 1
    later = scripted_server.heartbeat_where(lambda body: body["seq"] > told["seq"])
    assert "completedActions" not in later
    assert "recentLogs" not in later["pipelines"][0], "and is told once"


TRICKLES = """
import socket
def trickle():
    listening = socket.create_server(("127.0.0.1", port_of(overlay["sinks"]["signalbox_agent_exporter"]["address"])))
    while True:
        connected, _ = listening.accept()
        threading.Thread(target=drip, args=[connected], daemon=True).start()
def drip(connected):
    try:
        connected.recv(4096)
        connected.sendall(b"HTTP/1.1 200 OK\\r\\n\\r\\n")
        while True:
            connected.sendall(b"x"); time.sleep(0.1)
    except OSError:
        return
if not validating and "TRICKLE" in config: threading.Thread(target=trickle, daemon=True).start()
"""


@pytest.mark.long
def test_children_that_never_finish_telling_their_counts_hold_up_no_heartbeat(
    start_agent: StartAgent, scripted_server: ScriptedServer, write_vector: WriteVector
) -> None:
    """Whose metrics trickle, and who is frozen: heartbeats come all the same, with the others' states."""
    scripted_server.pipelines = [
        pipeline_entry(id, config_yaml=f"# {yaml}\n")
        for id, yaml in (("p1", "TRICKLE"), ("p2", "FREEZE"), ("p3", "FINE"))
    ]
    vector = write_vector(TRICKLES + STAYS_UP)
    start_agent(scripted_server.url, "enroll-1", {"SIGNALBOX_VECTOR_BIN": vector})
    body = scripted_server.heartbeat_where(lambda body: body["agentHealth"]["pipelinesRunning"] == 3)
    pids = {p["pipelineId"]: p["pid"] for p in body["pipelines"]}
    os.kill(pids["p2"], signal.SIGSTOP)
    seen = body["seq"]
    for _ in range(2):
        seen = scripted_server.heartbeat_where(lambda body, seen=seen: body["seq"] > seen, seconds=25)["seq"]

    del scripted_server.pipelines[1]
    scripted_server.nudge()
    scripted_server.heartbeat_where(lambda body: len(body["pipelines"]) == 2, seconds=25)
    assert not psutil.pid_exists(pids["p2"]), "a frozen one ends, too, and without the whole grace"


def test_threads_that_hang_do_not_pile_up(tmp_path: Path) -> None:
    """A resolver that never answers cannot be cut off: past a few, the next one fails at once instead."""
    store = Store(tmp_path / "data")
    store.open()
    loop = Loop(
        read_settings({"SIGNALBOX_URL": "http://x", "SIGNALBOX_DATA_DIR": str(tmp_path / "data")}), store
    )
    ended = threading.Event()

    def hang() -> None:
        ended.wait(30)

    for generation in range(10):
        loop._aside("fetch that hangs", hang, FetchFailed(generation, "hangs"))
    names = [thread.name for thread in threading.enumerate()]
    ended.set()

    assert names.count("fetch that hangs") == MOST_ASIDE
    assert [loop._queue.get(timeout=1) for _ in range(6)] == [FetchFailed(n, "hangs") for n in range(4, 10)]
