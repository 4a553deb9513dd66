"""The push channel's way from a request to the hub: refuse first, then answer, then hand over (hazards 14, 16).

The same for both forms: a WebSocket, whose handshake flask-sock has answered when its view begins, and an
event stream, whose head is written here.
"""

from __future__ import annotations

import base64
import binascii
import socket as socket_module
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from flask import Request, Response, current_app, g, has_request_context, request
from simple_websocket import ConnectionClosed

from agent.protocol import CONFIG_REVISION_HEADER, PONG_GRACE_SECONDS
from app.config import Settings
from app.enrollment import AuthenticatedNode
from app.errors import InvalidInputError, UnavailableError
from app.push import meters
from app.push.connection import Connection, LoopEnd, Transport
from app.push.hub import KEEPALIVE_TURNS
from app.push.worker import Worker
from app.switchboard_process import become_worker, switchboard, worker_of_this_process

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

TCP_USER_TIMEOUT_MS = 10_000
"""A peer that acknowledges nothing for so long has vanished (hazard 17)."""
SEND_BUFFER_BYTES = 32 * 1024
"""What the kernel keeps for an agent that does not read; by itself it takes 4 MB for each (ADR 15)."""

EVENT_STREAM_HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}
STREAM_BEGINS = b": connected\n\n"
EVENT_STREAM_HEAD = (
    "HTTP/1.1 200 OK\r\n"
    + "".join(f"{name}: {value}\r\n" for name, value in EVENT_STREAM_HEADERS.items())
    + "Connection: close\r\n\r\n"
).encode() + STREAM_BEGINS


class HandOverThread:
    """flask-sock's reader thread: none where the socket is handed to the hub, a real one elsewhere."""

    def __init__(self, target: Callable[[], None]) -> None:
        self.name = "flask-sock (_thread)"
        self._thread: threading.Thread | None = None
        if not (has_request_context() and g.get("is_handed_over")):
            self._thread = threading.Thread(target=target, daemon=True)

    def start(self) -> None:
        """Start the reader, if there is to be one."""
        if self._thread is not None:
            self._thread.start()


class HandedOver(Response):
    """The response of a view whose socket is no longer gunicorn's: there is nothing left to answer."""

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """As flask-sock does it: gunicorn takes a StopIteration for the end of the connection."""
        raise StopIteration


def check_upgrade(upgrade: Request) -> None:
    """Refuse what cannot become a WebSocket, before anything else is done.

    :raises UnavailableError: this worker takes no new sockets just now.
    :raises InvalidInputError: the handshake breaks RFC 6455, section 4.2.1, or brings bytes with it.
    """
    _check_open()
    if upgrade.method != "GET":
        _refuse("A WebSocket handshake is a GET.", "method")
    if upgrade.headers.get("Sec-WebSocket-Version", "").strip() != "13":
        _refuse("The WebSocket version must be 13.", "Sec-WebSocket-Version")
    if not _is_key(upgrade.headers.get("Sec-WebSocket-Key", "")):
        _refuse("The WebSocket key must be the base64 form of 16 bytes.", "Sec-WebSocket-Key")
    _check_nothing_behind(upgrade)


def check_stream(opening: Request) -> None:
    """Refuse what cannot become an event stream; errors as ``check_upgrade``."""
    _check_open()
    if opening.method != "GET":
        _refuse("The event stream is opened with a GET.", "method")
    _check_nothing_behind(opening)


def _check_open() -> None:
    board = switchboard()
    if board.worker is None:
        # Not one of our gunicorn workers, which have theirs from the start: the development server.
        become_worker()
    if board.draining:
        meters.REFUSALS.labels("draining").inc()
        raise UnavailableError("This worker is going away; connect again.", retry_after=1)


def _check_nothing_behind(opening: Request) -> None:
    if (opening.content_length or 0) > 0 or opening.headers.get("Transfer-Encoding"):
        _refuse("Opening the push channel takes no body.", "body")
    if _bytes_behind(opening):
        _refuse("Nothing may be sent behind the request before it is answered.", "body")


def prepare(opening: Request, node: AuthenticatedNode, transport: Transport) -> None:
    """Claim the node for the channel that is about to be opened: presence first, then the answer.

    :raises UnavailableError: this worker holds as many sockets as it may.
    """
    board = switchboard()
    settings = _settings()
    assert board.hub is not None
    if len(board.hub) >= settings.max_sockets and board.hub.get(node.id) is None:
        meters.REFUSALS.labels("full").inc()
        raise UnavailableError("This worker holds as many sockets as it may.", retry_after=5)
    # No compression: it costs 100 KiB a socket, and simple-websocket would accept the offer.
    opening.environ.pop("HTTP_SEC_WEBSOCKET_EXTENSIONS", None)
    g.is_handed_over = _can_hand_over(opening.environ.get("gunicorn.socket"))
    g.connection = board.claim(
        node.id,
        node.environment_id,
        transport,
        opening.remote_addr or "",
        opening.headers.get(CONFIG_REVISION_HEADER, "").strip()[:64] or None,
    )


def hand_over(websocket: Any) -> None:
    """Give the socket, whose handshake is answered, to the hub; or serve it here where that cannot be."""
    connection: Connection = g.connection
    if not g.is_handed_over:
        g.connection = None
        _serve(websocket, connection, worker_of_this_process())
        return
    websocket.connected = False  # so that flask-sock says no goodbye when the view is left
    _detach(connection)


def open_stream() -> Response:
    """Write the stream's head and give the socket to the hub; or serve it here where that cannot be."""
    connection: Connection = g.connection
    if not g.is_handed_over:
        g.connection = None
        return Response(_stream(connection, worker_of_this_process()), headers=EVENT_STREAM_HEADERS)
    try:
        request.environ["gunicorn.socket"].sendall(EVENT_STREAM_HEAD)
    except OSError:
        return HandedOver()  # gone already; its claim is taken back when the request ends
    _detach(connection)
    return HandedOver()


def _detach(connection: Connection) -> None:
    """The view's last act. From here on nothing of gunicorn's may touch the descriptor (hazard 14)."""
    client = request.environ["gunicorn.socket"]
    try:
        client.setsockopt(socket_module.SOL_SOCKET, socket_module.SO_SNDBUF, SEND_BUFFER_BYTES)
    except OSError:
        pass  # as below
    if client.family in (socket_module.AF_INET, socket_module.AF_INET6):
        try:
            client.setsockopt(socket_module.IPPROTO_TCP, socket_module.TCP_NODELAY, 1)
            client.setsockopt(socket_module.IPPROTO_TCP, socket_module.TCP_USER_TIMEOUT, TCP_USER_TIMEOUT_MS)
        except OSError:
            pass  # reset by the peer: the hub reads its end
    connection.fd = client.detach()
    g.connection = None
    worker_of_this_process().adopt(connection)


def give_up_unless_adopted() -> None:
    """Release the claim of a channel that was never opened."""
    connection: Connection | None = g.pop("connection", None)
    if connection is not None:
        worker_of_this_process().give_up(connection)


def _serve(websocket: Any, connection: Connection, worker: Worker) -> None:
    """flask-sock's own loop, for a socket that cannot be handed over (TLS in gunicorn, the development server).

    flask-sock's thread reads and answers pings; this one writes what the hub delivers, and the keepalive.
    """

    def abort() -> None:
        try:
            websocket.sock.shutdown(socket_module.SHUT_RDWR)
        except OSError:
            pass  # gone already

    connection.loop = loop = LoopEnd(abort)
    worker.adopt(connection)
    reason = "agent closed"
    due = time.monotonic() + KEEPALIVE_TURNS["ws"]
    try:
        while websocket.connected:
            data = loop.get(min(1.0, max(0.0, due - time.monotonic())))
            if data is not None:
                websocket.sock.sendall(data)
            elif loop.is_over:
                break
            elif time.monotonic() >= due:
                websocket.pong_received = False
                websocket.sock.sendall(connection.keepalive())
                if not _is_answered(websocket, time.monotonic() + PONG_GRACE_SECONDS):
                    reason = "no pong" if websocket.connected else reason
                    break
                due = time.monotonic() + KEEPALIVE_TURNS["ws"]
    except (OSError, ConnectionClosed) as error:
        reason = f"write failed: {error}"
    finally:
        worker.lose(connection, reason)
        websocket.connected = False


def _is_answered(websocket: Any, due: float) -> bool:
    """Whether the pong came before *due*."""
    while websocket.connected and not websocket.pong_received and time.monotonic() < due:
        time.sleep(0.05)
    return bool(websocket.pong_received)


def _stream(connection: Connection, worker: Worker) -> Iterator[bytes]:
    """The event stream as a response's body, for a socket that cannot be handed over."""
    connection.loop = loop = LoopEnd(lambda: None)
    worker.adopt(connection)
    try:
        yield STREAM_BEGINS
        while True:
            data = loop.get(KEEPALIVE_TURNS["sse"])
            if data is None and loop.is_over:
                return
            yield data or connection.keepalive()
    finally:
        worker.lose(connection, "agent closed")


def _can_hand_over(client: Any) -> bool:
    """Only a plain socket: the bytes of a TLS one live in the process (look at the type, not the scheme)."""
    return client is not None and not isinstance(client, ssl.SSLSocket) and hasattr(client, "detach")


def _is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text.strip(), validate=True)) == 16
    except (binascii.Error, ValueError):
        return False


def _bytes_behind(opening: Request) -> bool:
    """Whether gunicorn has read more than the request: those bytes would be lost with its parser."""
    reader = getattr(opening.environ.get("signalbox.input"), "reader", None)
    unreader = getattr(reader, "unreader", None)
    return unreader is not None and bool(unreader.buf.getvalue())


def _refuse(sentence: str, field: str) -> None:
    meters.REFUSALS.labels("handshake").inc()
    raise InvalidInputError(sentence, [{"field": field, "message": sentence.rstrip(".")}])


def _settings() -> Settings:
    settings: Settings = current_app.extensions["settings"]
    return settings
