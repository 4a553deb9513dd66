"""A server that writes what a test says, byte by byte, to whoever connects."""

import socket
import ssl
import threading
from collections.abc import Callable

Answer = Callable[["Peer"], None]


class Peer:
    """The server's end of one connection, once its request has been read."""

    def __init__(self, connected: socket.socket, request: str) -> None:
        self._connected = connected
        self.request = request
        first, *lines = request.split("\r\n")
        self.path = first.split(" ")[1]
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        self.has_ended = threading.Event()
        """The agent has ended the connection."""

    def send(self, data: bytes) -> None:
        self._connected.sendall(data)

    def send_chunk(self, data: bytes) -> None:
        self.send(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def wait_end(self) -> None:
        """Keep the connection until the agent ends it."""
        try:
            while self._connected.recv(4096):
                continue
        except OSError:
            pass  # a reset is an end as well
        self.has_ended.set()


class WireServer:
    """Listens on loopback; each connection gets `answer`, and is closed when that returns."""

    def __init__(self, answer: Answer, tls: ssl.SSLContext | None = None) -> None:
        self.answer = answer
        self.peers: list[Peer] = []
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        """`127.0.0.1:<port>`."""
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connected, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connected,), daemon=True).start()

    def _serve(self, connected: socket.socket) -> None:
        with connected:
            try:
                if self._tls is not None:
                    connected = self._tls.wrap_socket(connected, server_side=True)
                request = b""
                while b"\r\n\r\n" not in request:
                    data = connected.recv(4096)
                    if not data:
                        return
                    request += data
                peer = Peer(connected, request.decode().removesuffix("\r\n\r\n"))
                self.peers.append(peer)
                self.answer(peer)
            except OSError:
                pass  # the agent has gone in the middle of it
            finally:
                connected.close()
