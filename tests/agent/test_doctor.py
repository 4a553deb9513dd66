"""`doctor`: what it finds where all is well, beside a running agent, and for each thing that can be wrong."""

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from agent.doctor import Check, CheckFailedError, Facts, Finding, Mark, examine, line
from agent.protocol import CONFIG_PATH, SSE_PATH, WEBSOCKET_PATH
from tests.agent.conftest import WriteVector
from tests.agent.test_stream_link import self_signed
from tests.agent.wire_server import Peer, WireServer
from tests.conftest import StartAgent
from tests.support import PROJECT
from tests.support.api import AgentByHand, Operator
from tests.support.server import Server, clean_environment
from tests.support.until import until
from tools.reserved_port import ReservedPort

TOKEN = "sbx_node_n1_" + "0" * 64
ABOUT = (
    "settings", "data folder", "agent", "vector", "ports",
    "name", "connection", "tls", "server", "clock", "token", "websocket", "event stream",
)  # fmt: skip
LINE = re.compile(r"(\S) (ok|warn|FAIL|skip) +(" + "|".join(ABOUT) + r") +(.*)")


@dataclass
class Report:
    """What doctor has said: a mark and a text for each check."""

    code: int
    said: str
    marks: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)


def run_doctor(settings: dict[str, str], *arguments: str) -> Report:
    done = subprocess.run(
        [sys.executable, "-m", "agent", "doctor", *arguments],
        env={**clean_environment(), "PYTHONUTF8": "1", **settings},
        cwd=PROJECT,
        text=True,
        capture_output=True,
        timeout=60,
    )
    assert done.stderr == ""
    report = Report(done.returncode, done.stdout)
    first, *lines, last = done.stdout.splitlines()
    assert first.startswith("signalbox-agent ")
    for text in lines:
        match = LINE.fullmatch(text)
        assert match is not None, text
        report.marks[match[3]], report.texts[match[3]] = match[2], match[4]
    assert tuple(report.marks) == ABOUT
    failed = [about for about, mark in report.marks.items() if mark == "FAIL"]
    assert report.code == (1 if failed else 0)
    assert last == (f"{len(failed)} failed." if failed else "Nothing failed.")
    return report


@pytest.fixture
def node(tmp_path: Path) -> dict[str, str]:
    """The settings of a node with a data folder and the stand-in for Vector, and without a server."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    return {"SIGNALBOX_DATA_DIR": str(data), "SIGNALBOX_VECTOR_BIN": str(PROJECT / "demo" / "vector")}


def give_token(node: dict[str, str], token: str) -> None:
    (Path(node["SIGNALBOX_DATA_DIR"]) / "node-token").write_text(token)


# against a real server


def test_all_is_well_with_a_node_whose_agent_is_stopped(
    node: dict[str, str], server: Server, operator: Operator
) -> None:
    """Both forms of the push channel are opened with its token and heard from."""
    environment = operator.create_environment("doctor-alone")
    agent = AgentByHand(server.url)
    agent.enroll(operator.enrollment_token(environment["id"]))
    assert agent.token is not None
    give_token(node, agent.token)

    report = run_doctor(node | {"SIGNALBOX_URL": server.url})

    assert set(report.marks.values()) == {"ok", "skip"}, report.said
    assert [about for about, mark in report.marks.items() if mark == "skip"] == ["tls"]
    assert report.texts["agent"].startswith("none has run")
    assert report.texts["websocket"].startswith("opened and heard from, ws://")
    assert report.texts["event stream"].startswith("opened and heard from, http://")
    assert agent.token not in report.said
    assert report.said.isascii() is False
    assert "✔ ok" in report.said


def test_a_running_agent_is_not_disturbed(
    server: Server, operator: Operator, start_agent: StartAgent
) -> None:
    """Its channel stays the one that it is; that upgrades get through is told by the server's own 401."""
    environment = operator.create_environment("doctor-beside")
    agent = start_agent(server.url, operator.enrollment_token(environment["id"]))
    until(lambda: operator.node(agent.node_id)["push"]["connected"], what="the push channel")
    before = operator.node(agent.node_id)["push"]

    report = run_doctor(agent.settings)

    assert report.code == 0, report.said
    heard = (agent.data / "last-contact").read_text().strip()
    last = f"one is running on this data folder; the server was last heard at {heard}"
    assert report.texts["agent"] == last
    for about in ("websocket", "event stream"):
        assert "gets through to the server, not opened because the running agent" in report.texts[about]
    assert operator.node(agent.node_id)["push"] == before
    assert "link state=closed" not in agent.log.read_text()
    assert agent.stop() == 0


def test_a_node_that_has_not_enrolled_is_not_enrolled(
    node: dict[str, str], server: Server, operator: Operator
) -> None:
    """It is told that it will be, and the ways are looked at all the same."""
    environment = operator.create_environment("doctor-before")
    token = operator.enrollment_token(environment["id"])

    report = run_doctor(node | {"SIGNALBOX_URL": server.url, "SIGNALBOX_TOKEN": token})

    assert report.code == 0
    assert "will, with SIGNALBOX_TOKEN" in report.texts["token"]
    assert "because this node has no token" in report.texts["websocket"]
    assert not any(row["environmentId"] == environment["id"] for row in operator.nodes())
    assert token not in report.said
    assert os.listdir(node["SIGNALBOX_DATA_DIR"]) == []


def test_a_token_that_the_server_does_not_know_is_told_with_what_to_do(
    node: dict[str, str], server: Server
) -> None:
    """Which file to remove."""
    give_token(node, TOKEN)

    report = run_doctor(node | {"SIGNALBOX_URL": server.url})

    assert report.marks["token"] == "FAIL"
    assert str(Path(node["SIGNALBOX_DATA_DIR"]) / "node-token") in report.texts["token"]
    assert report.marks["websocket"] == "ok"


# what is wrong on the node


def test_without_settings_the_rest_waits(node: dict[str, str], tmp_path: Path) -> None:
    """And what needs none is looked at."""
    report = run_doctor({})

    assert report.marks["settings"] == "FAIL"
    assert "SIGNALBOX_URL is not set" in report.texts["settings"]
    assert report.marks["ports"] == "ok"
    assert {report.marks[about] for about in ABOUT if about not in ("settings", "ports")} == {"skip"}


def test_the_settings_of_the_service_are_read_from_their_file(node: dict[str, str], tmp_path: Path) -> None:
    """Where the shell has none; what the shell has counts more."""
    file = tmp_path / "agent.env"
    file.write_text("SIGNALBOX_URL=http://127.0.0.1:9\nSIGNALBOX_VECTOR_BIN=/nowhere\n")

    report = run_doctor(node, "--env-file", str(file))

    assert report.texts["settings"] == f"server http://127.0.0.1:9, read from {file}"
    assert report.marks["vector"] == "ok"


def test_a_settings_file_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    """One sentence and exit code 2."""
    done = subprocess.run(
        [sys.executable, "-m", "agent", "doctor", "--env-file", str(tmp_path / "none")],
        env=clean_environment(),
        cwd=PROJECT,
        text=True,
        capture_output=True,
        timeout=20,
    )

    assert done.returncode == 2
    assert done.stderr == f"cannot read the settings file {tmp_path / 'none'}: No such file or directory\n"


@pytest.mark.parametrize(
    ("folder", "mark", "part"),
    [
        ("/dev/null/data", "FAIL", "Not a directory"),
        ("/proc/self/data", "FAIL", "/proc/self"),
        ("open", "warn", "chmod 700"),
        ("new", "ok", "the agent makes it"),
    ],
)
def test_the_data_folder(node: dict[str, str], tmp_path: Path, folder: str, mark: str, part: str) -> None:
    """There or to be made, and not for others."""
    (tmp_path / "open").mkdir(mode=0o755)

    report = run_doctor(
        node | {"SIGNALBOX_URL": "http://127.0.0.1:9", "SIGNALBOX_DATA_DIR": str(tmp_path / folder)}
    )

    assert (report.marks["data folder"], part in report.texts["data folder"]) == (mark, True), report.said


@pytest.mark.parametrize(
    ("script", "part"),
    [
        (None, "SIGNALBOX_VECTOR_BIN"),
        ("echo vector 0.49.9", "too old; install 0.50"),
        ("echo hello", "no Vector"),
        ("echo vector 0.50.0; exit 3", "exit code 3"),
        ("exec sleep 30", "no version within 4 s"),
    ],
)
def test_a_vector_that_is_none(node: dict[str, str], tmp_path: Path, script: str | None, part: str) -> None:
    """Not there, too old, something else, silent."""
    vector = tmp_path / "vector"
    if script is not None:
        vector.write_text(f"#!/bin/sh\n{script}\n")
        vector.chmod(0o755)

    report = run_doctor(node | {"SIGNALBOX_URL": "http://127.0.0.1:9", "SIGNALBOX_VECTOR_BIN": str(vector)})

    assert report.marks["vector"] == "FAIL"
    assert part in report.texts["vector"]


def test_a_newer_vector_is_fine(node: dict[str, str], write_vector: WriteVector) -> None:
    """0.50 is the least, and 1.0 is more."""
    report = run_doctor(
        node | {"SIGNALBOX_URL": "http://127.0.0.1:9", "SIGNALBOX_VECTOR_BIN": write_vector("pass")}
    )

    assert report.texts["vector"].startswith("vector 0.50.0 (fake")


# what is wrong on the way


Answers = dict[str, Callable[[Peer], None]]


@pytest.fixture
def serve() -> Iterator[Callable[[Answers], str]]:
    """Starts a server that is a Signalbox but for the answers that are given; its address."""
    servers: list[WireServer] = []

    def start(answers: Answers) -> str:
        usual = {
            "/healthz": says(json.dumps({"status": "ok"})),
            CONFIG_PATH: says(json.dumps({"pipelines": []})),
            WEBSOCKET_PATH: open_websocket,
            SSE_PATH: says(": connected\n\n", Content_Type="text/event-stream"),
        }
        servers.append(WireServer(lambda peer: (usual | answers)[peer.path](peer)))
        return f"http://{servers[-1].address}"

    yield start
    for server in servers:
        server.close()


def says(body: str, status: str = "200 OK", **headers: str) -> Callable[[Peer], None]:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{lines}\r\n"
    return lambda peer: peer.send((head + body).encode())


def is_silent(peer: Peer) -> None:
    peer.wait_end()


def open_websocket(peer: Peer, first: bytes = b"\x81\x02{}") -> None:
    """The handshake's answer, and a first frame."""
    key = peer.headers["sec-websocket-key"].encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(key).digest())
    peer.send(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n" + first
    )
    peer.wait_end()


def an_hour_ago() -> str:
    return format_datetime(datetime.now(UTC) - timedelta(hours=1), usegmt=True)


@pytest.mark.parametrize(
    ("about", "path", "answer", "mark", "part"),
    [
        ("server", "/healthz", says("", "302 Found", Location="/x"), "FAIL", "set SIGNALBOX_URL to where it leads"),
        ("server", "/healthz", says("", "502 Bad Gateway"), "FAIL", "answered 502"),
        ("server", "/healthz", says("<html>sign in</html>"), "FAIL", "something else than a Signalbox"),
        ("server", "/healthz", lambda peer: None, "FAIL", "no answer"),
        ("clock", "/healthz", says('{"status": "ok"}', Date=an_hour_ago()), "FAIL", "s ahead of the server"),
        ("clock", "/healthz", says('{"status": "ok"}'), "skip", "does not say"),
        ("token", CONFIG_PATH, says('{"error": "No."}', "401 Unauthorized"), "FAIL", "node-token"),
        ("token", CONFIG_PATH, says("", "500 Oh"), "FAIL", "answered 500"),
        ("websocket", WEBSOCKET_PATH, says('{"error": "x"}', "400 Bad Request"), "FAIL", "headers out"),
        ("websocket", WEBSOCKET_PATH, says("", "400 Bad Request"), "FAIL", "answered 400"),
        ("websocket", WEBSOCKET_PATH, says('{"error": "x"}', "503 Busy"), "warn", "try again in a minute"),
        ("websocket", WEBSOCKET_PATH, lambda peer: open_websocket(peer, b""), "FAIL", "nothing comes through"),
        ("websocket", WEBSOCKET_PATH, lambda peer: None, "FAIL", "/ws: "),
        ("event stream", SSE_PATH, says("", "404 Not Found"), "FAIL", "answered 404"),
        ("event stream", SSE_PATH, is_silent, "FAIL", "nothing comes through"),
        ("event stream", SSE_PATH, says(""), "FAIL", "ends at once"),
    ],
)  # fmt: skip
def test_the_step_that_fails_is_named(
    node: dict[str, str],
    serve: Callable[[Answers], str],
    about: str,
    path: str,
    answer: Callable[[Peer], None],
    mark: str,
    part: str,
) -> None:
    """And no other one."""
    give_token(node, TOKEN)
    url = serve({path: answer})

    report = run_doctor(node | {"SIGNALBOX_URL": url})

    assert (report.marks[about], part in report.texts[about]) == (mark, True), report.said
    failed = [other for other, how in report.marks.items() if how == "FAIL"]
    assert failed == ([about] if mark == "FAIL" else [])
    assert TOKEN not in report.said


def test_an_address_of_the_push_channel_that_leads_nowhere_is_found(
    node: dict[str, str], serve: Callable[[Answers], str]
) -> None:
    """The server names it (SIGNALBOX_PUBLIC_URL there), and the agent follows."""
    give_token(node, TOKEN)
    port = ReservedPort()
    nowhere = f"ws://127.0.0.1:{port.port}/api/agent/ws"
    url = serve({CONFIG_PATH: says(json.dumps({"pipelines": [], "websocketUrl": nowhere}))})

    report = run_doctor(node | {"SIGNALBOX_URL": url})

    assert report.marks["websocket"] == "FAIL"
    assert nowhere in report.texts["websocket"]
    port.release()


def test_a_name_that_nobody_knows(node: dict[str, str]) -> None:
    """The way ends at its first step."""
    report = run_doctor(node | {"SIGNALBOX_URL": "https://nowhere.invalid"})

    assert report.marks["name"] == "FAIL"
    assert report.marks["connection"] == "skip"


def test_a_server_or_a_proxy_that_takes_no_connection(node: dict[str, str]) -> None:
    """Whichever of them it is, it is named, without the proxy's password."""
    port = ReservedPort()
    address = f"127.0.0.1:{port.port}"

    direct = run_doctor(node | {"SIGNALBOX_URL": f"http://{address}"})
    proxied = run_doctor(
        node | {"SIGNALBOX_URL": "http://signalbox.test", "HTTP_PROXY": f"http://u:hunter2@{address}"}
    )

    assert direct.marks["connection"] == proxied.marks["connection"] == "FAIL"
    assert direct.texts["connection"].startswith("the server takes no connection")
    assert proxied.texts["connection"].startswith("the proxy of HTTP_PROXY takes no connection")
    assert "hunter2" not in proxied.said
    port.release()


def test_a_certificate_of_an_unknown_authority(node: dict[str, str], tmp_path: Path) -> None:
    """Is told with the variable to set; with it, it is fine, and that it ends tomorrow is told."""
    server = WireServer(says('{"status": "ok"}'), self_signed(tmp_path))
    node |= {"SIGNALBOX_URL": f"https://{server.address}"}

    stranger = run_doctor(node)
    known = run_doctor(node | {"SIGNALBOX_CA_FILE": str(tmp_path / "cert.pem")})
    server.close()

    assert stranger.marks["tls"] == "FAIL"
    assert "SIGNALBOX_CA_FILE" in stranger.texts["tls"]
    assert stranger.marks["server"] == "skip"
    assert known.marks["tls"] == "warn"
    assert "ends in 1 days" in known.texts["tls"]
    assert known.marks["server"] == "ok"


# how it looks


def test_each_check_has_its_deadline_and_the_others_go_on() -> None:
    """Also past one that fails in a way that nobody thought of."""
    never = threading.Event()

    def hang(_facts: Facts) -> str:
        never.wait(10)
        return "late"

    def break_down(_facts: Facts) -> str:
        raise KeyError("what")

    def fail(_facts: Facts) -> str:
        raise CheckFailedError("do this")

    checks = [
        Check("slow", hang),
        Check("broken", break_down),
        Check("bad", fail),
        Check("after", lambda _facts: "never", needs=("slow", "bad")),
        Check("good", lambda _facts: "fine"),
    ]

    findings = list(examine(Facts({}, ""), checks, deadline_seconds=0.2))
    never.set()

    assert findings == [
        Finding(Mark.FAIL, "slow", "no answer within 0.2 s"),
        Finding(Mark.FAIL, "broken", "could not be looked at: KeyError: 'what'"),
        Finding(Mark.FAIL, "bad", "do this"),
        Finding(Mark.SKIP, "after", "needs slow and bad"),
        Finding(Mark.OK, "good", "fine"),
    ]


@pytest.mark.parametrize(
    ("encoding", "start"), [("utf-8", "✘ FAIL  name          ü"), ("ascii", "* FAIL  name          ?")]
)
def test_a_mark_is_a_word_too(encoding: str, start: str) -> None:
    """For terminals that cannot show the sign."""
    assert line(Finding(Mark.FAIL, "name", "ü"), encoding) == start
