"""A server that says what a test wants it to: real HTTP and real WebSockets on a free port of loopback."""

import base64
import hashlib
import json
import socket
import struct
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.until import PATIENCE_SECONDS, until

JSON = dict[str, Any]


def pipeline_entry(
    pipeline_id: str = "p1", version: int = 1, checksum: str | None = None, **more: Any
) -> JSON:
    """An entry of `pipelines`; the checksum follows the YAML unless it is given."""
    yaml = more.pop("config_yaml", "sources: {in: {type: demo_logs}}\n")
    return {
        "pipelineId": pipeline_id,
        "pipelineName": f"name-{pipeline_id}",
        "version": version,
        "configYaml": yaml,
        "checksum": checksum or hashlib.sha256(yaml.encode()).hexdigest(),
        **more,
    }


class Socket:
    """The server's end of one push channel."""

    def __init__(self, connected: socket.socket, headers: dict[str, str]) -> None:
        self._connected = connected
        self.headers = headers
        self.is_closed = threading.Event()

    def send(self, message: JSON) -> None:
        self._frame(0x1, json.dumps(message).encode())

    def ping(self) -> None:
        self._frame(0x9, b"")

    def close(self, code: int, reason: str) -> None:
        self._frame(0x8, struct.pack("!H", code) + reason.encode())

    def drop(self) -> None:
        """End the connection without a word."""
        self._connected.shutdown(socket.SHUT_RDWR)

    def _frame(self, opcode: int, payload: bytes) -> None:
        assert len(payload) < 0x10000
        length = bytes([len(payload)]) if len(payload) < 126 else b"\x7e" + struct.pack("!H", len(payload))
        self._connected.sendall(bytes([0x80 | opcode]) + length + payload)


class ScriptedServer:
    """Everything that an agent may ask, answered from attributes that a test may set at any time."""

    def __init__(self) -> None:
        self.pipelines: list[JSON] = []
        self.more_config: JSON = {}
        """Laid over the usual config answer."""
        self.answer_config: Callable[[BaseHTTPRequestHandler], bool] | None = None
        """Called first for each config request; true if it has answered."""
        self.enroll_status = 200
        self.heartbeat_status = 200
        self.socket_status = 101
        self.enrollments: list[JSON] = []
        self.heartbeats: list[JSON] = []
        self.samples: list[JSON] = []
        self.samples_status = 200
        self.tap_events: list[JSON] = []
        self.tap_status = 200
        self.tap_tries = 0
        self.answers_taps = threading.Event()
        """While it is not set, nobody hears what became of posted tap events."""
        self.answers_taps.set()
        self.files: dict[str, bytes] = {}
        """What other paths answer; a value that begins with `http` is a redirect."""
        self.downloads: list[str] = []
        self.sends_files = threading.Event()
        """While it is not set, a file stops in the middle."""
        self.sends_files.set()
        self.config_requests: list[dict[str, str]] = []
        self.sockets: list[Socket] = []
        self.node_token = "sbx_node_n1_" + "0" * 64
        self._server: ThreadingHTTPServer | None = None
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> "ScriptedServer":
        """Listen; on the same port again after `stop`."""
        scripted = self

        class Handler(_Handler):
            server_script = scripted

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """An agent that was killed in the middle of a request is no news here."""

        self._server = Server(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Refuse connections and drop those that are."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        for open_socket in self.sockets:
            if not open_socket.is_closed.is_set():
                try:
                    open_socket.drop()
                except OSError:
                    continue

    def config(self) -> JSON:
        revision = hashlib.sha256(json.dumps(self.pipelines).encode()).hexdigest()[:16]
        return {
            "pipelines": self.pipelines,
            "pollIntervalMs": 15000,
            "idlePollIntervalMs": 300000,
            "heartbeatIntervalMs": 500,
            "idleHeartbeatIntervalMs": 500,
            "websocketUrl": f"ws://127.0.0.1:{self._port}/api/agent/ws",
            "secretBackend": "BUILTIN",
            "configRevision": revision,
            **self.more_config,
        }

    def nudge(self, reason: str = "deploy", **more: Any) -> None:
        """Push `config_changed` over the newest channel."""
        self.socket().send({"type": "config_changed", "reason": reason, **more})

    def deploy(self, *pipelines: JSON) -> None:
        """Want exactly these, and say so."""
        self.pipelines = list(pipelines)
        self.nudge()

    def socket(self, number: int = -1) -> Socket:
        """The newest open channel, or the one with this number; waits for it."""
        if number < 0:
            until(lambda: self.sockets and not self.sockets[-1].is_closed.is_set(), what="a push channel")
        else:
            until(lambda: len(self.sockets) > number, what=f"push channel {number}")
        return self.sockets[number]

    def heartbeat_where(self, accept: Callable[[JSON], bool], seconds: float = PATIENCE_SECONDS) -> JSON:
        """The first heartbeat from now on that `accept` takes."""
        __tracebackhide__ = True
        first = len(self.heartbeats)

        def find() -> JSON | None:
            return next((body for body in self.heartbeats[first:] if accept(body)), None)

        try:
            return until(find, seconds=seconds)
        except AssertionError as error:
            raise AssertionError(f"no such heartbeat; the last was {self.heartbeats[-1:]}") from error

    def pipeline_where(
        self, accept: Callable[[JSON], bool], pipeline_id: str = "p1", seconds: float = PATIENCE_SECONDS
    ) -> JSON:
        """What the first heartbeat says about a pipeline once `accept` takes it."""

        def find(body: JSON) -> list[JSON]:
            return [p for p in body["pipelines"] if p["pipelineId"] == pipeline_id and accept(p)]

        return find(self.heartbeat_where(lambda body: bool(find(body)), seconds))[0]

    def running(
        self, pipeline_id: str = "p1", version: int | None = None, seconds: float = PATIENCE_SECONDS
    ) -> JSON:
        """What is said about a pipeline once it runs (this version)."""
        return self.pipeline_where(
            lambda p: p["status"] == "RUNNING" and version in (None, p["version"]), pipeline_id, seconds
        )


class _Handler(BaseHTTPRequestHandler):
    server_script: ScriptedServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """The agent's own log tells more."""

    def do_GET(self) -> None:
        script = self.server_script
        if self.path == "/api/agent/ws":
            self._push_channel()
        elif self.path == "/api/agent/config":
            script.config_requests.append(dict(self.headers))
            if script.answer_config is not None and script.answer_config(self):
                return
            body = script.config()
            etag = f'"{hashlib.sha256(json.dumps(body).encode()).hexdigest()[:16]}"'
            if self.headers.get("If-None-Match") == etag:
                self.answer(304)
            else:
                self.answer(200, body, {"ETag": etag})
        elif self.path in script.files:
            self._send_file(script.files[self.path])

    def _send_file(self, content: bytes) -> None:
        script = self.server_script
        assert "Authorization" not in self.headers, "the node's token is nobody else's business"
        script.downloads.append(self.path)
        if content.startswith(b"http"):
            self.raw(302, b"", {"Location": content.decode()})
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        half = len(content) // 2
        self.wfile.write(content[:half])
        self.wfile.flush()
        script.sends_files.wait(30)
        self.wfile.write(content[half:])

    def do_POST(self) -> None:
        script = self.server_script
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/api/agent/enroll":
            script.enrollments.append(body)
            answer = {"nodeId": "n1", "nodeToken": script.node_token, "environmentId": "e1"}
            self.answer(script.enroll_status, answer if script.enroll_status == 200 else {"error": "refused"})
        elif self.path == "/api/agent/heartbeat":
            if script.heartbeat_status == 200:
                script.heartbeats.append(body)
            self.answer(script.heartbeat_status, {"ok": True})
        elif self.path == "/api/agent/samples":
            if script.samples_status == 200:
                script.samples.append(body)
            self.answer(script.samples_status, {"ok": True})
        elif self.path == "/api/agent/tap-events":
            script.tap_tries += 1
            script.answers_taps.wait(30)
            if script.tap_status == 200:
                script.tap_events.append(body)
            self.answer(script.tap_status, {"ok": True})

    def answer(self, status: int, body: JSON | None = None, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(body).encode() if body is not None else b""
        self.raw(status, content, headers)

    def raw(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _push_channel(self) -> None:
        script = self.server_script
        if script.socket_status != 101:
            self.answer(script.socket_status, {"error": "not now"}, {"Retry-After": "1"})
            self.close_connection = True
            return
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header(
            "Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        )
        self.end_headers()
        self.wfile.flush()
        channel = Socket(self.connection, {k.lower(): v for k, v in self.headers.items()})
        script.sockets.append(channel)
        try:
            # What the agent says is of no interest, only that it is there.
            while self.connection.recv(4096):
                continue
        except OSError:
            return
        finally:
            channel.is_closed.set()
            self.close_connection = True
