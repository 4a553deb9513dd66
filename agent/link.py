"""The push channel: one WebSocket, read by a thread of its own that only puts events on the queue.

When to connect, and when to come back, is decided in ``channel``; here is only how.
"""

from __future__ import annotations

import json
import logging
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

import websocket

from agent.api import USER_AGENT, ca_bundle, parse_retry_after
from agent.events import (
    ActionPushed,
    Event,
    LinkClosed,
    LinkOpened,
    Nudged,
    PollIntervalPushed,
    SampleRequested,
)
from agent.plan import parse_action, parse_sample_request, seconds_from_ms
from agent.protocol import (
    AGENT_INSTANCE_HEADER,
    CONFIG_REVISION_HEADER,
    READ_DEADLINE_SECONDS,
    CloseCode,
    MessageType,
)

log = logging.getLogger("agent.link")

CONNECT_SECONDS = 10.0
"""For each step of connecting and shaking hands; the whole of it is bounded by ``channel``."""
LONGEST_SPREAD_SECONDS = 3600.0


class Link:
    """Opens and closes push channels, each with a generation that its events carry."""

    def __init__(self, instance: str, put: Callable[[Event], None]) -> None:
        self._instance = instance
        self._put = put
        self._lock = threading.Lock()
        self._sockets: dict[int, websocket.WebSocket] = {}

    def open(self, generation: int, url: str, token: str, revision: str | None) -> None:
        """Connect in a new thread; becomes LinkOpened and, sooner or later, exactly one LinkClosed."""
        connection = websocket.WebSocket(
            enable_multithread=True, sockopt=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
        )
        with self._lock:
            self._sockets[generation] = connection
        thread = threading.Thread(
            target=self._live,
            args=(connection, generation, url, token, revision),
            name=f"link-{generation}",
            daemon=True,
        )
        thread.start()

    def close(self, generation: int) -> None:
        """Cut one channel; its thread says so with LinkClosed."""
        with self._lock:
            connection = self._sockets.get(generation)
        # `sock` is None until connected, and again once the thread has closed it.
        connected = connection.sock if connection is not None else None
        if connected is not None:
            try:
                connected.shutdown(socket.SHUT_RDWR)
            except OSError as error:
                log.debug("link generation=%d was down already: %s", generation, error)

    def _live(
        self, connection: websocket.WebSocket, generation: int, url: str, token: str, revision: str | None
    ) -> None:
        closed = LinkClosed(generation, "the reader has failed")
        try:
            closed = self._open_and_read(connection, generation, url, token, revision)
        except Exception:
            # Whatever was sent to us: a node without its push channel polls, one without its agent is lost.
            log.exception("cannot go on reading link generation=%d", generation)
        finally:
            with self._lock:
                del self._sockets[generation]
            connection.shutdown()  # type: ignore[no-untyped-call]  # theirs is not annotated
        self._put(closed)

    def _open_and_read(
        self, connection: websocket.WebSocket, generation: int, url: str, token: str, revision: str | None
    ) -> LinkClosed:
        try:
            self._connect(connection, url, token, revision)
            self._put(LinkOpened(generation))
            return self._read(connection, generation)
        except websocket.WebSocketBadStatusException as error:
            headers = error.resp_headers or {}
            return LinkClosed(
                generation,
                f"the server answered {error.status_code}",
                unauthorized=error.status_code == 401,
                retry_after=parse_retry_after(headers.get("retry-after")),
            )
        except websocket.WebSocketTimeoutException:
            return LinkClosed(generation, "nothing was heard in time")
        except (websocket.WebSocketException, OSError, ValueError) as error:
            return LinkClosed(generation, f"{type(error).__name__}: {error}"[:300])

    def _connect(self, connection: websocket.WebSocket, url: str, token: str, revision: str | None) -> None:
        headers = [
            f"Authorization: Bearer {token}",
            f"User-Agent: {USER_AGENT}",
            f"{AGENT_INSTANCE_HEADER}: {self._instance}",
        ]
        if revision is not None and revision.isascii() and revision.isprintable():
            headers.append(f"{CONFIG_REVISION_HEADER}: {revision}")
        if url.startswith("wss:"):
            # The same authorities as for everything else that is asked of this server.
            connection.sock_opt.sslopt = {"ca_certs": ca_bundle()}
        # Without redirects: the token goes to the address that the server named and nowhere else.
        connection.connect(  # type: ignore[no-untyped-call]  # theirs is not annotated
            url, header=headers, suppress_origin=True, redirect_limit=0, timeout=CONNECT_SECONDS
        )
        connection.settimeout(READ_DEADLINE_SECONDS)

    def _read(self, connection: websocket.WebSocket, generation: int) -> LinkClosed:
        """Read until the channel ends. Every read, of a ping too, renews the deadline."""
        while True:
            opcode, frame = connection.recv_data_frame(control_frame=True)
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                code, reason = parse_close(frame.data)
                return LinkClosed(generation, "closed by the server", code, reason)
            if opcode == websocket.ABNF.OPCODE_TEXT:
                event = understand(frame.data)
                if event is not None:
                    self._put(event)


def understand(data: bytes) -> Event | None:
    """The event that a text frame means; ``None``, and a line in the log, for what this agent does not know."""
    try:
        message = json.loads(data)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        log.warning("ignored a push message that is no JSON object")
        return None
    event = _event_of(message)
    if event is None:
        log.warning("ignored a push message type=%r", str(message.get("type"))[:100])
    return event


def _event_of(message: dict[str, Any]) -> Event | None:
    match message.get("type"):
        case MessageType.CONFIG_CHANGED:
            reason, pipeline_id = message.get("reason"), message.get("pipelineId")
            return Nudged(
                reason=reason[:100] if isinstance(reason, str) else None,
                pipeline_id=pipeline_id[:100] if isinstance(pipeline_id, str) else None,
                spread_seconds=_spread_seconds(message.get("spreadMs")),
            )
        case MessageType.POLL_INTERVAL:
            seconds = seconds_from_ms(message.get("intervalMs"), 0.0)
            return PollIntervalPushed(seconds) if seconds else None
        case MessageType.ACTION:
            action = parse_action(message)
            if action is None and message.get("action") == "restart":
                # Older servers send no id; without one it can only mean: look.
                return Nudged(reason="restart")
            return ActionPushed(action) if action is not None else None
        case MessageType.SAMPLE_REQUEST:
            request = parse_sample_request(message)
            return SampleRequested(request) if request is not None else None
    # tap_start and tap_stop are among what this agent does not do.
    return None


def parse_close(data: bytes) -> tuple[int | None, str]:
    """Code and reason of a close frame; no code where there was none."""
    if len(data) < 2:
        return None, ""
    code = struct.unpack("!H", data[:2])[0]
    known = CloseCode(code) if code in set(CloseCode) else code
    return known, data[2:].decode("utf-8", "replace")


def _spread_seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return 0.0
    return min(value / 1000, LONGEST_SPREAD_SECONDS)
