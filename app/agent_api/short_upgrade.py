"""The short way of a WebSocket: handshakes that come together are judged, claimed and answered together.

After a restart a whole fleet dials within seconds, and what gunicorn and Flask do around each handshake, and waiting
for the database and Redis in a greenlet of its own, costs many times what it costs to hold the socket. So a request
that is plainly such a handshake is taken here as it lies in the kernel, before gunicorn reads it; nothing of it is
consumed until it is answered. Whatever is not plain, and every refusal, goes the long way as if nobody had looked:
gunicorn, Flask, ``views.authenticate``, flask-sock's route (docs/adr/0025).
"""

from __future__ import annotations

import logging
import os
import re
import socket as socket_module
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import gevent
from flask import Flask
from gevent.socket import socket as GeventSocket
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.http import parse_list_header

from agent.protocol import AGENT_INSTANCE_HEADER, CONFIG_REVISION_HEADER, WEBSOCKET_PATH
from app import node_identity, tokens
from app.agent_api import push_channel
from app.agent_api.returned import Returned
from app.config import Settings
from app.errors import UnavailableError
from app.failure_limits import FailureLimits
from app.push import meters
from app.push.connection import Connection
from app.push.hangup import has_hung_up
from app.push.redis_gate import RedisAwayError
from app.push.switchboard import Switchboard, new_connection, now_ms
from app.push.worker import Worker
from app.switchboard_process import of
from app.upgrade_rate import UpgradeRate

MOST_BYTES = 4096
"""Of a handshake on the short way; an agent's has five hundred."""
MOST_FIELDS = 50
AT_ONCE = 25

_REQUEST = re.compile(rb"((?:[A-Za-z0-9-]+:[\t\x20-\x7e]*\r\n)+)\r\n")
_HOST = re.compile(r"(?:[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_NOT_PLAIN = frozenset({"content-length", "transfer-encoding", "expect"})
_INSTANCE, _REVISION = AGENT_INSTANCE_HEADER.lower(), CONFIG_REVISION_HEADER.lower()

log = logging.getLogger("signalbox.agent_api")


class Door(Protocol):
    """Where a connection came in."""

    def spawn(self, function: Callable[..., None], *arguments: Any) -> Any:
        """Run *function* in a greenlet for which the worker waits when it leaves."""

    def serve(self, client: GeventSocket, peer: Any) -> None:
        """Have gunicorn serve the connection."""


@dataclass(slots=True, eq=False)
class Handshake:
    """A handshake that waits."""

    socket: Any
    """``None`` once it is somebody else's."""
    peer: Any
    """As ``accept`` gave it."""
    address: str
    """Of the agent: the peer, or what the proxies say."""
    token: str
    key: bytes
    length: int
    revision: str | None
    instance: str | None
    door: Door
    error: Exception | None = None


class ShortUpgrades:
    """The handshakes of one worker; everything happens in the thread of its loop."""

    def __init__(self, app: Flask) -> None:
        settings: Settings = app.extensions["settings"]
        self._app = app
        self._board: Switchboard = of(app)
        self._limits: FailureLimits = app.extensions["failure_limits"]
        self._max_sockets = settings.max_sockets
        self._proxies = settings.trusted_proxies
        path = os.environ.get("SCRIPT_NAME", "") + WEBSOCKET_PATH
        self._line = f"GET {path} HTTP/1.1\r\n".encode()
        self._waiting: list[Handshake] = []
        self._is_running = False
        self._under_way = 0

    def __len__(self) -> int:
        return len(self._waiting) + self._under_way

    def take(self, client: socket_module.socket, peer: Any, door: Door) -> bool | None:
        """Whether *client* is ours from here on; ``None`` where nothing of a request is there yet.

        It is a plain socket, none of gevent's, which would have registered it with the loop. *door* gets it back if
        need be.
        """
        try:
            data = client.recv(MOST_BYTES, socket_module.MSG_PEEK | socket_module.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except OSError:
            return False  # gone already, which the long way finds out
        handshake = self._plainly(data, client, peer, door)
        if handshake is None:
            return False
        self._waiting.append(handshake)
        if not self._is_running:
            self._is_running = True
            door.spawn(self._run)
        return True

    def _plainly(self, data: bytes, client: Any, peer: Any, door: Door) -> Handshake | None:
        """The handshake in *data*, if it is one that may go on and nothing is to be said against it yet."""
        worker = self._board.worker
        fields = self._fields(data)
        if fields is None or worker is None or worker.draining:
            return None
        token = tokens.bearer(fields.get("authorization"))
        address = peer[0] if isinstance(peer, tuple) else ""
        if self._proxies:
            forwarded = parse_list_header(fields.get("x-forwarded-for", ""))
            address = (len(forwarded) >= self._proxies and forwarded[-self._proxies]) or address
        if token is None or not self._limits.is_unsuspicious(tokens.digest(token), address):
            return None
        rate: UpgradeRate = self._app.extensions["upgrade_rate"]
        if not rate.take():
            return None
        instance = fields.get(_INSTANCE, "")
        return Handshake(
            client,
            peer,
            address,
            token,
            fields["sec-websocket-key"].encode(),
            len(data),
            fields.get(_REVISION, "")[:64] or None,
            instance if push_channel.INSTANCE.fullmatch(instance) else None,
            door,
        )

    def _fields(self, data: bytes) -> dict[str, str] | None:
        """The fields of a request that is a whole and plain handshake with nothing behind it, else ``None``."""
        line = self._line
        if not data.startswith(line) or len(data) == MOST_BYTES:
            return None
        found = _REQUEST.fullmatch(data, len(line))
        if found is None:
            return None
        fields: dict[str, str] = {}
        lines = found[1].decode("ascii").split("\r\n")
        for each in lines:
            name, _, value = each.partition(":")
            fields[name.lower()] = value.strip(" \t")
        del fields[""]  # behind the last end of line
        if len(fields) != len(lines) - 1 or len(lines) > MOST_FIELDS or not _NOT_PLAIN.isdisjoint(fields):
            return None
        is_handshake = (
            fields.get("upgrade", "").lower() == "websocket"
            and "upgrade" in [word.strip() for word in fields.get("connection", "").lower().split(",")]
            and fields.get("sec-websocket-version") == "13"
            and push_channel.is_key(fields.get("sec-websocket-key", ""))
            and _HOST.fullmatch(fields.get("host", "")) is not None
            and _HOST.fullmatch(fields.get("x-forwarded-host", "any")) is not None
        )
        return fields if is_handshake else None

    # together

    def _run(self) -> None:
        """Judge and answer those that wait, until none does. One greenlet."""
        try:
            while self._waiting:
                gevent.sleep(0)  # what has arrived in the same turn of the loop comes along
                some, self._waiting = self._waiting[:AT_ONCE], self._waiting[AT_ONCE:]
                group = [handshake for handshake in some if not self._has_left(handshake)]
                self._under_way = len(group)
                try:
                    with self._app.app_context():
                        self._open(group)
                except Exception:
                    log.exception("cannot open %d channels together", len(group))
                finally:
                    self._under_way = 0
                    for handshake in group:
                        self._give_back(handshake)
        finally:
            self._is_running = False

    def _open(self, group: Sequence[Handshake]) -> None:
        """Answer those of whom all is well. The rules and their order are those of ``views.authenticate``."""
        worker = self._board.worker
        assert worker is not None
        found: Sequence[tuple[str, str] | Exception]
        try:
            found = node_identity.authenticate_all([handshake.token for handshake in group])
        except (SQLAlchemyError, UnavailableError) as error:
            found = [error] * len(group)
        wanted: list[tuple[Handshake, Connection]] = []
        places, since_ms = self._max_sockets - len(worker.hub), now_ms()
        for handshake, node in zip(group, found, strict=True):
            if not isinstance(node, tuple):
                handshake.error = node
                continue
            node_id, environment_id = node
            if worker.hub.get(node_id) is None:
                places -= 1
                if places < 0:
                    continue
            connection = new_connection(
                node_id,
                environment_id,
                "ws",
                handshake.address,
                handshake.revision,
                handshake.instance,
                since_ms,
            )
            wanted.append((handshake, connection))
        try:
            admitted = worker.claims.admit_all([connection for _, connection in wanted])
        except RedisAwayError:
            for _, connection in wanted:
                worker.give_up(connection)  # it may have been claimed all the same
            return
        opened = [pair for pair, is_admitted in zip(wanted, admitted, strict=True) if is_admitted]
        if worker.draining:  # since they were taken: nobody accepts who then closes
            for _, connection in opened:
                worker.give_up(connection)
            return
        for handshake, connection in opened:
            self._answer(handshake, connection, worker)
        meters.OPENED_TOGETHER.inc(len(opened))
        self._limits.succeeded_all([tokens.digest(handshake.token) for handshake, _ in opened])

    @staticmethod
    def _answer(handshake: Handshake, connection: Connection, worker: Worker) -> None:
        client, handshake.socket = handshake.socket, None
        try:
            os.read(client.fileno(), handshake.length)
            client.send(push_channel.handshake_answer(handshake.key))
        except OSError:  # gone already
            client.close()
            worker.give_up(connection)
            return
        push_channel.bound(client)
        connection.fd = client.detach()
        worker.adopt(connection)

    @staticmethod
    def _has_left(handshake: Handshake) -> bool:
        """Whether the agent waits no longer, as in a herd that comes faster than it is served."""
        if not has_hung_up(handshake.socket.fileno()):
            return False
        handshake.socket.close()
        handshake.socket = None
        meters.REFUSALS.labels("gone").inc()
        return True

    @staticmethod
    def _give_back(handshake: Handshake) -> None:
        """Let the long way answer what is not answered."""
        if handshake.socket is None:
            return
        plain, handshake.socket = handshake.socket, None
        client = Returned(plain.family, plain.type, plain.proto, plain.detach())
        client.error = handshake.error
        handshake.door.spawn(handshake.door.serve, client, handshake.peer)
