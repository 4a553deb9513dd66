"""Many agents' channels in one process, on one epoll; and what the processes at the other end cost."""

import os
import select
import socket
import time
from collections import Counter
from urllib.parse import urlsplit

import psutil

from tests.support.websocket_client import handshake_headers, upgrade_request

DIALS_AT_ONCE = 200
ADDRESSES = 4


class Crowd:
    """Channels at *url*, the WebSocket's own address."""

    def __init__(self, url: str, revision: str = "") -> None:
        self._url = url
        self._revision = revision
        self._port = urlsplit(url).port or 0
        self._poll = select.epoll()
        self.sockets: dict[int, socket.socket] = {}
        self.heard: dict[int, float] = {}
        """When each socket read its first message."""
        self.last: dict[int, float] = {}
        """When each socket read its latest one."""
        self.count: Counter[int] = Counter()
        self.refused = 0
        self.lost = 0

    def connect(self, tokens: list[str]) -> None:
        """Open a channel for each token, some at a time."""
        for start in range(0, len(tokens), DIALS_AT_ONCE):
            dialled = []
            for number, token in enumerate(tokens[start : start + DIALS_AT_ONCE], start):
                connection = socket.socket()
                connection.bind((f"127.0.0.{2 + number % ADDRESSES}", 0))
                connection.connect(("127.0.0.1", self._port))
                headers = {**handshake_headers(self._url, token), "X-Config-Revision": self._revision}
                connection.sendall(upgrade_request(self._url, headers))
                dialled.append(connection)
            for connection in dialled:
                connection.settimeout(30)
                head = b""
                while b"\r\n\r\n" not in head:
                    data = connection.recv(4096)
                    if not data:
                        break
                    head += data
                if not head.startswith(b"HTTP/1.1 101"):
                    self.refused += 1
                    connection.close()
                    continue
                connection.setblocking(False)
                self.sockets[connection.fileno()] = connection
                self._poll.register(connection.fileno(), select.EPOLLIN)
                # A ping may come with the 101; who does not answer it is dropped.
                self._take(connection.fileno(), head.partition(b"\r\n\r\n")[2])
            self.serve(len(tokens), 0.001)  # who does not answer a ping within ten seconds is dropped

    def forget(self) -> None:
        """Count messages from here on."""
        self.heard.clear()
        self.last.clear()
        self.count.clear()

    def serve(self, until_heard: int, seconds: float) -> None:
        """Read and answer pings until that many have heard a text frame, or the time is over."""
        deadline = time.monotonic() + seconds
        while len(self.heard) < until_heard and (left := deadline - time.monotonic()) > 0:
            for fd, _ in self._poll.poll(min(left, 0.5), 1024):
                try:
                    data = os.read(fd, 16384)
                except BlockingIOError:
                    continue
                except ConnectionResetError:
                    data = b""
                if not data:
                    self.lost += 1
                    self._poll.unregister(fd)
                    self.sockets.pop(fd).close()
                    continue
                self._take(fd, data)

    def _take(self, fd: int, data: bytes) -> None:
        while data:
            length = data[1]
            if data[0] == 0x81:
                length = 2 + int.from_bytes(data[2:4], "big") if length == 126 else length
                now = time.perf_counter()
                self.heard.setdefault(fd, now)
                self.last[fd] = now
                self.count[fd] += 1
            elif data[0] == 0x89:
                os.write(fd, b"\x8a\x80\0\0\0\0")
            data = data[2 + length :]

    def close(self) -> None:
        for connection in self.sockets.values():
            connection.close()
        self._poll.close()


def pss(pids: list[int]) -> int:
    """Bytes of memory, shared pages by their share."""
    return sum(psutil.Process(pid).memory_full_info().pss for pid in pids)


def processor_seconds(pids: list[int]) -> float:
    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids)
