"""An agent of one file updates itself: real processes, real files, and everything that can go wrong on the way."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from agent.installation import read
from tests.agent.conftest import WriteVector
from tests.agent.scripted_server import JSON, ScriptedServer, pipeline_entry
from tests.agent.test_agent import STAYS_UP
from tests.conftest import StartAgent
from tests.support.agent_file import AgentFile
from tests.support.agent_process import AgentProcess
from tests.support.until import until

Build = Callable[..., AgentFile]

TIMING = {"patience": 30.0, "longest": 3.0, "retry": 1.0, "margin": 10.0}
"""Of the trials that the old agent begins; a good one takes three seconds."""
IMPATIENT = {"patience": 3.0, "longest": 2.0, "retry": 0.5, "margin": 2.0}
"""For files that cannot be accepted."""
OLD, NEW = "0.1.0", "0.2.0"
PATH = "/files/agent.pyz"
CANNOT_IMPORT = (
    "import sys\nif '--check' in sys.argv: print('signalbox-agent 0.2.0'); sys.exit(0)\nimport nothing\n"
)
"""Passes its first check and fails when it is run."""
NEVER_REPORTS = CANNOT_IMPORT.replace("import nothing", "import time\ntime.sleep(600)")


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Builds a file: `build(version, main=..., timing=..., changes=..., key=...)`."""

    def make(version: str = NEW, **more: Any) -> AgentFile:
        return AgentFile(tmp_path, version, **more)

    return make


class Node:
    """An agent that runs two pipelines, and the server that it follows."""

    def __init__(self, agent: AgentProcess, server: ScriptedServer) -> None:
        self.agent = agent
        self.server = server

    @property
    def state(self) -> JSON:
        return read(self.agent.data / "update")

    def runs(self, version: str = OLD, seconds: float = 30.0) -> JSON:
        """A heartbeat of this version with both pipelines up."""
        return self.server.heartbeat_where(
            lambda body: (
                body.get("agentVersion") == version
                and [p["status"] for p in body["pipelines"]] == ["RUNNING", "RUNNING"]
            ),
            seconds,
        )

    def offer(self, file: AgentFile, action_id: str = "u1", **more: str) -> None:
        """Ask for an update, in every config answer from now on, as a server does until it is acknowledged."""
        self.server.files[PATH] = file.content
        action = file.action(self.server.url + PATH, action_id) | more
        self.server.more_config = {"pendingAction": action}
        self.server.nudge()

    def outcome(self, action_id: str = "u1", seconds: float = 40.0) -> tuple[str, str | None]:
        """The version that reports how the action has ended, and its error."""
        done: list[JSON] = []

        def ended(body: JSON) -> bool:
            done[:] = [entry for entry in body.get("completedActions", []) if entry["actionId"] == action_id]
            return bool(done)

        body = self.server.heartbeat_where(ended, seconds)
        return body["agentVersion"], done[0].get("error")

    def vectors(self) -> list[int]:
        """The living children of whatever agent runs on the data folder."""
        return sorted(
            process.pid
            for process in psutil.process_iter(["cmdline"])
            if any(str(self.agent.data / "pipelines") in part for part in process.info["cmdline"] or [])
            and process.status() != psutil.STATUS_ZOMBIE
        )

    def agents(self) -> list[int]:
        """The living processes of the agent: itself, and a guard where there is one."""
        return [
            process.pid
            for process in psutil.process_iter(["environ"])
            if (process.info["environ"] or {}).get("SIGNALBOX_DATA_DIR") == str(self.agent.data)
        ]

    def restart_by_hand(self) -> None:
        """As a service manager does it once the main process has ended."""
        until(lambda: not self.agent.process.is_running, what="the end of the agent", seconds=20)
        until(lambda: not self.vectors() and not self.agents(), what="the end of its children")
        self.agent.start()


@pytest.fixture
def start_node(
    start_agent: StartAgent, scripted_server: ScriptedServer, write_vector: WriteVector, build: Build
) -> Callable[..., Node]:
    """Starts a node of the old version: `start_node(settings={}, file=None)`."""

    def start(settings: dict[str, str] | None = None, file: AgentFile | None = None) -> Node:
        scripted_server.pipelines = [pipeline_entry("p1"), pipeline_entry("p2")]
        agent = start_agent(
            scripted_server.url,
            "enroll-1",
            {
                "SIGNALBOX_VECTOR_BIN": write_vector(STAYS_UP),
                "SIGNALBOX_DEPLOYMENT_MODE": "STANDALONE",
                "SIGNALBOX_ALLOW_HTTP_UPDATE": "1",
                **(settings or {}),
            },
            file=(file or build(OLD, timing=TIMING)).path,
        )
        node = Node(agent, scripted_server)
        node.runs()
        return node

    return start


@pytest.fixture
def impatient_node(start_node: Callable[..., Node], build: Build) -> Node:
    """The same, for trials that fail."""
    return start_node(file=build(OLD, timing=IMPATIENT))


@pytest.fixture
def node(start_node: Callable[..., Node]) -> Node:
    """A node of the old version."""
    return start_node()


def test_a_node_updates_itself(node: Node, build: Build) -> None:
    """Children are restarted, none is left over, the new version reports the action, and stays after a restart."""
    before = node.vectors()
    node.offer(build())

    assert node.outcome() == (NEW, None)
    node.runs(NEW)
    assert not set(before) & set(node.vectors())
    assert len(node.vectors()) == 2
    assert node.state["current"]["version"] == NEW
    assert "trial" not in node.state

    node.agent.stop()
    assert node.vectors() == []
    node.agent.start()
    body = node.runs(NEW)
    assert "completedActions" not in body
    assert len(node.agents()) == 1, "without a trial nothing stays in memory but the agent"
    assert node.server.downloads == [PATH], "what was done once is not done again"


def test_a_file_that_does_not_start_stops_nothing(node: Node, build: Build) -> None:
    """It is found out beside the running agent."""
    before = node.vectors()
    node.offer(build(main="import nothing\n"))

    version, error = node.outcome()
    assert version == OLD
    assert error is not None
    assert "does not start on this node (1)" in error
    assert "No module named 'nothing'" in error
    assert node.vectors() == before


@pytest.mark.parametrize(
    ("main", "reason"),
    [
        (CANNOT_IMPORT, "it ended with exit code 1 before it was accepted"),
        (NEVER_REPORTS, "it was not accepted within 5 s of its start"),
    ],
    ids=["import", "silent"],
)
def test_the_old_file_comes_back(impatient_node: Node, build: Build, main: str, reason: str) -> None:
    """Under the same process id, with its children; and that file is not tried again under another action."""
    node = impatient_node
    pid = node.agent.process.pid
    bad = build(main=main)
    node.offer(bad)

    version, error = node.outcome()
    assert version == OLD
    assert error is not None
    assert reason in error
    node.runs(OLD)
    assert node.agent.process.pid == pid
    assert len(node.vectors()) == 2
    assert len(node.agents()) == 1

    before = node.vectors()
    node.offer(bad, "u2")
    version, error = node.outcome("u2")
    assert error is not None
    assert error.startswith("cannot update: this file of 0.2.0 failed here before: ")
    assert reason in error
    assert node.vectors() == before
    assert node.server.downloads == [PATH]


def test_an_agent_that_makes_a_pipeline_worse_is_not_kept(impatient_node: Node, build: Build) -> None:
    """It reports well, but what ran does not run under it."""
    node = impatient_node
    node.offer(
        build(changes={"agent/vector.py": ('return [vector_bin, "--config"', 'return ["/none", "--config"')})
    )

    version, error = node.outcome()
    assert version == OLD
    assert error == "went back from 0.2.0: within 3 s it did not get pipeline p1 and p2 to run"
    node.runs(OLD)


def test_a_server_that_is_away_decides_nothing(node: Node, build: Build) -> None:
    """The old agent takes over for the time being; once the server answers, the new one is tried again."""
    server = node.server
    node.offer(build(main=None))
    until(lambda: "trial" in node.state, what="the trial", seconds=20)
    server.stop()
    until(lambda: "retry" in node.state, what="the trial to be put off", seconds=20)
    assert node.state["retry"]["postponed"] == 1
    until(lambda: len(node.vectors()) == 2, what="both children under the old agent", seconds=20)

    server.start()
    assert node.outcome() == (NEW, None)
    node.runs(NEW)
    assert len(node.vectors()) == 2


def test_a_server_that_stays_away_is_waited_for_three_times(impatient_node: Node, build: Build) -> None:
    """Each time the old agent had an answer in between; then it is an outcome like any other."""
    node = impatient_node
    nowhere = ("self._url = url", 'self._url = "http://127.0.0.1:1"')
    node.offer(build(changes={"agent/api.py": nowhere}))

    version, error = node.outcome(seconds=90)
    assert version == OLD
    assert error == "went back from 0.2.0: the server did not answer it in 3 trials"
    assert node.agent.log.read_text().count("on trial start=1") == 3
    node.runs(OLD)


def test_what_was_asked_for_must_be_what_comes(node: Node, build: Build) -> None:
    """Another checksum, another version inside, an older one, none at all: each refused in one sentence."""
    before = node.vectors()
    good = build()
    node.offer(good, "u1", checksum="sha256:" + "0" * 64)
    assert "has the checksum sha256:" + good.digest in str(node.outcome("u1")[1])
    node.offer(good, "u2", targetVersion="0.3.0")
    assert (
        node.outcome("u2")[1] == "cannot update: the file says that it is 'signalbox-agent 0.2.0', not 0.3.0"
    )
    node.offer(good, "u3", targetVersion="0.0.9")
    assert "0.0.9 is older than 0.1.0" in str(node.outcome("u3")[1])
    node.offer(build("0.2.1"), "u4", downloadUrl=node.server.url + "/none")
    node.server.files["/none"] = b"http://127.0.0.1:1/elsewhere"
    assert "cannot fetch http://127.0.0.1:1/elsewhere" in str(node.outcome("u4")[1])
    node.offer(build(OLD), "u5")
    assert node.outcome("u5") == (OLD, None), "it runs already"
    assert node.vectors() == before
    assert not list((node.agent.data / "update").glob(".*.tmp"))


@pytest.mark.parametrize("step", ["download", "folder"])
def test_a_kill_or_a_full_disk_before_the_trial_changes_nothing(node: Node, build: Build, step: str) -> None:
    """The action is answered, by the next life where the first was killed."""
    if step == "folder":
        (node.agent.data / "update").write_text("in the way of a folder")
        node.offer(build())
        assert "cannot update: cannot write" in str(node.outcome()[1])
        return
    node.server.sends_files.clear()
    node.offer(build())
    until(lambda: node.server.downloads, what="the download")
    node.agent.kill()
    node.server.sends_files.set()
    node.restart_by_hand()
    assert node.outcome() == (OLD, "the agent ended before the update was ready to be tried")
    node.runs(OLD)
    assert not list((node.agent.data / "update").glob(".*.tmp"))
    assert node.server.downloads == [PATH]


def test_a_guard_that_is_killed_takes_all_along_and_the_trial_goes_on(node: Node, build: Build) -> None:
    """No orphans; the service manager's next start begins the trial again, and it is accepted."""
    before = node.vectors()
    node.offer(build(changes={"agent/child.py": ("settle: float = 2.0", "settle: float = 4.0")}))
    until(lambda: len(set(node.vectors()) - set(before)) == 2, what="children of the new agent", seconds=20)
    node.agent.kill()
    node.restart_by_hand()

    assert node.outcome() == (NEW, None)
    node.runs(NEW)
    assert "on trial start=2" in node.agent.log.read_text()
    assert len(node.vectors()) == 2


def test_the_whole_agent_restarts_once(node: Node) -> None:
    """Under the same process id, children stopped in order, the action told by the new life and never done again."""
    pid, before = node.agent.process.pid, node.vectors()
    first = node.runs()["bootId"]
    action = {"type": "restart", "actionId": "r1"}
    node.server.more_config = {"pendingAction": action}
    node.server.nudge()

    assert node.outcome("r1") == (OLD, None)
    body = node.runs()
    assert body["bootId"] != first
    assert node.agent.process.pid == pid
    assert not set(before) & set(node.vectors())
    log = node.agent.log.read_text()
    assert log.count("restarting: stopping all children") == 1
    assert "KILLING" not in log
    node.agent.stop(signal.SIGINT)
    node.agent.start()
    node.server.heartbeat_where(lambda body: True)
    assert node.agent.log.read_text().count("restarting") == 1
