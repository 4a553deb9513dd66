"""The ways to the push channel: both forms, and the servers whose sockets can and cannot be handed over."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import requests

from tests.support import PROJECT
from tests.support.api import AgentByHand
from tests.support.event_stream import EventStream, EventStreamError
from tests.support.server import clean_environment
from tests.support.tls_server import TlsServer
from tests.support.until import until
from tests.support.websocket_client import (
    READ_SECONDS,
    Answer,
    WebSocketClient,
    WebSocketRefusedError,
    handshake_headers,
    upgrade_request,
)
from tools.child_process import ChildProcess
from tools.reserved_port import ReservedPort

TRANSPORTS = ("ws", "sse")


class HasUrl(Protocol):
    """A server, as far as a door needs one."""

    @property
    def url(self) -> str: ...


class DevelopmentServer:
    """`flask run` over the settings of another server: the same installation, in real threads."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self._port = ReservedPort()
        command = [sys.executable, "-m", "flask", "--app", "wsgi", "run", "--port", str(self._port.port)]
        self.process = ChildProcess(
            command, log=folder / "flask.log", env={**clean_environment(), **settings}, cwd=PROJECT
        )
        until(
            lambda: requests.get(f"{self.url}/readyz", timeout=10).ok,
            seconds=30,
            what="the development server",
            tolerate=(OSError,),
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port.port}"

    def close(self) -> None:
        self.process.stop(10)
        self._port.release()


@dataclass
class Door:
    """One way in: *transport* is ``ws`` or ``sse``; *more* stands in each WebSocket's handshake."""

    server: HasUrl
    transport: str = "ws"
    more: Mapping[str, str] = field(default_factory=dict)

    def dial(self) -> socket.socket:
        """A connection on which nothing was sent."""
        if isinstance(self.server, TlsServer):
            return self.server.dial()
        parts = urlsplit(self.server.url)
        return socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10)

    def upgrade(self, token: str | None, **fields: str) -> tuple[WebSocketClient, Answer]:
        """The WebSocket handshake and its answer; *fields* with ``_`` for ``-``."""
        client = WebSocketClient(self.dial())
        url = f"{self.server.url}/api/agent/ws"
        headers = handshake_headers(url, token)
        headers.update(self.more)
        headers.update({name.replace("_", "-"): value for name, value in fields.items()})
        client.send_bytes(upgrade_request(url, headers))
        return client, client.read_answer()

    def websocket(self, token: str | None, revision: str | None = None) -> WebSocketClient:
        """An open WebSocket; WebSocketRefusedError where it was refused."""
        client, answer = self.upgrade(token, **({"X_Config_Revision": revision} if revision else {}))
        if answer.status != 101:
            client.close()
            raise WebSocketRefusedError(answer)
        return client

    def open(self, agent: AgentByHand, *, up_to_date: bool = True, revision: str | None = None) -> Channel:
        """The agent's channel; it says that it runs *revision*, or what it must run, or nothing."""
        if up_to_date and revision is None:
            revision = agent.follow()
        if self.transport == "ws":
            return Channel(self.websocket(agent.token, revision))
        return Channel(EventStream.over(self.dial(), self.server.url, agent.token, revision))


@dataclass
class Channel:
    """An open push channel in either form."""

    client: WebSocketClient | EventStream

    def read_message(self, seconds: float = READ_SECONDS) -> Any:
        """The next message; keepalive is passed over."""
        if isinstance(self.client, WebSocketClient):
            return self.client.read_message(seconds)
        return self.client.read_event(seconds)[1]

    def read_goodbye(self, seconds: float = READ_SECONDS) -> tuple[int | None, str]:
        """Code and reason of the end; whatever comes before it is passed over."""
        if isinstance(self.client, WebSocketClient):
            frame = self.client.read_close(seconds)
            return frame.close_code, frame.close_reason
        while (event := self.client.read_event(seconds))[0] != "close":
            pass
        return event[1]["code"], event[1]["reason"]

    def read_end(self, seconds: float = READ_SECONDS) -> None:
        """Whatever comes, up to the end of the connection."""
        if isinstance(self.client, WebSocketClient):
            self.client.read_end(seconds)
            return
        with contextlib.suppress(EventStreamError, ConnectionResetError):
            while True:
                self.client.read_block(seconds)

    def close(self) -> None:
        self.client.close()
