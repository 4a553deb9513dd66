"""What agents send on the push channel is read strictly, in whatever portions it arrives (RFC 6455)."""

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.push import frames
from app.push.connection import Connection
from tests.support.hostile_frames import BROKEN, CLOSING, GOOD
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


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_frame_is_refused_with_its_code_in_every_split(name: str) -> None:
    """Wherever the bytes are cut, the same close code comes out."""
    case = BROKEN[name]
    assert refusal_of(a_connection(), case.data) == case.code
    for cut in case.cuts():
        assert refusal_of(a_connection(), case.data[:cut], case.data[cut:]) == case.code


@pytest.mark.parametrize("name", CLOSING)
def test_an_ending_that_keeps_the_rules_is_answered_with_its_code(name: str) -> None:
    """The peer's code comes back, unmasked, and nothing behind it is read."""
    case = CLOSING[name]
    payload = b"" if case.code is None else struct.pack("!H", case.code)
    received = a_connection().receive(case.data, 0.0)
    assert received.close == bytes((0x88, len(payload))) + payload
    assert received.ping is None


@pytest.mark.parametrize("name", GOOD)
def test_what_keeps_the_rules_ends_nothing(name: str) -> None:
    """Byte by byte, and the ping behind it is seen."""
    connection = a_connection()
    ping = frame_bytes(frames.PING, b"last")
    data = b"".join((*GOOD[name], ping))
    parts = [data] if len(data) > 2000 else [bytes((byte,)) for byte in data]
    assert [r.ping for part in parts if (r := connection.receive(part, 0.0)).ping is not None] == [b"last"]
    assert connection.buffer is None
    assert connection.fragments is None


MIXED = (
    frame_bytes(frames.TEXT, b"hello")
    + frame_bytes(frames.TEXT, "é".encode()[:1], fin=False)
    + frame_bytes(frames.PING, b"in between")
    + frame_bytes(frames.CONTINUATION, "é".encode()[1:])
    + frame_bytes(frames.BINARY, b"\xff" * 300)
    + frame_bytes(frames.BINARY, b"")
    + frame_bytes(frames.PONG, b"")
)


@given(st.lists(st.integers(min_value=1, max_value=len(MIXED) - 1), max_size=12))
def test_what_keeps_the_rules_is_read_alike_in_every_split(cuts: list[int]) -> None:
    """Seven frames, a ping inside a fragmented message among them, are counted however they are cut."""
    connection = a_connection()
    connection.is_pong_due = True
    edges = [0, *sorted(cuts), len(MIXED)]
    counted, pings = 0, []
    for start, end in pairwise(edges):
        received = connection.receive(MIXED[start:end], 0.0)
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


def test_a_reason_that_we_give_is_cut_between_characters() -> None:
    """A control frame holds 125 bytes; half a character would make ours the broken one (section 5.5.1)."""
    frame = frames.close(1001, "€" * 60)
    assert frame[:4] == b"\x88\x7d\x03\xe9"
    assert frame[4:].decode() == "€" * 41
    frame = frames.close(1001, "x" + "€" * 60)
    assert frame[4:].decode() == "x" + "€" * 40
