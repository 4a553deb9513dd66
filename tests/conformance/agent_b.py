"""Agent B, A's successors: server-sent events, logs every two seconds, taps, and more in its heartbeats."""

import http.client
import threading
import time
from typing import Any
from urllib.parse import urlsplit

from tests.conformance.go_agent import GoAgent, RefusedError
from tests.conformance.go_json import UnreadableError

HEAD_SECONDS = 15.0
LONGEST_LINE_BYTES = 256 * 1024
LONGEST_BACKOFF_SECONDS = 30.0
SHORT_SECONDS = 5.0
SHORT_STREAMS = 3
LOG_SECONDS = 2.0
TAPS_AT_ONCE = 3


class AgentB(GoAgent):
    """It polls as often as ``pollIntervalMs`` says, and waits for the next line of its stream for ever."""

    push_url = ""
    fallback_url = ""
    longest_silence = 0.0
    """Seconds between two lines of the stream."""
    tap_seconds = 1.0
    """Between two batches of a tap."""
    tap_batch = 20

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._socket: Any = None
        self._logs_lock = threading.Lock()
        self._unsent: dict[str, list[str]] = {}
        self._taps: dict[str, threading.Event] = {}
        self._began = time.monotonic()

    # the channel

    def open_channel(self, answer: dict[str, Any] | None) -> None:
        self.fallback_url = f"{self.url}/api/agent/push"
        given = (answer or {}).get("pushUrl") or ""
        self.push_url = given if given and _origin(given) == _origin(self.url) else self.fallback_url
        self._spawn(self._hold_channel)
        self._spawn(self._send_logs)

    def close_channel(self) -> None:
        for stopping in list(self._taps.values()):
            stopping.set()
        if self._socket is not None:
            try:
                self._socket.shutdown(2)
            except OSError:
                pass  # it has ended already

    def _hold_channel(self) -> None:
        backoff, short = 1.0, 0
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                self._stream()
            except (OSError, http.client.HTTPException, RefusedError) as error:
                self._failed("stream", error)
            if self.is_connected:
                self.is_connected = False
                if not self._stopping.is_set():
                    self.counts["drops"] += 1
            if time.monotonic() - began > SHORT_SECONDS:
                backoff, short = 1.0, 0
            else:
                short += 1
            if short >= SHORT_STREAMS and self.push_url != self.fallback_url:
                self.push_url, backoff, short = self.fallback_url, 1.0, 0
                self.counts["fell back"] += 1
            self._stopping.wait(backoff)
            backoff = min(2 * backoff, LONGEST_BACKOFF_SECONDS)

    def _stream(self) -> None:
        parts = urlsplit(self.push_url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=HEAD_SECONDS)
        try:
            connection.putrequest("GET", parts.path, skip_accept_encoding=True)
            connection.putheader("User-Agent", "Go-http-client/1.1")
            connection.putheader("Accept-Encoding", "gzip")
            connection.putheader("Authorization", f"Bearer {self.token}")
            connection.endheaders()
            self._socket = connection.sock
            response = connection.getresponse()
            if response.status != 200:
                raise RefusedError(response.status, response.read(1000).decode(errors="replace"))
            self._socket.settimeout(None)
            self.counts["connects"] += 1
            self.is_connected = True
            self._read(response)
        finally:
            connection.close()

    def _read(self, response: http.client.HTTPResponse) -> None:
        """Only ``data: `` with its space counts; what begins with a colon is a keepalive."""
        data: list[bytes] = []
        while not self._stopping.is_set():
            waiting = time.monotonic()
            line = response.readline(LONGEST_LINE_BYTES + 1)
            self.longest_silence = max(self.longest_silence, time.monotonic() - waiting)
            if not line or len(line) > LONGEST_LINE_BYTES:
                return
            line = line.rstrip(b"\r\n")
            if not line:
                if data:
                    self.offer(b"\n".join(data))
                data = []
            elif line.startswith(b"data: "):
                data.append(line.removeprefix(b"data: "))
            elif line.startswith(b":"):
                self.counts["comments"] += 1
            elif not line.startswith(b"event: "):
                self._failed("line", ValueError(repr(line[:80])))

    def polled(self, answer: dict[str, Any]) -> None:
        self.poll_seconds = (answer.get("pollIntervalMs") or 15_000) / 1000

    def _obey(self, message: dict[str, Any]) -> bool:
        kind = message.get("type")
        if kind == "tap_start":
            self._start_tap(message)
            return False
        if kind == "tap_stop":
            if stopping := self._taps.get(message["requestId"]):
                stopping.set()
            return False
        return super()._obey(message)

    def act(self, message: dict[str, Any]) -> bool:
        running = self.pipelines.get(message.get("pipelineId") or "")
        if message.get("action") == "restart" and running is not None:
            running.starts, running.since = running.starts + 1, time.monotonic()
            return True
        return super().act(message)

    def download(self, url: str) -> bytes:
        if urlsplit(url).scheme != "https":
            raise RefusedError(0, "download URL must use https")
        return super().download(url)

    def heartbeat_body(self) -> dict[str, Any]:
        body = super().heartbeat_body()
        for each in body["pipelines"]:
            each["configChecksum"] = self.pipelines[each["pipelineId"]].checksum
            each["utilization"] = 0.125
            for component in each.get("componentMetrics", []):
                component["latencyMeanSeconds"] = 0.0015
        return body | {
            "labels": {"os": "linux", "arch": "amd64"},
            "runningAs": "root",
            "agentHealth": {
                "pollErrorsTotal": self.counts["failed poll"],
                "pushReconnectsTotal": self.counts["drops"],
                "heartbeatErrorsTotal": self.counts["failed heartbeat"],
                "pushConnected": self.is_connected,
                "pipelinesRunning": len(body["pipelines"]),
                "uptimeSeconds": round(time.monotonic() - self._began, 3),
            },
        }

    # logs

    def say(self, pipeline_id: str, *lines: str) -> None:
        """Let a pipeline print lines: into the heartbeats, and every two seconds to ``/logs``."""
        self.pipelines[pipeline_id].said += lines
        with self._logs_lock:
            self._unsent.setdefault(pipeline_id, []).extend(lines)

    def _send_logs(self) -> None:
        while not self._stopping.wait(LOG_SECONDS):
            with self._logs_lock:
                unsent, self._unsent = self._unsent, {}
            if not unsent:
                continue
            try:
                body = [{"pipelineId": each, "lines": lines} for each, lines in unsent.items()]
                self.call("POST", "logs", body)
                self.counts["logs sent"] += 1
            except (RefusedError, UnreadableError) as error:
                self._failed("logs", error)
                with self._logs_lock:
                    for pipeline_id, lines in unsent.items():
                        self._unsent[pipeline_id] = lines + self._unsent.get(pipeline_id, [])

    # taps

    def _start_tap(self, message: dict[str, Any]) -> None:
        request_id = message["requestId"]
        if request_id in self._taps or len(self._taps) >= TAPS_AT_ONCE:
            return
        self._taps[request_id] = threading.Event()
        self._spawn(self._tap, message, self._taps[request_id])

    def _tap(self, message: dict[str, Any], stopping: threading.Event) -> None:
        head = {key: message[key] for key in ("requestId", "pipelineId", "componentId")}
        number = 0
        while not stopping.wait(self.tap_seconds):
            events = [{"message": f"event {number + each}"} for each in range(self.tap_batch)]
            number += self.tap_batch
            self._post_tap({**head, "events": events})
        self._post_tap({**head, "status": "stopped", "reason": "cancelled"})
        del self._taps[head["requestId"]]

    def _post_tap(self, body: dict[str, Any]) -> None:
        try:
            self.call("POST", "tap-events", body)
            self.counts["tap batches"] += 1
        except (RefusedError, UnreadableError) as error:
            self._failed("tap-events", error)

    @property
    def taps(self) -> int:
        """How many run now."""
        return len(self._taps)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
