"""A TCP forwarder before Redis, which sees what is sent and can act on it before Redis does."""

import socket
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

READ_BYTES = 64 * 1024


class RedisProxy:
    """Forwards to the Redis at *url* (``redis://host:port/0``); without one there, a connection just ends."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or "", parts.port or 0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._trigger: tuple[tuple[bytes, ...], Callable[[], None], bool] | None = None
        self.swallowed = b""
        """What set the trigger off, and never reached Redis."""
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """What SIGNALBOX_REDIS_URL takes."""
        return f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"

    def act_on(self, words: tuple[bytes, ...], act: Callable[[], None]) -> None:
        """Once, when all *words* are in what one client sends: swallow that, *act*, and cut every connection."""
        self._trigger = (words, act, True)

    def act_before(self, words: tuple[bytes, ...], act: Callable[[], None]) -> None:
        """Once, when all *words* are in what one client sends: *act*, and only then let Redis have it."""
        self._trigger = (words, act, False)

    def close(self) -> None:
        """End all connections, and take no more."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._cut()
        self._thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed
            try:
                server = socket.create_connection(self._target, timeout=5)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            with self._lock:
                self._open |= {client, server}
            for source, sink in ((client, server), (server, client)):
                is_client = source is client
                threading.Thread(target=self._forward, args=(source, sink, is_client), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket, is_client: bool) -> None:
        try:
            while data := source.recv(READ_BYTES):
                if is_client and self._sets_off(data):
                    return
                sink.sendall(data)
        except OSError:
            pass  # cut, or the other end has gone
        finally:
            self._end(source)
            self._end(sink)

    def _sets_off(self, data: bytes) -> bool:
        with self._lock:
            if self._trigger is None or not all(word in data for word in self._trigger[0]):
                return False
            (_, act, cuts), self._trigger = self._trigger, None
        if not cuts:
            act()
            return False
        # Before *act*, which may end the asker's connection and with it the test's wait.
        self.swallowed = data
        act()
        self._cut()
        return True

    def _cut(self) -> None:
        with self._lock:
            everyone = list(self._open)
        for one in everyone:
            self._end(one)

    def _end(self, one: socket.socket) -> None:
        with self._lock:
            if one not in self._open:
                return
            self._open.discard(one)
        try:
            one.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # gone already
        one.close()
