"""Messages between processes, heard: one subscriber connection per worker, for the channels of its nodes.

It reads a raw socket through ``hiredis.Reader``: redis-py spends twenty times as long on a message. redis-py
makes the connection (addresses, TLS, passwords), we read it.
"""

from __future__ import annotations

import errno
import logging
import os
import random
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import gevent
import hiredis
import redis
from gevent import monkey
from gevent import socket as gevent_socket
from gevent.event import Event

from app.push import meters
from app.push.channels import Channels
from app.push.deadlines import deadline
from app.push.redis_gate import (
    DEADLINE_SECONDS,
    connection_pool,
    lone_connection,
    run_id_of,
)

READ_BYTES = 64 * 1024
ROUNDS_A_TURN = 64
CHANNELS_A_COMMAND = 1000
SILENCE_SECONDS = 5.0
"""A subscriber that has read nothing for so long, its own echo included, is taken for dead."""
HALF_REPLY_SECONDS = 15.0
"""One whose bytes add up to no reply for so long, too: it would wait for the end of garbage."""
LOSSES = (OSError, redis.exceptions.RedisError)
"""What ends a connection and not the listener."""

log = logging.getLogger("signalbox.push")


OnMessages = Callable[[list[tuple[str, bytes]]], None]


class Subscriber:
    """The one subscriber connection of this worker.

    Channels are called by their keys, see *channels*. *is_wanted* answers whether one is to be listened to at this
    moment; ``changed`` says that its answer may be another now. *on_messages* gets all messages of one turn (key,
    data), *on_subscribed* the channels whose subscription Redis has confirmed, *on_recovered* is called when all
    are back after a loss. None of them may yield.
    """

    def __init__(
        self,
        url: str,
        channels: Channels,
        is_wanted: Callable[[str], bool],
        all_wanted: Callable[[], Iterable[str]],
        on_messages: OnMessages,
        on_subscribed: Callable[[list[str]], None],
        on_recovered: Callable[[], None],
    ) -> None:
        self._pool = connection_pool(url)
        self._channels = channels
        self._is_wanted = is_wanted
        self._all_wanted = all_wanted
        self._on_messages = on_messages
        self._on_subscribed = on_subscribed
        self._on_recovered = on_recovered
        self._changed: set[str] = set()
        self._flush_wanted = Event()
        self._sent: dict[str, None] = {}
        """Channels that this connection has asked for last, by SUBSCRIBE: a dict is a quarter of a set."""
        self._unconfirmed: Counter[str] = Counter()
        self._connection: Any = None
        self._socket: Any = None
        self._lost = False
        self._is_heard = False
        """Whether this connection has confirmed anything yet."""
        self.last_read = time.monotonic()
        """Monotonic time of the last bytes."""
        self.progressed_at = time.monotonic()
        """Monotonic time of the last bytes, or of the last attempt to connect."""
        self.run_id: str | None = None
        """Which Redis this is; ``None`` where it is not connected or does not tell."""

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection; whether it is alive only its echo can tell."""
        return self._socket is not None

    def is_confirmed(self, channel: str) -> bool:
        """Whether Redis has confirmed the latest subscription to *channel*."""
        return channel in self._sent and channel not in self._unconfirmed

    def changed(self, channels: Iterable[str]) -> None:
        """The wish for *channels* may have changed; all changes of one turn go out together."""
        self._changed.update(channels)
        self._flush_wanted.set()

    def renew(self, channel: str) -> None:
        """Subscribe to *channel* again: its node seems deaf."""
        self._sent.pop(channel, None)
        self.changed([channel])

    def reconnect(self) -> None:
        """Drop the connection; ``run_reader`` makes a new one."""
        connection, sock, self._connection, self._socket = self._connection, self._socket, None, None
        self.run_id = None
        if connection is not None:
            sock.close()
            connection.disconnect()

    def run_flusher(self) -> None:
        """Send what has changed, once per turn of the loop, for ever. One greenlet."""
        while True:
            self._flush_wanted.wait()
            self._flush_wanted.clear()
            gevent.sleep(0)  # let the others of this turn add theirs
            self._flush()

    def _flush(self) -> None:
        """Compute both lists from what is wanted now: a replaced and a new socket of one node leave it heard."""
        if self._socket is None:
            return  # all that is wanted is subscribed to when the connection is back
        changed, self._changed = self._changed, set()
        joining = [c for c in changed if c not in self._sent and self._is_wanted(c)]
        leaving = [c for c in changed if c in self._sent and not self._is_wanted(c)]
        already = [c for c in changed if c in self._sent and self.is_confirmed(c) and self._is_wanted(c)]
        self._sent.update(dict.fromkeys(joining))
        for channel in leaving:
            del self._sent[channel]
        self._unconfirmed.update(joining)
        try:
            self._send(b"SUBSCRIBE", joining)
            self._send(b"UNSUBSCRIBE", leaving)
        except (OSError, ValueError) as error:  # the second from TLS that was closed meanwhile
            log.warning("subscriber lost: %s", error)
            self.reconnect()
            return
        if already:
            self._on_subscribed(already)

    def _send(self, command: bytes, channels: list[str]) -> None:
        for start in range(0, len(channels), CHANNELS_A_COMMAND):
            names = [self._channels.name(channel) for channel in channels[start : start + CHANNELS_A_COMMAND]]
            parts = [b"*%d\r\n$%d\r\n%s\r\n" % (len(names) + 1, len(command), command)]
            parts += [b"$%d\r\n%s\r\n" % (len(name), name) for name in names]
            sock = self._socket
            if sock is None:
                raise OSError(errno.ENOTCONN, "the subscriber is not connected")
            sock.sendall(b"".join(parts))

    def run_reader(self) -> None:
        """Connect, subscribe to all that is wanted, read; again after every loss, for ever. One greenlet."""
        pause, is_new = 0.05, True
        while True:
            self.progressed_at = time.monotonic()
            try:
                with deadline(DEADLINE_SECONDS):
                    self._connect()
                self._read()
            except LOSSES as error:
                if self._is_heard:  # a server that only accepts, or refuses each time, is not hurried
                    pause, is_new = 0.05, True
                if is_new:  # one line for each loss, however long Redis stays away
                    log.warning("subscriber lost: %s", error or type(error).__name__)
                    is_new = False
            self.reconnect()
            self._lost, self._is_heard = True, False
            gevent.sleep(random.uniform(0, pause))
            pause = min(pause * 2, 1.0)

    def _connect(self) -> None:
        connection = lone_connection(self._pool)
        try:
            connection.connect()
            run_id = run_id_of(connection)
        except BaseException:
            connection.disconnect()
            raise
        # redis-py has no public way to the socket that it has set up.
        self._connection, self._socket = connection, _cooperative(connection._sock)
        self._socket.settimeout(SILENCE_SECONDS)
        self.last_read = self.progressed_at = time.monotonic()
        self.run_id = run_id
        self._sent.clear()
        self._unconfirmed.clear()
        self._changed.update(self._all_wanted())
        self._flush_wanted.set()

    def _read(self) -> None:
        reader = hiredis.Reader()
        last_reply = time.monotonic()
        while True:
            sock = self._socket
            if sock is None:
                raise OSError(errno.ENOTCONN, "dropped")
            try:
                received, confirmed = self._read_turn(sock, reader)
            except (hiredis.HiredisError, ValueError) as error:  # the second also from TLS closed meanwhile
                raise OSError(errno.EPROTO, f"cannot understand Redis: {error}") from error
            if received or confirmed:
                last_reply = self.last_read
            elif self.last_read - last_reply > HALF_REPLY_SECONDS:
                raise OSError(errno.EPROTO, "cannot understand Redis: a reply without an end")
            if confirmed and not self._is_heard:
                self._is_heard = True
                if self._lost:
                    log.info("subscriber back")
                    meters.SUBSCRIBER_RECONNECTS.inc()
            if received:
                self._on_messages(received)
            if confirmed:
                self._on_subscribed(confirmed)
            if self._lost and not self._unconfirmed and not self._changed:
                self._lost = False
                self._on_recovered()

    def _read_turn(self, sock: Any, reader: Any) -> tuple[list[tuple[str, bytes]], list[str]]:
        """Wait for bytes and take what there is: messages, and channels whose subscription is confirmed."""
        received: list[tuple[str, bytes]] = []
        confirmed: list[str] = []
        data = sock.recv(READ_BYTES)  # waits, but not longer than silence may last
        for _ in range(ROUNDS_A_TURN):
            if not data:
                raise OSError(errno.ECONNRESET, "closed by Redis")
            self.last_read = self.progressed_at = time.monotonic()
            # Small portions: the reader's cost grows with the square of what lies in it (hazard 10).
            reader.feed(data)
            self._take(reader, received, confirmed)
            more = _read_at_once(sock)
            if more is None:
                break
            data = more
        else:
            reader.feed(data)
            self._take(reader, received, confirmed)
        return received, confirmed

    def _take(self, reader: Any, received: list[tuple[str, bytes]], confirmed: list[str]) -> None:
        gets, key = reader.gets, self._channels.key
        while True:
            reply = gets()
            if reply is False:
                return
            if isinstance(reply, hiredis.ReplyError):
                raise OSError(errno.EPROTO, f"Redis refused: {reply}")
            if not isinstance(reply, list) or len(reply) != 3:
                raise ValueError(f"not a push message: {reply!r:.80}")
            kind, name, rest = reply
            channel = key(name) if isinstance(name, bytes) else ""
            if kind == b"message" and isinstance(rest, bytes):
                received.append((channel, rest))
            elif kind == b"subscribe":
                self._unconfirmed[channel] -= 1
                if self._unconfirmed[channel] <= 0:
                    del self._unconfirmed[channel]
                    if channel in self._sent:
                        confirmed.append(channel)


def _cooperative(sock: Any) -> Any:
    """*sock* as gevent's: it is already in a patched process, and is not under the development server."""
    if monkey.is_module_patched("socket"):
        return sock
    return gevent_socket.socket(sock.family, sock.type, sock.proto, fileno=sock.detach())


def _read_at_once(sock: Any) -> bytes | None:
    """What the socket holds already; ``None`` where reading would mean waiting."""
    if isinstance(sock, ssl.SSLSocket):
        return sock.recv(READ_BYTES) if sock.pending() else None
    try:
        return os.read(sock.fileno(), READ_BYTES)
    except BlockingIOError:
        return None
