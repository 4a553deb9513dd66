"""A client of the push channel's other form, server-sent events, on a bare socket."""

import json
import socket
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

READ_SECONDS = 30.0


class EventStreamError(Exception):
    """The stream was refused or has ended; `status` is the HTTP status of the answer."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status


@dataclass
class EventStream:
    """One open stream."""

    socket: socket.socket
    head: str = ""
    buffer: bytes = field(default=b"", repr=False)
    status: int = 0
    chunks: bytes | None = field(default=None, repr=False)
    """Received and not unpacked yet, where the body comes in chunks (RFC 9112, section 7.1); else ``None``."""

    @classmethod
    def connect(cls, url: str, token: str | None, revision: str | None = None) -> "EventStream":
        """Open `GET /api/agent/push`; EventStreamError unless that is answered with 200."""
        parts = urlsplit(url)
        dialled = socket.create_connection((parts.hostname or "", parts.port or 0), timeout=READ_SECONDS)
        return cls.over(dialled, url, token, revision)

    @classmethod
    def over(
        cls, dialled: socket.socket, url: str, token: str | None, revision: str | None = None
    ) -> "EventStream":
        """As ``connect``, on a connection that stands already."""
        stream = cls(dialled)
        parts = urlsplit(url)
        try:
            lines = ["GET /api/agent/push HTTP/1.1", f"Host: {parts.netloc}"]
            lines += [f"Authorization: Bearer {token}"] if token else []
            lines += [f"X-Config-Revision: {revision}"] if revision else []
            stream.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
            stream.head = stream._until(b"\r\n\r\n", READ_SECONDS).decode()
            stream.status = int(stream.head.split(" ", 2)[1])
            stream.chunks = b"" if "transfer-encoding: chunked" in stream.head.lower() else None
            if stream.chunks is not None:
                stream.chunks, stream.buffer = stream.buffer, b""
                stream._unpack()
            if stream.status != 200:
                raise EventStreamError(stream.status, stream.head)
        except BaseException:
            stream.close()
            raise
        return stream

    def read_block(self, seconds: float = READ_SECONDS) -> str:
        """The next event or comment as it came, without the empty line that ends it."""
        return self._until(b"\n\n", seconds).decode().removesuffix("\n\n")

    def read_event(self, seconds: float = READ_SECONDS) -> tuple[str, Any]:
        """The next event's name and data; comments are passed over."""
        deadline = time.monotonic() + seconds
        while True:
            block = self.read_block(max(0.0, deadline - time.monotonic()))
            if not block.startswith(":"):
                name, data = block.split("\n")
                assert name.startswith("event: ")
                assert data.startswith("data: ")
                return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))

    def close(self) -> None:
        """End the connection."""
        self.socket.close()

    def _unpack(self) -> None:
        """Move whole chunks to the buffer."""
        while self.chunks and b"\r\n" in self.chunks:
            line, _, rest = self.chunks.partition(b"\r\n")
            size = int(line, 16)
            if len(rest) < size + 2:
                return
            self.buffer += rest[:size]
            self.chunks = rest[size + 2 :]

    def _until(self, mark: bytes, seconds: float) -> bytes:
        deadline = time.monotonic() + seconds
        while mark not in self.buffer:
            self.socket.settimeout(max(0.001, deadline - time.monotonic()))
            data = self.socket.recv(65536)
            if not data:
                raise EventStreamError(self.status, "the stream has ended")
            if self.chunks is None:
                self.buffer += data
            else:
                self.chunks += data
                self._unpack()
        block, _, self.buffer = self.buffer.partition(mark)
        return block + mark
