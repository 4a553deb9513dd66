"""A push channel that serves itself, where its socket cannot be handed to the hub (hazard 14).

gunicorn with its own TLS, whose bytes live in the process, and the development server. The hub delivers into the
channel's ``LoopEnd``; the request's own thread, or greenlet, writes what comes out of it and is the only one that
writes. A second one reads, with the strict reader that the hub uses: simple-websocket's knows no limit for a
frame before it is there whole, nor for what is sent in a minute (docs/adr/0012).
"""

from __future__ import annotations

import socket as socket_module
import threading
import time
from collections.abc import Iterator
from typing import Any

from gevent import monkey

from agent.protocol import PONG_GRACE_SECONDS
from app.push import frames
from app.push.connection import Connection, LoopEnd
from app.push.hub import KEEPALIVE_TURNS, LINGER_SECONDS, READ_BYTES
from app.push.worker import Worker

_socket = monkey.get_original("socket", "socket")

STREAM_BEGINS = b": connected\n\n"


class _Socket:
    """The channel's bytes; *client* is a plain or a TLS socket."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.is_lingering = False

    def read(self) -> bytes:
        """Some bytes; none at the end, however it came."""
        try:
            data: bytes = self._client.recv(READ_BYTES)
        except (OSError, ValueError):  # gone, or shut by ``abort``
            return b""
        return data

    def write(self, data: bytes) -> None:
        """All of *data*."""
        self._client.sendall(data)

    def abort(self) -> None:
        """End the connection under whoever reads or writes it, unless it is about to end by itself."""
        if not self.is_lingering:
            self.shut(socket_module.SHUT_RDWR)

    def shut(self, how: int) -> None:
        """shutdown(2). Not by the client's own method: a TLS one can be read no more after that."""
        try:
            raw = _socket(fileno=self._client.fileno())
        except OSError:
            return  # closed already
        try:
            raw.shutdown(how)
        except OSError:
            pass  # the peer is gone already
        finally:
            raw.detach()


def serve(client: Any, connection: Connection, worker: Worker) -> None:
    """Serve *connection*, a WebSocket whose handshake is answered, on *client* until it has ended."""
    socket = _Socket(client)
    connection.loop = loop = LoopEnd(socket.abort)
    worker.adopt(connection)
    reasons: list[str] = []
    reader = threading.Thread(target=_read, args=(socket, connection, loop, reasons), daemon=True)
    reader.start()
    try:
        _write(socket, connection, loop)
    except OSError as error:
        reasons.append(f"write failed: {error.strerror or error}")
    socket.is_lingering = True
    worker.lose(connection, reasons[0] if reasons else "agent closed")
    # No more from us. What the peer still sends is read and thrown away, so that it reads the goodbye first.
    socket.shut(socket_module.SHUT_WR)
    loop.end(at_once=False)
    reader.join(LINGER_SECONDS)
    socket.shut(socket_module.SHUT_RDWR)
    reader.join(LINGER_SECONDS)


def _write(socket: _Socket, connection: Connection, loop: LoopEnd) -> None:
    """Write what the hub and the reader put into *loop*, and the keepalive, until the channel is to end."""
    due = time.monotonic() + KEEPALIVE_TURNS["ws"]
    pong_due = due
    while True:
        wake = min(due, pong_due) if connection.is_pong_due else due
        data = loop.get(max(0.0, wake - time.monotonic()))
        if data:
            socket.write(data)
            continue
        if loop.is_over:
            return
        now = time.monotonic()
        if connection.is_pong_due and now >= pong_due:
            raise OSError("no pong")
        if now >= due:
            connection.is_pong_due = True
            due, pong_due = now + KEEPALIVE_TURNS["ws"], now + PONG_GRACE_SECONDS
            socket.write(connection.keepalive())


def _read(socket: _Socket, connection: Connection, loop: LoopEnd, reasons: list[str]) -> None:
    """Take in what the agent sends, as the hub does; once the channel is to end, only throw it away."""
    while data := socket.read():
        if loop.is_over:
            continue
        try:
            received = connection.receive(data, time.monotonic())
        except frames.FrameError as error:
            reasons.append(error.reason)
            loop.put(connection.goodbye(error.code, error.reason))
            loop.end(at_once=False)
            continue
        if received.close is not None:
            loop.put(received.close)
            loop.end(at_once=False)
        elif received.ping is not None:
            loop.put(frames.pong(received.ping))
    loop.end(at_once=False)


def stream(connection: Connection, worker: Worker) -> Iterator[bytes]:
    """The event stream as a response's body."""
    connection.loop = loop = LoopEnd(lambda: None)
    worker.adopt(connection)
    try:
        yield STREAM_BEGINS
        while True:
            data = loop.get(KEEPALIVE_TURNS["sse"])
            if not data and loop.is_over:
                return
            yield data or connection.keepalive()
    finally:
        worker.lose(connection, "agent closed")
