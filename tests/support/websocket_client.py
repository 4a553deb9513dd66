"""A WebSocket client on a bare socket, that sends any bytes and shows every frame (RFC 6455)."""

import base64
import fcntl
import hashlib
import json
import os
import socket
import struct
import termios
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

READ_SECONDS = 30.0
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class WebSocketClientError(Exception):
    """The server did not keep to the protocol, or ended the connection where a frame was expected."""


class WebSocketRefusedError(WebSocketClientError):
    """The handshake was answered with something other than 101; `answer` says what."""

    def __init__(self, answer: "Answer") -> None:
        super().__init__(
            f"the upgrade was refused with {answer.status}: {answer.body.decode(errors='replace')}"
        )
        self.answer = answer


@dataclass(frozen=True)
class Answer:
    """An HTTP answer to a handshake; header names in lower case, `body` empty after a 101."""

    status: int
    headers: dict[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class Frame:
    """One frame as it came."""

    opcode: int
    payload: bytes
    fin: bool = True
    rsv: int = 0
    masked: bool = False

    def json(self) -> Any:
        return json.loads(self.payload)

    @property
    def close_code(self) -> int | None:
        """None where a close frame names none."""
        return struct.unpack("!H", self.payload[:2])[0] if len(self.payload) >= 2 else None

    @property
    def close_reason(self) -> str:
        return self.payload[2:].decode()


@dataclass
class WebSocketClient:
    """One TCP connection, before, during and after its handshake."""

    socket: socket.socket
    buffer: bytes = field(default=b"", repr=False)
    """What was received and not read yet."""

    @classmethod
    def dial(cls, url: str, *, receive_buffer: int | None = None) -> "WebSocketClient":
        """Connect to the host and port of `url` (http or ws) and send nothing yet.

        A small `receive_buffer` (bytes) makes a slow reader, which the server's kernel cannot hide.
        """
        parts = urlsplit(url)
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        connection.settimeout(READ_SECONDS)
        if receive_buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            connection.connect((parts.hostname, parts.port))
        except OSError:
            connection.close()
            raise
        return cls(connection)

    @classmethod
    def connect(
        cls,
        url: str,
        token: str | None,
        *,
        headers: Mapping[str, str] | None = None,
        receive_buffer: int | None = None,
    ) -> "WebSocketClient":
        """Dial and shake hands; WebSocketRefusedError, and the connection closed, unless that gives a 101."""
        client = cls.dial(url, receive_buffer=receive_buffer)
        try:
            asked = handshake_headers(url, token)
            asked.update(headers or {})
            client.send_bytes(upgrade_request(url, asked))
            answer = client.read_answer()
            if answer.status != 101:
                raise WebSocketRefusedError(answer)
            if answer.headers.get("sec-websocket-accept") != accept_for(asked["Sec-WebSocket-Key"]):
                raise WebSocketClientError("the server's Sec-WebSocket-Accept does not fit the key")
        except BaseException:
            client.close()
            raise
        return client

    def send_bytes(self, data: bytes) -> None:
        """Exactly these bytes."""
        self.socket.sendall(data)

    def send_segment(self, data: bytes) -> None:
        """These bytes at once, in a segment of their own where they fit into one."""
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(data)

    def wait_acknowledged(self, seconds: float = READ_SECONDS) -> None:
        """Until the peer's kernel has all that was sent, or has ended the connection.

        Whether the peer has read it is another matter.
        """
        deadline = time.monotonic() + seconds
        while struct.unpack("i", fcntl.ioctl(self.socket, termios.TIOCOUTQ, b"\0" * 4))[0]:
            if self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                return
            if time.monotonic() > deadline:
                raise TimeoutError("the peer's kernel does not acknowledge what was sent")
            time.sleep(0.001)

    def send_frame(
        self, opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, masked: bool = True
    ) -> None:
        self.send_bytes(frame_bytes(opcode, payload, fin=fin, rsv=rsv, masked=masked))

    def send_close(self, code: int = 1000, reason: str = "") -> None:
        self.send_frame(CLOSE, struct.pack("!H", code) + reason.encode())

    def read_answer(self, seconds: float = READ_SECONDS) -> Answer:
        """The HTTP answer to a handshake, with its body unless it is a 101."""
        deadline = time.monotonic() + seconds
        while b"\r\n\r\n" not in self.buffer:
            self._receive(deadline, "the end of the answer's headers")
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        status_line, *lines = head.decode("latin-1").split("\r\n")
        headers = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
        }
        status = int(status_line.split(" ", 2)[1])
        length = 0 if status == 101 else int(headers.get("content-length", "0"))
        return Answer(status, headers, self._take(length, deadline))

    def read_frame(self, seconds: float = READ_SECONDS) -> Frame:
        """The next frame of any kind; TimeoutError when none has come within `seconds`."""
        deadline = time.monotonic() + seconds
        first, second = self._peek(2, deadline)
        length, size = second & 0x7F, 2
        if length == 126:
            length, size = struct.unpack("!H", self._peek(4, deadline)[2:])[0], 4
        elif length == 127:
            length, size = struct.unpack("!Q", self._peek(10, deadline)[2:])[0], 10
        masked = bool(second & 0x80)
        mask_size = 4 if masked else 0
        # Nothing is taken before the whole frame is here, so that a reader who ran out of time can try again.
        whole = self._peek(size + mask_size + length, deadline)
        self.buffer = self.buffer[len(whole) :]
        payload = whole[size + mask_size :]
        if masked:
            payload = _mask(payload, whole[size : size + 4])
        return Frame(first & 0x0F, payload, bool(first & 0x80), first >> 4 & 0x7, masked)

    def read_message(self, seconds: float = READ_SECONDS) -> Any:
        """The JSON of the next text frame; pings before it are answered, pongs passed over."""
        frame = self._read_past_keepalive(seconds)
        if frame.opcode != TEXT:
            raise WebSocketClientError(f"expected a text frame, got {frame}")
        return frame.json()

    def read_close(self, seconds: float = READ_SECONDS) -> Frame:
        """The close frame; messages and keepalive before it are passed over."""
        deadline = time.monotonic() + seconds
        while True:
            frame = self._read_past_keepalive(max(0.0, deadline - time.monotonic()))
            if frame.opcode == CLOSE:
                return frame

    def read_end(self, seconds: float = READ_SECONDS) -> bytes:
        """Everything up to the end of the connection; TimeoutError when it has not come by then."""
        deadline = time.monotonic() + seconds
        try:
            while True:
                self._receive(deadline, "the end of the connection")
        except WebSocketClientError:
            rest, self.buffer = self.buffer, b""
            return rest

    def read_rest(self, seconds: float = READ_SECONDS) -> list[Frame]:
        """All frames up to the orderly end of the connection (FIN).

        WebSocketClientError if it is reset instead, or ends inside a frame; TimeoutError as ``read_end``.
        """
        deadline = time.monotonic() + seconds
        while True:
            self.socket.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                raise WebSocketClientError("the connection was reset") from None
            if not data:
                break
            self.buffer += data
        frames = []
        while self.buffer:
            self.socket.settimeout(0.001)
            frames.append(self.read_frame(0))
        return frames

    def close(self) -> None:
        """End the TCP connection without a close frame, as a killed agent does."""
        self.socket.close()

    def reset(self) -> None:
        """End it with a TCP reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def _read_past_keepalive(self, seconds: float) -> Frame:
        deadline = time.monotonic() + seconds
        while True:
            frame = self.read_frame(max(0.0, deadline - time.monotonic()))
            if frame.opcode == PING:
                self.send_frame(PONG, frame.payload)
            elif frame.opcode != PONG:
                return frame

    def _peek(self, count: int, deadline: float) -> bytes:
        while len(self.buffer) < count:
            self._receive(deadline, "a whole frame")
        return self.buffer[:count]

    def _take(self, count: int, deadline: float) -> bytes:
        taken = self._peek(count, deadline)
        self.buffer = self.buffer[count:]
        return taken

    def _receive(self, deadline: float, awaited: str) -> None:
        # A deadline that has passed still takes what is there already.
        self.socket.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            raise WebSocketClientError(f"the server ended the connection before {awaited}")
        self.buffer += data

    def __enter__(self) -> "WebSocketClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def handshake_headers(url: str, token: str | None) -> dict[str, str]:
    """What an agent sends; a test may take away or replace any of them."""
    headers = {
        "Host": urlsplit(url).netloc,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
    }
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    return headers


def upgrade_request(url: str, headers: Mapping[str, str]) -> bytes:
    lines = [f"GET {urlsplit(url).path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def accept_for(key: str) -> str:
    """The Sec-WebSocket-Accept that answers a key (RFC 6455 section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(f"{key}{_GUID}".encode()).digest()).decode()


def frame_bytes(
    opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, masked: bool = True
) -> bytes:
    """One frame, right or wrong: nothing is checked."""
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    bit = 0x80 if masked else 0
    if len(payload) < 126:
        head = struct.pack("!BB", first, bit | len(payload))
    elif len(payload) < 1 << 16:
        head = struct.pack("!BBH", first, bit | 126, len(payload))
    else:
        head = struct.pack("!BBQ", first, bit | 127, len(payload))
    if not masked:
        return head + payload
    mask = os.urandom(4)
    return head + mask + _mask(payload, mask)


def _mask(payload: bytes, mask: bytes) -> bytes:
    """Mask or unmask: each byte XOR the mask's, in turn (RFC 6455 section 5.3)."""
    count = len(payload)
    stream = int.from_bytes((mask * (count // 4 + 1))[:count], "big")
    return (int.from_bytes(payload, "big") ^ stream).to_bytes(count, "big")
