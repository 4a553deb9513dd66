"""What proxies of the tests' own are made of: a listener, a head, and bytes that are passed on."""

import socket
import threading
from contextlib import ExitStack


class Listener:
    """Listens on loopback; each connection is served in a thread of its own, and all are cut by `close`."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """`http://127.0.0.1:<port>`."""
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """Listen no more and cut what is open."""
        shut(self._listener)
        self._listener.close()
        with self._lock:
            for connected in self._open:
                shut(connected)

    def serve(self, client: socket.socket, opened: ExitStack) -> None:
        """Live one connection to its end; OSError where one of the two has gone."""
        raise NotImplementedError

    def keep(self, connected: socket.socket, opened: ExitStack) -> None:
        """Cut and close it with the rest."""
        with self._lock:
            self._open.add(connected)
        opened.callback(self._forget, connected)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with ExitStack() as opened:
            self.keep(client, opened)
            try:
                self.serve(client, opened)
            except OSError:
                pass  # one of the two has gone

    def _forget(self, connected: socket.socket) -> None:
        with self._lock:
            self._open.discard(connected)
        shut(connected)
        connected.close()


def read_head(connected: socket.socket) -> bytes:
    """At least all header lines; OSError if the connection ends before."""
    head = b""
    while b"\r\n\r\n" not in head:
        data = connected.recv(4096)
        if not data:
            raise ConnectionResetError("ended within its head")
        head += data
    return head


def relay(client: socket.socket, server: socket.socket) -> None:
    """Pass on in both directions until one of them ends."""
    threading.Thread(target=_pass_on, args=(client, server), daemon=True).start()
    _pass_on(server, client)


def shut(connected: socket.socket) -> None:
    try:
        connected.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # gone already


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass  # one of the two has gone
    shut(sink)
