"""What must never stop a pipeline, each provoked: a server that is away, one that answers nonsense, a bad boot."""

import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler

import psutil
import pytest

from agent.api import Api, ApiError
from tests.agent.conftest import WriteVector
from tests.agent.scripted_server import ScriptedServer, pipeline_entry
from tests.agent.test_agent import STAYS_UP
from tests.conftest import StartAgent
from tests.support.agent_process import AgentProcess
from tests.support.until import until


@pytest.fixture
def agent(
    start_agent: StartAgent, scripted_server: ScriptedServer, write_vector: WriteVector
) -> AgentProcess:
    """An agent with one pipeline that runs."""
    scripted_server.pipelines = [pipeline_entry(secrets={"VF_SECRET_A": "x"})]
    agent = start_agent(scripted_server.url, "enroll-1", {"SIGNALBOX_VECTOR_BIN": write_vector(STAYS_UP)})
    scripted_server.running()
    return agent


def runs_with_its_secret(agent: AgentProcess) -> int | None:
    """The pid of the agent's child, once it has its environment."""
    pids = [pid for pid in agent.child_pids() if psutil.Process(pid).environ().get("VF_SECRET_A") == "x"]
    return pids[0] if pids else None


def nonsense(content: bytes, status: int = 200) -> Callable[[BaseHTTPRequestHandler], bool]:
    """Answers every config request with the same."""

    def answer(request: BaseHTTPRequestHandler) -> bool:
        request.send_response(status)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)
        return True

    return answer


def truncated(request: BaseHTTPRequestHandler) -> bool:
    """Promises more than comes."""
    request.send_response(200)
    request.send_header("Content-Length", "5000")
    request.end_headers()
    request.wfile.write(b'{"pipelines": []')
    request.close_connection = True
    return True


NONSENSE = {
    "a page of a proxy": nonsense(b"<html>please sign in</html>"),
    "no pipelines": nonsense(b"{}"),
    "null": nonsense(b'{"pipelines": null}'),
    "nothing": nonsense(b""),
    "401": nonsense(b'{"error": "x"}', 401),
    "502": nonsense(b"bad gateway", 502),
    "304 to no question": nonsense(b"", 304),
    "302": nonsense(b"", 302),
    "truncated": truncated,
}


def test_no_answer_but_a_valid_one_changes_anything(
    agent: AgentProcess, scripted_server: ScriptedServer
) -> None:
    """The child goes on under its pid through all of them, and the next valid answer is followed."""
    pid = scripted_server.running()["pid"]
    scripted_server.pipelines = []
    for name, answer in NONSENSE.items():
        scripted_server.answer_config = answer
        asked = len(scripted_server.config_requests)
        scripted_server.nudge()
        until(lambda asked=asked: len(scripted_server.config_requests) > asked, what=name, seconds=31)
        body = scripted_server.heartbeat_where(lambda body: True)
        assert [(p["pid"], p["status"]) for p in body["pipelines"]] == [(pid, "RUNNING")], name

    scripted_server.answer_config = None
    scripted_server.nudge()
    scripted_server.heartbeat_where(lambda body: body["pipelines"] == [], seconds=40)
    assert "please sign in" not in agent.log.read_text()


def test_a_node_that_boots_while_the_server_is_away_runs_what_it_last_ran(
    agent: AgentProcess, scripted_server: ScriptedServer
) -> None:
    """After SIGKILL: no orphan, then the same again with its secrets, and the report once the server is back."""
    (orphan,) = agent.child_pids()
    scripted_server.stop()
    agent.kill()
    until(lambda: not psutil.pid_exists(orphan), what="the end of the orphan")

    agent.start()
    child = until(lambda: runs_with_its_secret(agent), what="a child", tolerate=(psutil.NoSuchProcess,))
    assert (agent.data / "plan.json").stat().st_mode & 0o777 == 0o600

    scripted_server.start()
    assert scripted_server.running(seconds=45)["pid"] == child


def test_a_node_that_was_never_enrolled_waits_for_the_server(
    start_agent: StartAgent, scripted_server: ScriptedServer
) -> None:
    """It does not exit, and enrolls when the server is there."""
    scripted_server.stop()
    agent = start_agent(scripted_server.url, "enroll-1")
    until(lambda: "cannot enroll" in agent.log.read_text(), what="a failed try")

    scripted_server.start()
    until(lambda: scripted_server.enrollments, what="the enrollment")


def test_a_damaged_plan_and_an_unreadable_token_are_no_end(
    agent: AgentProcess, scripted_server: ScriptedServer
) -> None:
    """It enrolls again and asks the server what to run."""
    agent.stop()
    (agent.data / "plan.json").write_bytes(b"\0" * 1000)
    (agent.data / "node-token").unlink()
    (agent.data / "node-token").mkdir()
    agent.start()
    scripted_server.running()
    assert len(scripted_server.enrollments) == 2
    assert "is damaged" in agent.log.read_text()


def test_a_disk_that_takes_nothing_stops_nothing(
    agent: AgentProcess, scripted_server: ScriptedServer
) -> None:
    """The plan cannot be kept; what runs runs, what is stopped stops."""
    (agent.data / "plan.json").unlink()
    (agent.data / "plan.json").mkdir()
    (agent.data / "plan.json" / "in the way").touch()
    scripted_server.deploy(pipeline_entry(version=2))

    assert scripted_server.running(version=2)
    assert "plan.json" in agent.log.read_text()


def test_nothing_piles_up_over_deploys_and_reconnects(
    agent: AgentProcess, scripted_server: ScriptedServer
) -> None:
    """Threads and descriptors are after ten restarts what they were after one."""
    process = psutil.Process(agent.process.pid)
    idle_threads = 4
    """The owner of the state, the launcher, the saver and the link's reader; a heartbeat has one for a moment."""

    def descriptors(most: int = 1000) -> int | None:
        """How many are open, if nothing else is going on and they are at most so many."""
        count = process.num_fds()
        is_idle = process.num_threads() == idle_threads and process.num_fds() == count
        return count if is_idle and count <= most else None

    scripted_server.more_config = {"reconnectSpreadMs": 500}
    scripted_server.deploy(pipeline_entry(config_yaml="0"))
    scripted_server.running()
    before = until(descriptors)
    for number in range(1, 4):
        scripted_server.deploy(pipeline_entry(config_yaml=str(number), version=number + 1))
        scripted_server.running(version=number + 1)
    count = len(scripted_server.sockets)
    scripted_server.socket().drop()
    scripted_server.socket(count)

    until(lambda: descriptors(before), what=f"at most {before} descriptors in {idle_threads} threads")


class Trickle:
    """A server that sends one byte of an answer ten times a second, for ever."""

    def __init__(self, head: bytes) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ended = threading.Event()
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._head = head
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        connected, _ = self._listener.accept()
        with connected:
            connected.recv(65536)
            connected.sendall(self._head)
            try:
                while not self._ended.wait(0.1):
                    connected.sendall(b"x")
            except OSError:
                return

    def close(self) -> None:
        self._ended.set()
        self._thread.join(5)
        self._listener.close()


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\nX-A: ", b"HTTP/1.1 200 OK\r\n\r\n"], ids=["header", "body"]
)
def test_an_answer_that_trickles_is_cut_off(head: bytes) -> None:
    """A time-out per read never fires; the whole request has a deadline, and its thread ends with it."""
    trickle = Trickle(head)
    api = Api(trickle.url)
    errors: list[ApiError] = []

    def fetch() -> None:
        try:
            api.fetch_config("token", 1, None, None, 30.0)
        except ApiError as error:
            errors.append(error)

    thread = threading.Thread(target=fetch)
    thread.start()
    thread.join(1.0)
    assert thread.is_alive()
    api.abandon("/api/agent/config", 1)
    thread.join(5.0)
    trickle.close()

    assert not thread.is_alive()
    assert str(errors[0]) == "cannot fetch the configuration: no whole answer in time"
