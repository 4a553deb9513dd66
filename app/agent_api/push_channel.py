"""The push channel's way from a request to the hub: refuse first, then answer, then hand over (hazards 14, 16).

The same for both forms, a WebSocket and an event stream: the head of the answer is written here. Where the socket
cannot be handed over flask-sock answers the handshake, and the channel is served by its view (``own_loop``).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import socket as socket_module
import ssl
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from flask import Request, Response, after_this_request, current_app, g, has_request_context, request
from sqlalchemy.exc import SQLAlchemyError

from agent.protocol import AGENT_INSTANCE_HEADER, CONFIG_REVISION_HEADER
from app.agent_api import own_loop
from app.agent_api.returned import was_counted
from app.config import Settings
from app.errors import InvalidInputError, TooManyRequestsError, UnauthorizedError, UnavailableError
from app.node_identity import AuthenticatedNode
from app.push import meters
from app.push.claims import HeldOffError
from app.push.connection import Connection, Transport
from app.push.switchboard import new_connection
from app.switchboard_process import become_worker, switchboard, worker_of_this_process
from app.upgrade_rate import UpgradeRate

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

INSTANCE = re.compile(r"[0-9A-Za-z._:-]{1,64}")
"""What an agent may call a run of its own; anything else counts as not said."""

TCP_USER_TIMEOUT_MS = 10_000
"""A peer that acknowledges nothing for so long has vanished (hazard 17)."""
SEND_BUFFER_BYTES = 32 * 1024
"""What the kernel keeps for an agent that does not read; by itself it takes 4 MB for each (ADR 11)."""

HANDSHAKE_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
HANDSHAKE_HEAD = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
)

EVENT_STREAM_HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}
EVENT_STREAM_HEAD = (
    "HTTP/1.1 200 OK\r\n"
    + "".join(f"{name}: {value}\r\n" for name, value in EVENT_STREAM_HEADERS.items())
    + "Connection: close\r\n\r\n"
).encode() + own_loop.STREAM_BEGINS


class ReaderThread:
    """flask-sock's reader thread: none for the push channel, whose bytes the hub or the channel's own loop reads."""

    def __init__(self, target: Callable[[], None]) -> None:
        self.name = "flask-sock (_thread)"
        self._thread: threading.Thread | None = None
        if not (has_request_context() and g.get("connection")):
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
    """Refuse what cannot become a WebSocket, before anything else is done and anybody else is asked.

    The order of all refusals: draining, handshake, rate; token; full; damped, duel. Each is counted.

    :raises UnavailableError: this worker takes no new sockets just now, or no more of them.
    :raises InvalidInputError: the handshake breaks RFC 6455, section 4.2.1, or brings bytes with it.
    """
    _check_open()
    if upgrade.method != "GET" or upgrade.environ.get("SERVER_PROTOCOL") == "HTTP/1.0":
        _refuse("A WebSocket handshake is a GET of HTTP/1.1.", "method")
    if not upgrade.headers.get("Host", "").strip():
        _refuse("A WebSocket handshake names its host.", "Host")
    if upgrade.headers.get("Sec-WebSocket-Version", "").strip() != "13":
        after_this_request(_name_the_version)
        _refuse("The WebSocket version must be 13.", "Sec-WebSocket-Version")
    if not is_key(upgrade.headers.get("Sec-WebSocket-Key", "")):
        _refuse("The WebSocket key must be the base64 form of 16 bytes.", "Sec-WebSocket-Key")
    _check_nothing_behind(upgrade)
    _check_rate()


def check_stream(opening: Request) -> None:
    """Refuse what cannot become an event stream; errors as ``check_upgrade``."""
    _check_open()
    if opening.method != "GET":
        _refuse("The event stream is opened with a GET.", "method")
    _check_nothing_behind(opening)
    _check_rate()


def _check_open() -> None:
    board = switchboard()
    if board.worker is None:
        # Not one of our gunicorn workers, which have theirs from the start: the development server.
        become_worker()
    if board.draining:
        meters.REFUSALS.labels("draining").inc()
        raise UnavailableError("This worker is going away; connect again.", retry_after=1)


def _check_rate() -> None:
    """Before the token: a herd must not cost a look into the database each (hazard 29)."""
    if was_counted(request.environ.get("gunicorn.socket")):
        return
    rate: UpgradeRate = current_app.extensions["upgrade_rate"]
    seconds = rate.retry_after()
    if seconds is not None:
        meters.REFUSALS.labels("rate").inc()
        raise UnavailableError(
            f"More agents connect to this worker than it takes a second; try again in {seconds} s.",
            retry_after=seconds,
        )


def counted(check: Callable[[], AuthenticatedNode]) -> AuthenticatedNode:
    """What *check* makes of the token; a refusal is counted among the upgrades'."""
    try:
        return check()
    except UnauthorizedError:
        meters.REFUSALS.labels("token").inc()
        raise
    except TooManyRequestsError:
        meters.REFUSALS.labels("failures").inc()
        raise
    except (SQLAlchemyError, UnavailableError):
        meters.REFUSALS.labels("database").inc()
        raise


def _check_nothing_behind(opening: Request) -> None:
    if (opening.content_length or 0) > 0 or opening.headers.get("Transfer-Encoding"):
        _refuse("Opening the push channel takes no body.", "body")
    if _bytes_behind(opening):
        _refuse("Nothing may be sent behind the request before it is answered.", "body")


def prepare(opening: Request, node: AuthenticatedNode, transport: Transport) -> None:
    """Claim the node for the channel that is about to be opened: presence first, then the answer.

    :raises UnavailableError: this worker holds as many sockets as it may, or the node is held off.
    """
    board = switchboard()
    settings = _settings()
    assert board.hub is not None
    if len(board.hub) >= settings.max_sockets and board.hub.get(node.id) is None:
        meters.REFUSALS.labels("full").inc()
        raise UnavailableError("This worker holds as many sockets as it may.", retry_after=5)
    g.is_handed_over = _can_hand_over(opening.environ.get("gunicorn.socket"))
    instance = opening.headers.get(AGENT_INSTANCE_HEADER, "").strip()
    connection = new_connection(
        node.id,
        node.environment_id,
        transport,
        opening.remote_addr or "",
        opening.headers.get(CONFIG_REVISION_HEADER, "").strip()[:64] or None,
        instance if INSTANCE.fullmatch(instance) else None,
    )
    try:
        board.claim(connection)
    except HeldOffError as error:
        meters.REFUSALS.labels(error.reason).inc()
        raise UnavailableError(error.sentence, retry_after=error.retry_after) from error
    g.connection = connection
    _check_open()  # again, since the claim has waited: nobody accepts who then closes
    if transport == "ws" and not g.is_handed_over:
        opening.environ = _only_the_handshake(opening.environ)


def hand_over() -> Response | None:
    """Answer the handshake and give the socket to the hub; ``None`` where that cannot be.

    Not by flask-sock, which parses the request a second time and takes as long for it as the first parser and Flask's
    routing together. What it would check ``check_upgrade`` has checked (RFC 6455, section 4.2.2).
    """
    if not g.is_handed_over:
        return None
    connection: Connection = g.connection
    try:
        request.environ["gunicorn.socket"].sendall(
            handshake_answer(request.headers["Sec-WebSocket-Key"].strip().encode())
        )
    except OSError:
        return HandedOver()  # gone already; its claim is taken back when the request ends
    _detach(connection)
    return HandedOver()


def handshake_answer(key: bytes) -> bytes:
    """The ``101`` to a handshake with that ``Sec-WebSocket-Key``."""
    accept = base64.b64encode(hashlib.sha1(key + HANDSHAKE_GUID, usedforsecurity=False).digest())
    return HANDSHAKE_HEAD + accept + b"\r\n\r\n"


def serve(websocket: Any) -> None:
    """Serve the channel, whose handshake flask-sock has answered, here: its socket cannot be handed over."""
    connection: Connection = g.connection
    websocket.connected = False  # so that flask-sock says no goodbye when the view is left
    g.connection = None
    bound(websocket.sock)
    own_loop.serve(websocket.sock, connection, worker_of_this_process())


def open_stream() -> Response:
    """Write the stream's head and give the socket to the hub; or serve it here where that cannot be."""
    connection: Connection = g.connection
    if not g.is_handed_over:
        g.connection = None
        bound(request.environ.get("gunicorn.socket") or request.environ.get("werkzeug.socket"))
        return Response(own_loop.stream(connection, worker_of_this_process()), headers=EVENT_STREAM_HEADERS)
    try:
        request.environ["gunicorn.socket"].sendall(EVENT_STREAM_HEAD)
    except OSError:
        return HandedOver()  # gone already; its claim is taken back when the request ends
    _detach(connection)
    return HandedOver()


def _detach(connection: Connection) -> None:
    """The view's last act. From here on nothing of gunicorn's may touch the descriptor (hazard 14)."""
    client = request.environ["gunicorn.socket"]
    bound(client)
    connection.fd = client.detach()
    g.connection = None
    worker_of_this_process().adopt(connection)


def bound(client: Any) -> None:
    """Keep little for a peer that does not read, write at once, and have the kernel find out that it is gone."""
    if client is None:
        return
    try:
        client.setsockopt(socket_module.SOL_SOCKET, socket_module.SO_SNDBUF, SEND_BUFFER_BYTES)
    except OSError:
        pass  # reset by the peer, or not a socket of the kernel's: as below
    if client.family in (socket_module.AF_INET, socket_module.AF_INET6):
        try:
            client.setsockopt(socket_module.IPPROTO_TCP, socket_module.TCP_NODELAY, 1)
            client.setsockopt(socket_module.IPPROTO_TCP, socket_module.TCP_USER_TIMEOUT, TCP_USER_TIMEOUT_MS)
        except OSError:
            pass  # reset by the peer: whoever reads it sees its end


def give_up_unless_adopted() -> None:
    """Release the claim of a channel that was never opened."""
    connection: Connection | None = g.pop("connection", None)
    if connection is not None:
        worker_of_this_process().give_up(connection)


def _can_hand_over(client: Any) -> bool:
    """Only a plain socket: the bytes of a TLS one live in the process (look at the type, not the scheme)."""
    return client is not None and not isinstance(client, ssl.SSLSocket) and hasattr(client, "detach")


def is_key(text: str) -> bool:
    """Whether *text* is the base64 form of 16 bytes."""
    try:
        return len(base64.b64decode(text.strip(), validate=True)) == 16
    except (binascii.Error, ValueError):
        return False


def _name_the_version(response: Response) -> Response:
    """RFC 6455, section 4.4: whoever asks for another version is told which one there is."""
    response.headers["Sec-WebSocket-Version"] = "13"
    return response


def _only_the_handshake(environ: WSGIEnvironment) -> WSGIEnvironment:
    """A copy of *environ* that has no fields but those that a handshake needs, in a form that cannot fail.

    simple-websocket parses all of them again, and more strictly than gunicorn does: a host or a cookie that it
    does not like would be a 500. And no offer of compression, which it would accept: 100 KiB a socket.
    """
    rest = {name: value for name, value in environ.items() if not name.startswith("HTTP_")}
    return {
        **rest,
        "HTTP_HOST": "signalbox",
        "HTTP_UPGRADE": "websocket",
        "HTTP_CONNECTION": "Upgrade",
        "HTTP_SEC_WEBSOCKET_VERSION": "13",
        "HTTP_SEC_WEBSOCKET_KEY": environ["HTTP_SEC_WEBSOCKET_KEY"].strip(),
    }


def _bytes_behind(opening: Request) -> bool:
    """Whether the server has read more than the request: those bytes would be lost with its parser."""
    body: Any = opening.environ.get("signalbox.input")
    development = opening.environ.get("werkzeug.socket")
    if development is not None and hasattr(body, "peek"):
        seconds = development.gettimeout()
        development.settimeout(0)
        try:
            return bool(body.peek(1))
        finally:
            development.settimeout(seconds)
    unreader = getattr(getattr(body, "reader", None), "unreader", None)
    return unreader is not None and bool(unreader.buf.getvalue())


def _refuse(sentence: str, field: str) -> None:
    meters.REFUSALS.labels("handshake").inc()
    raise InvalidInputError(sentence, [{"field": field, "message": sentence.rstrip(".")}])


def _settings() -> Settings:
    settings: Settings = current_app.extensions["settings"]
    return settings
