"""The push channel, in either form, read by a thread of its own that only puts events on the queue.

When to connect, in which form, and when to come back, is decided in ``channel``; here is only how.
"""

from __future__ import annotations

import json
import logging
import struct
import threading
from collections.abc import Callable
from typing import Any, Protocol

import requests
import websocket
from urllib3.exceptions import HTTPError, ReadTimeoutError

from agent.actions import OpenLink
from agent.event_stream import BrokenStreamError, EventStreamParser
from agent.events import (
    ActionPushed,
    Event,
    LinkClosed,
    LinkOpened,
    Nudged,
    PollIntervalPushed,
    SampleRequested,
    TapRequested,
    TapStopRequested,
)
from agent.plan import parse_action, parse_sample_request, seconds_from_ms
from agent.protocol import (
    AGENT_INSTANCE_HEADER,
    CLOSE_EVENT,
    CONFIG_REVISION_HEADER,
    READ_DEADLINE_SECONDS,
    CloseCode,
    MessageType,
    Transport,
)
from agent.session import (
    CONNECT_SECONDS,
    USER_AGENT,
    Attempt,
    connect,
    open_session,
    parse_retry_after,
    root_cause,
)

log = logging.getLogger("agent.link")

LONGEST_SPREAD_SECONDS = 3600.0
STREAM_READ_BYTES = 16 * 1024

Put = Callable[[Event], None]


class Link:
    """Opens and closes push channels, each with a generation that its events carry.

    ``read_seconds`` is how long a channel may be silent.
    """

    def __init__(self, instance: str, put: Put, read_seconds: float = READ_DEADLINE_SECONDS) -> None:
        self._instance = instance
        self._put = put
        self._read_seconds = read_seconds
        self._lock = threading.Lock()
        self._connections: dict[int, _Connection] = {}

    def open(self, opening: OpenLink, token: str) -> None:
        """Connect in a new thread; becomes LinkOpened and, sooner or later, exactly one LinkClosed.

        Each step of connecting and shaking hands may take CONNECT_SECONDS; the whole of it is bounded by
        ``channel``.
        """
        headers = self._headers(opening.revision)
        make = _EventStream if opening.transport is Transport.SSE else _WebSocket
        connection = make(opening.generation, opening.url, token, headers, self._read_seconds)
        with self._lock:
            self._connections[opening.generation] = connection
        threading.Thread(
            target=self._live,
            args=(connection, opening.generation),
            name=f"link-{opening.generation}",
            daemon=True,
        ).start()

    def close(self, generation: int) -> None:
        """Cut one channel; its thread says so with LinkClosed."""
        with self._lock:
            connection = self._connections.get(generation)
        if connection is not None:
            connection.cut()

    def _live(self, connection: _Connection, generation: int) -> None:
        closed = LinkClosed(generation, "the reader has failed")
        try:
            closed = connection.open_and_read(self._put)
        except Exception:
            # Whatever was sent to us: a node without its push channel polls, one without its agent is lost.
            log.exception("cannot go on reading link generation=%d", generation)
        finally:
            with self._lock:
                del self._connections[generation]
        self._put(closed)

    def _headers(self, revision: str | None) -> dict[str, str]:
        headers = {"User-Agent": USER_AGENT, AGENT_INSTANCE_HEADER: self._instance}
        if revision is not None and revision.isascii() and revision.isprintable():
            headers[CONFIG_REVISION_HEADER] = revision
        return headers


class _Connection(Protocol):
    """One attempt at a push channel, and the channel that may come of it."""

    def open_and_read(self, put: Put) -> LinkClosed:
        """Live it to its end in this thread."""

    def cut(self) -> None:
        """End it from another thread."""


class _WebSocket:
    """The push channel as a WebSocket."""

    def __init__(
        self, generation: int, url: str, token: str, headers: dict[str, str], read_seconds: float
    ) -> None:
        self._generation = generation
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}", **headers}
        self._read_seconds = read_seconds
        self._websocket = websocket.WebSocket(enable_multithread=True)
        self._attempt = Attempt()

    def cut(self) -> None:
        self._attempt.cut()

    def open_and_read(self, put: Put) -> LinkClosed:
        generation = self._generation
        try:
            self._connect()
            put(LinkOpened(generation))
            return self._read(put)
        except websocket.WebSocketBadStatusException as error:
            return _refused(generation, error.status_code, (error.resp_headers or {}).get("retry-after"))
        except websocket.WebSocketTimeoutException:
            return LinkClosed(generation, "nothing was heard in time")
        except (websocket.WebSocketException, HTTPError, OSError, ValueError) as error:
            return LinkClosed(generation, root_cause(error), unreachable=not self._attempt.is_connected)
        finally:
            self._websocket.shutdown()  # type: ignore[no-untyped-call]  # theirs is not annotated

    def _connect(self) -> None:
        connected = connect(self._url, self._attempt, CONNECT_SECONDS)
        # Without redirects: the token goes to the address that the server named and nowhere else.
        self._websocket.connect(  # type: ignore[no-untyped-call]  # theirs is not annotated
            self._url,
            header=[f"{name}: {value}" for name, value in self._headers.items()],
            suppress_origin=True,
            redirect_limit=0,
            timeout=CONNECT_SECONDS,
            socket=connected,
        )
        self._websocket.settimeout(self._read_seconds)

    def _read(self, put: Put) -> LinkClosed:
        """Read until the channel ends. Every read, of a ping too, renews the deadline."""
        while True:
            opcode, frame = self._websocket.recv_data_frame(control_frame=True)
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                code, reason = parse_close(frame.data)
                return LinkClosed(self._generation, "closed by the server", code, reason)
            if opcode == websocket.ABNF.OPCODE_TEXT:
                event = understand(frame.data)
                if event is not None:
                    put(event)


class _EventStream:
    """The push channel as server-sent events."""

    def __init__(
        self, generation: int, url: str, token: str, headers: dict[str, str], read_seconds: float
    ) -> None:
        self._generation = generation
        self._url = url
        self._token = token
        # Uncompressed, as it comes: what is packed waits until there is enough of it.
        self._headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity", **headers}
        self._headers["Cache-Control"] = "no-cache"
        self._read_seconds = read_seconds
        self._attempt = Attempt()

    def cut(self) -> None:
        self._attempt.cut()

    def open_and_read(self, put: Put) -> LinkClosed:
        generation = self._generation
        try:
            with (
                open_session(self._attempt, self._token) as session,
                # Without redirects, as above.
                session.get(
                    self._url,
                    headers=self._headers,
                    timeout=(CONNECT_SECONDS, min(CONNECT_SECONDS, self._read_seconds)),
                    allow_redirects=False,
                    stream=True,
                ) as answer,
            ):
                if answer.status_code != 200:
                    return _refused(generation, answer.status_code, answer.headers.get("Retry-After"))
                _check_is_stream(answer)
                return self._read(answer, put)
        except (requests.Timeout, ReadTimeoutError, TimeoutError):
            is_reached = self._attempt.is_connected
            return LinkClosed(generation, "nothing was heard in time", unreachable=not is_reached)
        except (requests.RequestException, HTTPError, BrokenStreamError, OSError, ValueError) as error:
            return LinkClosed(generation, root_cause(error), unreachable=not self._attempt.is_connected)

    def _read(self, answer: requests.Response, put: Put) -> LinkClosed:
        """Read until the stream ends. Every read, of a comment too, renews the deadline."""
        parser = EventStreamParser()
        is_open = False
        while data := answer.raw.read1(STREAM_READ_BYTES, decode_content=False):
            if not is_open:
                # The head alone says little: what buffers streams lets it pass, and then nothing.
                is_open = True
                self._attempt.set_read_deadline(self._read_seconds)
                put(LinkOpened(self._generation))
            for name, text in parser.feed(data):
                if name == CLOSE_EVENT:
                    code, reason = parse_close_event(text)
                    return LinkClosed(self._generation, "closed by the server", code, reason)
                event = understand(text, name)
                if event is not None:
                    put(event)
        return LinkClosed(self._generation, "the stream has ended")


def understand(data: bytes, type: str | None = None) -> Event | None:
    """The event that a message means; ``None``, and a line in the log, for what this agent does not know.

    ``type`` is the name under which an event stream sent it, for a message that does not say its type.
    """
    try:
        message = json.loads(data)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        log.warning("ignored a push message that is no JSON object")
        return None
    message.setdefault("type", type)
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
        case MessageType.TAP_START:
            request_id, pipeline_id, component_id = (
                message.get(name) for name in ("requestId", "pipelineId", "componentId")
            )
            if isinstance(request_id, str) and isinstance(pipeline_id, str) and isinstance(component_id, str):
                return TapRequested(request_id, pipeline_id, component_id)
        case MessageType.TAP_STOP:
            request_id = message.get("requestId")
            return TapStopRequested(request_id) if isinstance(request_id, str) else None
    return None


def parse_close(data: bytes) -> tuple[int | None, str]:
    """Code and reason of a close frame; no code where there was none."""
    if len(data) < 2:
        return None, ""
    return _known(struct.unpack("!H", data[:2])[0]), data[2:].decode("utf-8", "replace")


def parse_close_event(data: bytes) -> tuple[int | None, str]:
    """Code and reason of an event stream's last event; no code where there was none."""
    try:
        message = json.loads(data)
    except (ValueError, RecursionError):
        message = None
    fields = message if isinstance(message, dict) else {}
    code, reason = fields.get("code"), fields.get("reason")
    return (
        _known(code) if isinstance(code, int) and not isinstance(code, bool) else None,
        reason[:100] if isinstance(reason, str) else "",
    )


def _known(code: int) -> int:
    return CloseCode(code) if code in set(CloseCode) else code


def _refused(generation: int, status: int, retry_after: str | None) -> LinkClosed:
    return LinkClosed(
        generation,
        f"the server answered {status}",
        unauthorized=status == 401,
        retry_after=parse_retry_after(retry_after),
    )


def _check_is_stream(answer: requests.Response) -> None:
    """BrokenStreamError for a page that somebody on the way has put in the place of the stream."""
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    encoding = answer.headers.get("Content-Encoding", "identity").strip().lower()
    if kind != "text/event-stream" or encoding != "identity":
        raise BrokenStreamError(f"the answer is no event stream: {kind[:100]!r}, {encoding[:100]!r}")


def _spread_seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return 0.0
    return min(value / 1000, LONGEST_SPREAD_SECONDS)
