"""What agents send on the push channel is read strictly, in whatever portions it arrives (RFC 6455)."""

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.push import frames
from app.push.connection import Connection
from tests.support.websocket_client import frame_bytes


def a_connection() -> Connection:
    return Connection(
        node_id="n", environment_id="e", connection_id="c", fence=1, transport="ws", since_ms=0, address="-",
        revision=None,
    )  # fmt: skip


def refusal_of(connection: Connection, *parts: bytes) -> int | None:
    """The close code with which one of *parts* is refused."""
    for part in parts:
        try:
            connection.receive(part, 0.0)
        except frames.FrameError as error:
            return error.code
    return None


def close_payload(code: int, reason: bytes = b"") -> bytes:
    return struct.pack("!H", code) + reason


BROKEN = {
    "a frame without a mask": (frame_bytes(frames.TEXT, b"x", masked=False), 1002),
    "a reserved bit": (frame_bytes(frames.TEXT, b"x", rsv=4), 1002),
    "an unknown data opcode": (frame_bytes(0x3, b"x"), 1002),
    "an unknown control opcode": (frame_bytes(0xB, b"x"), 1002),
    "a control frame over 125 bytes": (frame_bytes(frames.PING, b"x" * 126), 1002),
    "a fragmented control frame": (frame_bytes(frames.PING, b"x", fin=False), 1002),
    "a continuation of nothing": (frame_bytes(frames.CONTINUATION, b"x"), 1002),
    "a message inside a message": (
        frame_bytes(frames.TEXT, b"x", fin=False) + frame_bytes(frames.TEXT, b"y"),
        1002,
    ),
    "a 16-bit length that fits in 7": (b"\x81\xfe\x00\x7d" + b"\0" * 4 + b"x" * 125, 1002),
    "a 64-bit length that fits in 16": (b"\x81\xff" + struct.pack("!Q", 300) + b"\0" * 4 + b"x" * 300, 1002),
    "a 64-bit length with its first bit set": (b"\x81\xff" + struct.pack("!Q", 2**63) + b"\0" * 4, 1002),
    "a frame over 64 KiB": (b"\x82\xff" + struct.pack("!Q", 64 * 1024 + 1) + b"\0" * 4, 1009),
    "a message over 64 KiB in fragments": (
        frame_bytes(frames.BINARY, b"x" * 40_000, fin=False)
        + frame_bytes(frames.CONTINUATION, b"x" * 40_000),
        1009,
    ),
    "text that is not UTF-8": (frame_bytes(frames.TEXT, b"\xff"), 1007),
    "text that ends inside a character": (frame_bytes(frames.TEXT, "é".encode()[:1]), 1007),
    "a close frame with one byte": (frame_bytes(frames.CLOSE, b"x"), 1002),
    "a close code that may not be sent": (frame_bytes(frames.CLOSE, close_payload(1005)), 1002),
    "a close code below 1000": (frame_bytes(frames.CLOSE, close_payload(999)), 1002),
    "a close code above 4999": (frame_bytes(frames.CLOSE, close_payload(5000)), 1002),
    "a close reason that is not UTF-8": (frame_bytes(frames.CLOSE, close_payload(1000, b"\xff")), 1007),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_frame_is_refused_with_its_code_in_every_split(name: str) -> None:
    """Wherever the bytes are cut, the same close code comes out."""
    data, code = BROKEN[name]
    cuts = range(1, len(data)) if len(data) < 400 else (1, 2, 5, 11, 14, len(data) - 1)
    for cut in cuts:
        connection = a_connection()
        assert refusal_of(connection, data[:cut], data[cut:]) == code


GOOD = (
    frame_bytes(frames.TEXT, b"hello")
    + frame_bytes(frames.TEXT, "é".encode()[:1], fin=False)
    + frame_bytes(frames.PING, b"in between")
    + frame_bytes(frames.CONTINUATION, "é".encode()[1:])
    + frame_bytes(frames.BINARY, b"\xff" * 300)
    + frame_bytes(frames.BINARY, b"")
    + frame_bytes(frames.PONG, b"")
)


@given(st.lists(st.integers(min_value=1, max_value=len(GOOD) - 1), max_size=12))
def test_what_keeps_the_rules_is_read_alike_in_every_split(cuts: list[int]) -> None:
    """Seven frames, a ping inside a fragmented message among them, are counted however they are cut."""
    connection = a_connection()
    connection.is_pong_due = True
    edges = [0, *sorted(cuts), len(GOOD)]
    counted, pings = 0, []
    for start, end in pairwise(edges):
        received = connection.receive(GOOD[start:end], 0.0)
        counted += received.frames
        if received.ping is not None:
            pings.append(received.ping)
    assert counted == 7
    assert pings == [b"in between"]
    assert not connection.is_pong_due
    assert connection.buffer is None


def test_of_many_pings_only_the_latest_is_answered() -> None:
    """A flood of pings costs one answer a turn."""
    received = a_connection().receive(b"".join(frame_bytes(frames.PING, b"%d" % n) for n in range(50)), 0.0)
    assert received.ping == b"49"


def test_a_close_is_answered_with_its_code() -> None:
    """The peer's code comes back, unmasked, and nothing behind it is read."""
    data = frame_bytes(frames.CLOSE, close_payload(1001, b"bye")) + frame_bytes(frames.PING, b"late")
    received = a_connection().receive(data, 0.0)
    assert received.close == b"\x88\x02" + struct.pack("!H", 1001)
    assert received.ping is None


def test_an_agent_that_sends_too_much_in_a_minute_is_sent_away() -> None:
    """The budget is per minute: the next minute begins with a new one."""
    connection = a_connection()
    small = frame_bytes(frames.PONG, b"") * 300
    connection.receive(small, 0.0)
    connection.receive(small, 59.0)
    connection.receive(small, 61.0)
    with pytest.raises(frames.FrameError) as refused:
        connection.receive(small + small, 62.0)
    assert refused.value.code == 1008


def test_frames_that_we_write_have_the_shortest_length() -> None:
    """7, 16 and 64 bits, each where it is needed."""
    assert frames.text(b"x" * 125)[:2] == b"\x81\x7d"
    assert frames.text(b"x" * 126)[:4] == b"\x81\x7e\x00\x7e"
    assert frames.text(b"x" * 65536)[:10] == b"\x81\x7f" + struct.pack("!Q", 65536)
    assert frames.KEEPALIVE == b"\x89\x00\x8a\x00"
