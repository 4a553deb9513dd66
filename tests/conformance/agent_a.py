"""Agent A, of March 2026: a WebSocket, and a poll every fifteen seconds whatever it is told."""

import time
from typing import Any

from tests.conformance.go_agent import GoAgent
from tests.support.websocket_client import (
    CLOSE,
    PING,
    PONG,
    TEXT,
    Frame,
    WebSocketClient,
    WebSocketClientError,
)

READ_SECONDS = 45.0
LONGEST_BACKOFF_SECONDS = 30.0


class AgentA(GoAgent):
    """Its timer is changed by a pushed ``poll_interval`` only; ``pollIntervalMs`` is not looked at."""

    read_seconds = READ_SECONDS
    """Renewed by a message or a pong, not by a ping."""
    websocket_url = ""
    last_close: tuple[int | None, str] | None = None
    _socket: WebSocketClient | None = None

    def open_channel(self, answer: dict[str, Any] | None) -> None:
        self.websocket_url = (answer or {}).get("websocketUrl") or ""
        if self.websocket_url:
            self._spawn(self._hold_channel)

    def close_channel(self) -> None:
        if self._socket is not None:
            try:
                self._socket.socket.shutdown(2)
            except OSError:
                pass  # it has ended already

    def _hold_channel(self) -> None:
        backoff = 1.0
        while not self._stopping.is_set():
            try:
                self._socket = WebSocketClient.connect(self.websocket_url, self.token)
            except (OSError, WebSocketClientError) as error:
                self._failed("dial", error)
                self._stopping.wait(backoff)
                backoff = min(2 * backoff, LONGEST_BACKOFF_SECONDS)
                continue
            backoff = 1.0
            self.counts["connects"] += 1
            self.is_connected = True
            with self._socket:
                self._read(self._socket)
            self.is_connected = False
            if not self._stopping.is_set():
                self.counts["drops"] += 1  # and at once the next dial, without a pause

    def _read(self, socket: WebSocketClient) -> None:
        deadline = time.monotonic() + self.read_seconds
        while not self._stopping.is_set():
            try:
                frame = socket.read_frame(max(0.0, deadline - time.monotonic()))
                if frame.opcode in (TEXT, PONG):
                    deadline = time.monotonic() + self.read_seconds
                self._take(socket, frame)
            except TimeoutError:
                self._failed("read", TimeoutError("i/o timeout"))
                return
            except (OSError, WebSocketClientError) as error:
                if not self._stopping.is_set():
                    self.problems.append(f"channel: {error}")
                return
            if frame.opcode == CLOSE:
                return

    def _take(self, socket: WebSocketClient, frame: Frame) -> None:
        if frame.opcode == TEXT:
            self.offer(frame.payload)
        elif frame.opcode == PING:
            self.counts["pings"] += 1
            socket.send_frame(PONG, frame.payload)
        elif frame.opcode == PONG:
            self.counts["pongs"] += 1
        elif frame.opcode == CLOSE:
            self.last_close = (frame.close_code, frame.close_reason)
            socket.send_frame(CLOSE, frame.payload[:2])
