"""WebSocket frames (RFC 6455), the server's side: what we write, and a strict reader of what agents send.

No socket in here. Text and binary messages from agents are checked and dropped: the channel is one way.
"""

from __future__ import annotations

import codecs
import struct
from dataclasses import dataclass

from agent.protocol import MAX_AGENT_FRAME_BYTES, CloseCode

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

# RFC 6455 section 7.4: codes that may stand in a close frame.
_SENDABLE_CODES = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014})


class FrameError(Exception):
    """The peer broke the protocol; ``code`` is the close code to answer with."""

    def __init__(self, code: int, reason: str):
        super().__init__(reason)
        self.code = code
        self.reason = reason


def _frame(opcode: int, payload: bytes) -> bytes:
    length = len(payload)
    if length < 126:
        return bytes((0x80 | opcode, length)) + payload
    if length < 65536:
        return struct.pack("!BBH", 0x80 | opcode, 126, length) + payload
    return struct.pack("!BBQ", 0x80 | opcode, 127, length) + payload


def text(payload: bytes) -> bytes:
    """A whole text message."""
    return _frame(TEXT, payload)


def pong(payload: bytes) -> bytes:
    """The answer to a ping."""
    return _frame(PONG, payload)


def close(code: int, reason: str) -> bytes:
    """A close frame; the reason is cut to what fits, never inside a character."""
    return _frame(CLOSE, struct.pack("!H", code) + reason.encode()[:123].decode(errors="ignore").encode())


KEEPALIVE = _frame(PING, b"") + _frame(PONG, b"")
"""A ping, and with it the unsolicited pong that some agents' read deadlines need."""


@dataclass(slots=True)
class Fragments:
    """A message that has not ended yet."""

    opcode: int
    size: int
    decoder: codecs.IncrementalDecoder | None


@dataclass(slots=True)
class Received:
    """What came out of some bytes."""

    frames: int = 0
    ping: bytes | None = None
    """The payload of the latest ping; older ones need no answer (RFC 6455 section 5.5.3)."""
    pong: bool = False
    close: bytes | None = None
    """The close frame to answer with, once the peer has sent one."""


BARE_PONG = b"\x8a\x80"
"""The head of a pong without payload, behind which only its mask stands."""
BARE_PONG_BYTES = 6
RECEIVED_PONG = Received(frames=1, pong=True)
"""What comes out of one; it is never changed."""


def read(buffer: bytearray, fragments: Fragments | None) -> tuple[Received, Fragments | None]:
    """Take all whole frames off the front of *buffer*.

    :raises FrameError: the peer broke a rule; nothing more may be read.
    """
    received = Received()
    position = 0
    size = len(buffer)
    while size - position >= 2 and received.close is None:
        first, second = buffer[position], buffer[position + 1]
        opcode, length, header = first & 0x0F, second & 0x7F, 2
        _check_head(first, opcode, second, length)
        if length == 126:
            if size - position < 4:
                break
            (length,) = struct.unpack_from("!H", buffer, position + 2)
            header = 4
            if length < 126:
                raise FrameError(CloseCode.PROTOCOL_ERROR, "a length was not written in its shortest form")
        elif length == 127:
            if size - position < 10:
                break
            (length,) = struct.unpack_from("!Q", buffer, position + 2)
            header = 10
            if length < 65536 or length >> 63:
                raise FrameError(CloseCode.PROTOCOL_ERROR, "a length was not written in its shortest form")
        if length > MAX_AGENT_FRAME_BYTES:
            raise FrameError(CloseCode.TOO_BIG, "frame too big")
        end = position + header + 4 + length
        if size < end:
            break
        mask = bytes(buffer[position + header : position + header + 4])
        payload = _unmask(bytes(buffer[position + header + 4 : end]), mask)
        position = end
        received.frames += 1
        if opcode == PING:
            received.ping = payload
        elif opcode == PONG:
            received.pong = True
        elif opcode == CLOSE:
            received.close = _answer_to_close(payload)
        else:
            fragments = _data(opcode, bool(first & 0x80), payload, fragments)
    del buffer[:position]
    return received, fragments


def _check_head(first: int, opcode: int, second: int, length: int) -> None:
    if first & 0x70:
        raise FrameError(CloseCode.PROTOCOL_ERROR, "a reserved bit is set")
    if opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
        raise FrameError(CloseCode.PROTOCOL_ERROR, "unknown opcode")
    if not second & 0x80:
        raise FrameError(CloseCode.PROTOCOL_ERROR, "a frame from a client must be masked")
    if opcode >= CLOSE and (length > 125 or not first & 0x80):
        raise FrameError(CloseCode.PROTOCOL_ERROR, "a control frame is too long or fragmented")


def _unmask(payload: bytes, mask: bytes) -> bytes:
    if not payload:
        return payload
    repeated = (mask * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(len(payload), "big")


def _data(opcode: int, is_final: bool, payload: bytes, fragments: Fragments | None) -> Fragments | None:
    """Check one data frame; what it says is not looked at."""
    if opcode == CONTINUATION:
        if fragments is None:
            raise FrameError(CloseCode.PROTOCOL_ERROR, "a continuation of nothing")
    elif fragments is not None:
        raise FrameError(CloseCode.PROTOCOL_ERROR, "a new message before the last one ended")
    else:
        decoder = codecs.getincrementaldecoder("utf-8")() if opcode == TEXT else None
        fragments = Fragments(opcode, 0, decoder)
    fragments.size += len(payload)
    if fragments.size > MAX_AGENT_FRAME_BYTES:
        raise FrameError(CloseCode.TOO_BIG, "message too big")
    if fragments.decoder is not None:
        try:
            fragments.decoder.decode(payload, is_final)
        except UnicodeDecodeError:
            raise FrameError(1007, "text that is not UTF-8") from None
        # Python's decoder waits for the third byte of a surrogate, which can only be refused.
        if b"\xed\xa0" <= fragments.decoder.getstate()[0] <= b"\xed\xbf":
            raise FrameError(1007, "text that is not UTF-8")
    return None if is_final else fragments


def _answer_to_close(payload: bytes) -> bytes:
    """The close frame that answers the peer's (RFC 6455 section 5.5.1)."""
    if not payload:
        return _frame(CLOSE, b"")
    if len(payload) == 1:
        raise FrameError(CloseCode.PROTOCOL_ERROR, "a close frame with half a code")
    (code,) = struct.unpack_from("!H", payload)
    if code not in _SENDABLE_CODES and not 3000 <= code <= 4999:
        raise FrameError(CloseCode.PROTOCOL_ERROR, "a close code that may not be sent")
    try:
        payload[2:].decode("utf-8")
    except UnicodeDecodeError:
        raise FrameError(1007, "a close reason that is not UTF-8") from None
    return _frame(CLOSE, struct.pack("!H", code))
