"""The load programs build, and what they count is so."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bench import load
from tests.support.until import until
from tests.support.websocket_client import PING, TEXT, accept_for

NUDGE = json.dumps({"type": "config_changed", "reason": "deploy"}).encode()


def frame(opcode: int, payload: bytes) -> bytes:
    return bytes([0x80 | opcode, len(payload)]) + payload


class SmallServer(ThreadingHTTPServer):
    """Upgrades with a token that begins with `good`, and answers of which each is counted."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.open: list[Handler] = []
        self.pongs: list[bytes] = []
        self.addresses: set[str] = set()
        self.asked: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # clients go without a word


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: SmallServer

    def do_GET(self) -> None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.path != "/ws":
            self.server.asked.append(token)
            body = b"x" * 1000
            self.send_response(304 if "If-None-Match" in self.headers else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if "If-None-Match" not in self.headers:
                self.wfile.write(body)
            return
        if not token.startswith("good"):
            self.send_response(401)
            self.send_header("Content-Length", "0")
            self.send_header("Connection", "close")
            self.end_headers()
            self.close_connection = True
            return
        self.server.addresses.add(self.client_address[0])
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", accept_for(self.headers["Sec-WebSocket-Key"]))
        self.end_headers()
        self.wfile.write(frame(PING, b"are you there"))
        self.server.open.append(self)
        head = self.rfile.read(6)
        self.server.pongs.append(self.rfile.read(head[1] & 0x7F))
        self.rfile.read(1)  # until the client goes
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module", autouse=True)
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Built from their sources, warnings being errors."""
    folder = tmp_path_factory.mktemp("client")
    load.build(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load, "BUILT", folder)
        yield


@pytest.fixture
def server() -> Iterator[SmallServer]:
    running = SmallServer()
    yield running
    running.shutdown()
    running.server_close()


def test_channels_are_counted_told_apart_and_opened_again(server: SmallServer) -> None:
    """Open, refused, heard, fetched, lost and back: each number is what the server saw."""
    port = server.server_address[1]
    tokens = [f"good-{number}" for number in range(6)] + ["bad"]
    with load.Crowd([f"ws://127.0.0.1:{port}/ws"], tokens) as crowd:
        state = crowd.connect(at_once=3, seconds=20)
        assert (state.open, state.refused, state.statuses) == (6, 1, {401: 1})
        assert len(server.addresses) == 6, "ports of one address run out, so each link has another"
        until(lambda: len(server.pongs) == 6, what="the pongs")
        assert set(server.pongs) == {b"are you there"}

        crowd.fetch_when_nudged(port, 2, "/config")
        for held in server.open[:4]:
            held.wfile.write(frame(TEXT, NUDGE))
        server.open[4].wfile.write(frame(TEXT, b'{"type": "poll_interval"}'))
        state = crowd.wait("fetched", 4, 20)
        assert (state.heard, state.messages, state.fetched, state.fetch_failures) == (4, 4, 4, 0)
        assert len(set(server.asked)) == 4
        heard, fetched = crowd.dump("first"), crowd.dump("fetched")
        assert sum(bool(at) for at in heard) == 4
        assert all(later > at for at, later in zip(heard, fetched, strict=True) if at)

        crowd.forget()
        assert crowd.state().heard == 0
        crowd.reconnect(0.05)
        server.open[0].wfile.write(frame(8, (1001).to_bytes(2, "big") + b"too many"))
        server.open[1].close_connection = True
        server.open[1].connection.shutdown(2)
        crowd.wait("lost", 2, 20)
        state = crowd.wait("open", 6, 20)
        assert (state.lost, state.open, state.goodbyes, state.cut) == (2, 6, {0: 1, 1001: 1}, 1)


def test_requests_are_answered_once_each_and_counted(server: SmallServer) -> None:
    """So many passes over the requests, over kept connections, with every status."""
    url = f"http://127.0.0.1:{server.server_address[1]}"
    plain = b"GET /config HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer one\r\n\r\n"
    known = b'GET /config HTTP/1.1\r\nHost: here\r\nIf-None-Match: "it"\r\n\r\n'

    done = load.drive(url, [plain, known, plain], connections=2, seconds=20, passes=4)

    assert done.statuses == {200: 8, 304: 4}
    assert (done.counted, done.answers) == (12, [200, 304, 200])
    assert len(server.asked) == 12
    assert 0 < done.p50_ms <= done.p99_ms
    assert done.rate > 0


def test_a_program_that_cannot_be_built_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No compiler: one sentence that says what to run."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(load.LoadError, match=r"cannot build crowd: .*sh tools/bootstrap.sh bench"):
        load.build(tmp_path / "built")
