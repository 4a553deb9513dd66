"""The operator's end of a live tail."""

import socket
from typing import Any
from urllib.parse import urlsplit

from tests.support.api import Operator
from tests.support.event_stream import EventStream

HEAD_SECONDS = 10.0
EVENT_SECONDS = 20.0


def tail(operator: Operator, request_id: str) -> EventStream:
    """Watch one that was started; the caller closes it."""
    url = urlsplit(operator.url)
    dialled = socket.create_connection((url.hostname, url.port), timeout=HEAD_SECONDS)
    token = str(operator.session.headers["Authorization"])
    dialled.sendall(
        f"GET /api/v1/taps/{request_id}/events HTTP/1.1\r\nHost: {url.netloc}\r\nAuthorization: {token}\r\n"
        "Connection: close\r\n\r\n".encode()
    )
    stream = EventStream(dialled, chunks=None)
    stream.head = stream._until(b"\r\n\r\n", HEAD_SECONDS).decode()
    assert " 200 " in stream.head, stream.head
    if "chunked" in stream.head.lower():
        stream.chunks, stream.buffer = stream.buffer, b""
        stream._unpack()
    return stream


def next_of(stream: EventStream, kind: str) -> Any:
    """The data of the next event of this kind."""
    while True:
        name, data = stream.read_event(EVENT_SECONDS)
        if name == kind:
            return data
