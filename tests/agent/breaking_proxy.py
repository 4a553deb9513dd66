"""A proxy on the way to the server that lets HTTP pass and breaks WebSockets, until it is mended."""

import socket
import threading
from contextlib import ExitStack
from urllib.parse import urlsplit

CONNECT_SECONDS = 10.0
REFUSAL = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class BreakingProxy:
    """Listens on loopback and passes every connection on to `target`, an `http://host:port`.

    While it is broken every other WebSocket is refused with 400, and the ones between are cut off once the
    server's 101 has been passed on. The agent's requests come one to a connection, which is all this is for.
    """

    def __init__(self) -> None:
        self.target = ""
        self.is_broken = True
        self.upgrades = 0
        """So many WebSockets were asked for."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """`http://127.0.0.1:<port>`."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        """Listen no more and cut what is open."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for connected in self._open:
                _shut(connected)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with ExitStack() as opened:
            self._keep(client, opened)
            try:
                head = _read_head(client)
                is_upgrade = b"upgrade: websocket" in head.lower()
                self.upgrades += is_upgrade
                is_cut = is_upgrade and self.is_broken
                if is_cut and self.upgrades % 2:
                    client.sendall(REFUSAL)
                    return
                parts = urlsplit(self.target)
                server = socket.create_connection(
                    (parts.hostname or "", parts.port or 0), timeout=CONNECT_SECONDS
                )
                self._keep(server, opened)
                server.settimeout(None)
                server.sendall(head)
                if is_cut:
                    client.sendall(_read_head(server))
                    return
                threading.Thread(target=_pass_on, args=(client, server), daemon=True).start()
                _pass_on(server, client)
            except OSError:
                pass  # one of the two has gone

    def _keep(self, connected: socket.socket, opened: ExitStack) -> None:
        with self._lock:
            self._open.add(connected)
        opened.callback(self._forget, connected)

    def _forget(self, connected: socket.socket) -> None:
        with self._lock:
            self._open.discard(connected)
        _shut(connected)
        connected.close()


def _read_head(connected: socket.socket) -> bytes:
    """At least all header lines; OSError if the connection ends before."""
    head = b""
    while b"\r\n\r\n" not in head:
        data = connected.recv(4096)
        if not data:
            raise ConnectionResetError("ended within its head")
        head += data
    return head


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass  # one of the two has gone
    _shut(sink)


def _shut(connected: socket.socket) -> None:
    try:
        connected.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # gone already
