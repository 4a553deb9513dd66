"""A proxy of the kind that a company has at its edge: CONNECT, and plain HTTP by its full address."""

import base64
import socket
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from urllib.parse import urlsplit

from tests.support.relay import Listener, read_head, relay

CONNECT_SECONDS = 10.0


class ForwardProxy(Listener):
    """Knows `hosts`, names that only it can resolve, with the port of 127.0.0.1 where each is.

    With `credentials` (`user:password`) it lets nobody else pass; CONNECT it allows to `connect_ports` alone,
    where they are given. `seen` has method and target of every request that it let pass, `refused` of the others.
    """

    def __init__(
        self,
        hosts: Mapping[str, int] | None = None,
        *,
        credentials: str | None = None,
        connect_ports: Collection[int] | None = None,
    ) -> None:
        self.hosts = dict(hosts or {})
        self.seen: list[str] = []
        self.refused: list[str] = []
        self._credentials = credentials
        self._connect_ports = connect_ports
        super().__init__()

    def url_with(self, credentials: str) -> str:
        """Its address as HTTPS_PROXY has it."""
        return f"http://{credentials}@127.0.0.1:{self.port}"

    def serve(self, client: socket.socket, opened: ExitStack) -> None:
        head = read_head(client)
        first, _, rest = head.partition(b"\r\n")
        method, target, _ = first.decode().split(" ", 2)
        is_tunnel = method == "CONNECT"
        parts = urlsplit(f"//{target}" if is_tunnel else target)
        line = f"{method} {parts.hostname}:{parts.port or 80}" + ("" if is_tunnel else parts.path)
        status = self._refusal(rest, is_tunnel, parts.port or 80)
        if status:
            self.refused.append(line)
            client.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            return
        self.seen.append(line)
        host = parts.hostname or ""
        address = ("127.0.0.1", self.hosts[host]) if host in self.hosts else (host, parts.port or 80)
        server = socket.create_connection(address, timeout=CONNECT_SECONDS)
        self.keep(server, opened)
        server.settimeout(None)
        if is_tunnel:
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            path = parts.path + (f"?{parts.query}" if parts.query else "")
            server.sendall(f"{method} {path} HTTP/1.1\r\n".encode() + rest)
        relay(client, server)

    def _refusal(self, headers: bytes, is_tunnel: bool, port: int) -> str | None:
        if self._credentials is not None:
            wanted = base64.b64encode(self._credentials.encode())
            if b"proxy-authorization: basic " + wanted.lower() not in headers.lower():
                return '407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm="edge"'
        if is_tunnel and self._connect_ports is not None and port not in self._connect_ports:
            return "403 Forbidden"
        return None
