"""A proxy on the way to the server that lets HTTP pass and breaks WebSockets, until it is mended."""

import socket
from contextlib import ExitStack
from urllib.parse import urlsplit

from tests.support.relay import Listener, read_head, relay

CONNECT_SECONDS = 10.0
REFUSAL = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class BreakingProxy(Listener):
    """Passes every connection on to `target`, an `http://host:port`.

    While it is broken every other WebSocket is refused with 400, and the ones between are cut off once the
    server's 101 has been passed on. The agent's requests come one to a connection, which is all this is for.
    """

    def __init__(self) -> None:
        self.target = ""
        self.is_broken = True
        self.upgrades = 0
        """So many WebSockets were asked for."""
        super().__init__()

    def serve(self, client: socket.socket, opened: ExitStack) -> None:
        head = read_head(client)
        is_upgrade = b"upgrade: websocket" in head.lower()
        self.upgrades += is_upgrade
        is_cut = is_upgrade and self.is_broken
        if is_cut and self.upgrades % 2:
            client.sendall(REFUSAL)
            return
        parts = urlsplit(self.target)
        server = socket.create_connection((parts.hostname or "", parts.port or 0), timeout=CONNECT_SECONDS)
        self.keep(server, opened)
        server.settimeout(None)
        server.sendall(head)
        if is_cut:
            client.sendall(read_head(server))
            return
        relay(client, server)
