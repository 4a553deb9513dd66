"""What an agent may not send, and what it may, rule by rule of RFC 6455: bytes and the close code that follows."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from tests.support.websocket_client import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame_bytes

LIMIT = 64 * 1024
"""Bytes that one message of an agent may have (docs/protocol.md, section 1.5)."""
HEAD_BYTES = 14
"""The longest head of a frame: two bytes, a length of 64 bits, a mask."""


@dataclass(frozen=True)
class Case:
    """Frames that follow each other on a fresh channel, and the code of the close frame that ends it."""

    section: str
    frames: tuple[bytes, ...]
    code: int | None
    """``None``: a close frame without a code."""

    @property
    def data(self) -> bytes:
        return b"".join(self.frames)

    def cuts(self) -> list[int]:
        """Where to cut the bytes in two: everywhere, or around the head and the end of each long frame."""
        if len(self.data) <= 40:
            return list(range(1, len(self.data)))
        cuts: set[int] = set()
        start = 0
        for frame in self.frames:
            end = start + len(frame)
            cuts |= {*range(start, min(start + HEAD_BYTES + 2, end)), max(start, end - 1), end}
            start = end
        inner = sorted(cuts - {0, start})
        return inner if len(inner) <= 60 else inner[:3] + inner[-3:]


def text(payload: bytes, *, fin: bool = True) -> bytes:
    return frame_bytes(TEXT, payload, fin=fin)


def more(payload: bytes, *, fin: bool = True) -> bytes:
    return frame_bytes(CONTINUATION, payload, fin=fin)


def close(code: int, reason: bytes = b"") -> bytes:
    return frame_bytes(CLOSE, struct.pack("!H", code) + reason)


def long_form(opcode: int, form: int, length: int, payload: bytes = b"") -> bytes:
    """A masked frame whose length is written in the form 126 (16 bits) or 127 (64 bits)."""
    head = bytes((0x80 | opcode, 0x80 | form)) + struct.pack("!H" if form == 126 else "!Q", length)
    return head + b"\0" * 4 + payload


BROKEN: dict[str, Case] = {}
"""Each breaks one rule; the server answers with a close frame of that code and ends the connection."""


def _broken(section: str, code: int, cases: dict[str, bytes | tuple[bytes, ...]]) -> None:
    for name, frames in cases.items():
        BROKEN[name] = Case(section, frames if isinstance(frames, tuple) else (frames,), code)


_broken("5.1 masking", 1002, {
    f"{name} without a mask": frame_bytes(opcode, payload, masked=False)
    for name, opcode, payload in (
        ("text", TEXT, b"x"), ("an empty text", TEXT, b""), ("a binary", BINARY, b"x"), ("a ping", PING, b"x"),
        ("a pong", PONG, b""), ("a close", CLOSE, b"\x03\xe8"), ("an empty close", CLOSE, b""),
    )
})  # fmt: skip
_broken("5.1 masking", 1002, {
    "a continuation without a mask": (text(b"x", fin=False), frame_bytes(CONTINUATION, b"y", masked=False)),
})  # fmt: skip
_broken("5.2 framing", 1002, {
    **{f"reserved bit {bit}": frame_bytes(TEXT, b"x", rsv=bit) for bit in (1, 2, 4)},
    "all reserved bits": frame_bytes(BINARY, b"", rsv=7),
    "a reserved bit on a ping": frame_bytes(PING, b"", rsv=4),
    "a reserved bit on a close": frame_bytes(CLOSE, b"\x03\xe8", rsv=4),
    "a reserved bit on a continuation": (text(b"x", fin=False), frame_bytes(CONTINUATION, b"y", rsv=4)),
    **{f"opcode {opcode:X}": frame_bytes(opcode, b"x") for opcode in (*range(0x3, 0x8), *range(0xB, 0x10))},
    "an unknown opcode in a message": (text(b"x", fin=False), frame_bytes(0x3, b"y")),
})  # fmt: skip
_broken("5.2 lengths", 1002, {
    "16 bits for nothing": long_form(TEXT, 126, 0),
    "16 bits for 125": long_form(TEXT, 126, 125, b"x" * 125),
    "64 bits for nothing": long_form(TEXT, 127, 0),
    "64 bits for 125": long_form(BINARY, 127, 125, b"x" * 125),
    "64 bits for 65535": long_form(BINARY, 127, 65_535, b"x" * 65_535),
    "64 bits with the first one set": long_form(BINARY, 127, 1 << 63),
    "64 bits, all set": long_form(BINARY, 127, (1 << 64) - 1),
    "64 bits with the first one set and a small rest": long_form(TEXT, 127, 1 << 63 | 5, b"hello"),
})  # fmt: skip
_broken("5.2 lengths", 1009, {
    "a frame one byte over the limit": long_form(BINARY, 127, LIMIT + 1),
    "a frame of 4 GiB": long_form(BINARY, 127, 1 << 32),
    "a frame of 4 EiB": long_form(TEXT, 127, 1 << 62),
    "a continuation over the limit": (text(b"x", fin=False), long_form(CONTINUATION, 127, LIMIT + 1)),
    "a message over the limit in two": (
        frame_bytes(BINARY, b"x" * 40_000, fin=False), more(b"x" * 40_000),
    ),
    "a message one byte over the limit": (
        frame_bytes(BINARY, b"x" * 65_535, fin=False), more(b"x", fin=False), more(b"x"),
    ),
})  # fmt: skip
_broken("5.4 fragmentation", 1002, {
    "a continuation of nothing": more(b"x"),
    "an unfinished continuation of nothing": more(b"x", fin=False),
    "an empty continuation of nothing": more(b""),
    "a continuation of a message that has ended": (text(b"x", fin=False), more(b"y"), more(b"z")),
    "a continuation of a whole message": (text(b"x"), more(b"y")),
    "text inside a message": (text(b"x", fin=False), text(b"y")),
    "binary inside text": (text(b"x", fin=False), frame_bytes(BINARY, b"y")),
    "an unfinished message inside a message": (text(b"", fin=False), text(b"", fin=False)),
    "a message behind a ping inside a message": (text(b"x", fin=False), frame_bytes(PING), text(b"y")),
})  # fmt: skip
_broken("5.5 control frames", 1002, {
    **{
        f"{name} {how}": frame
        for name, opcode in (("a ping", PING), ("a pong", PONG), ("a close", CLOSE))
        for how, frame in {
            "of 126 bytes": frame_bytes(opcode, b"\x03\xe8" + b"x" * 124),
            "in fragments": frame_bytes(opcode, b"\x03\xe8", fin=False),
            "with a length of 16 bits": long_form(opcode, 126, 2, b"\x03\xe8"),
            "with a length of 64 bits": long_form(opcode, 127, 2, b"\x03\xe8"),
        }.items()
    },
})  # fmt: skip
_broken("7.4 close codes", 1002, {
    "a close of one byte": frame_bytes(CLOSE, b"\x03"),
    **{
        f"close code {code}": close(code)
        for code in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 1999, 2000, 2999, 5000, 65_535)
    },
    "close code 1005 with a reason": close(1005, b"bye"),
})  # fmt: skip
_broken("8.1 UTF-8", 1007, {
    "a close reason that is not UTF-8": close(1000, b"\xff"),
    "a close reason that ends inside a character": close(1000, "né".encode()[:-1]),
    "a close reason with a surrogate": close(1001, b"\xed\xa0\x80"),
    "text that is not UTF-8": text(b"\xff"),
    "a lone continuation byte": text(b"a\x80"),
    "text that ends inside a character": text("é".encode()[:1]),
    "text in an over-long form of two": text(b"\xc0\xaf"),
    "text in an over-long form of three": text(b"\xe0\x80\xaf"),
    "text in an over-long form of four": text(b"\xf0\x80\x80\xaf"),
    "a surrogate": text(b"\xed\xa0\x80"),
    "a pair of surrogates": text(b"\xed\xa0\xbd\xed\xb8\x80"),
    "a character above U+10FFFF": text(b"\xf4\x90\x80\x80"),
    "a byte that no character begins with": text(b"\xf5\x80\x80\x80"),
    "a character broken by the next fragment": (text(b"\xe2\x82", fin=False), more(b"(")),
    "a character broken by the next message": (text(b"\xe2\x82", fin=False), more(b"")),
    "a character left open behind a ping": (text(b"\xe2", fin=False), frame_bytes(PING), more(b"\x82")),
    "text broken in its last fragment": (text(b"a", fin=False), more("é".encode(), fin=False), more(b"\xff")),
    # Unfinished messages: what can never become a character is refused at once, not when the message ends.
    "the beginning of an over-long form": text(b"\xc0", fin=False),
    "the beginning of an over-long form of three": text(b"\xe0\x80", fin=False),
    "the beginning of a surrogate": text(b"\xed\xa0", fin=False),
    "the beginning of a character above U+10FFFF": text(b"\xf4\x90", fin=False),
    "the beginning of a surrogate in two": (text(b"\xed", fin=False), more(b"\xa0", fin=False)),
})  # fmt: skip
_broken("budget", 1008, {
    "a flood of empty fragments": (text(b"", fin=False), *([more(b"", fin=False)] * 601)),
    "a flood of empty messages": (frame_bytes(BINARY, b""),) * 601,
    "a flood of pongs": (frame_bytes(PONG, b""),) * 601,
    "more than 1 MiB": (frame_bytes(BINARY, b"x" * LIMIT),) * 17,
})  # fmt: skip


CLOSING: dict[str, Case] = {
    "a close without a code": Case("5.5.1 close", (frame_bytes(CLOSE),), None),
    **{
        f"close code {code}": Case("7.4 close codes", (close(code, b"bye"),), code)
        for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4999)
    },
    "a close inside a message": Case("5.5.1 close", (text(b"x", fin=False), close(1000)), 1000),
    "a reason of 123 bytes": Case("5.5.1 close", (close(1000, "é".encode() * 61 + b"x"),), 1000),
    "a ping behind a close": Case("5.5.1 close", (close(1001), frame_bytes(PING, b"late")), 1001),
    "a broken frame behind a close": Case("5.5.1 close", (close(1000), frame_bytes(TEXT, b"x", rsv=4)), 1000),
    "another close behind a close": Case("5.5.1 close", (close(1000), close(1001)), 1000),
    "a flood behind a close": Case("5.5.1 close", (close(1000), *([frame_bytes(PONG)] * 700)), 1000),
}
"""Endings that keep the rules: the code comes back and nothing behind the close is looked at."""


GOOD: dict[str, tuple[bytes, ...]] = {
    "text": (text("hello, Grüße, €, 😀".encode()),),
    "empty messages": (text(b""), frame_bytes(BINARY, b"")),
    "text in fragments, cut inside characters": tuple(
        frame_bytes(TEXT if number == 0 else CONTINUATION, bytes((byte,)), fin=number == 6)
        for number, byte in enumerate("€😀".encode())
    ),
    "empty fragments": (text(b"", fin=False), more(b"", fin=False), more(b"")),
    "control frames inside a message": (
        text(b"\xe2", fin=False), frame_bytes(PONG, b"?"), more(b"\x82", fin=False), frame_bytes(PONG), more(b"\xac"),
    ),
    "anything as binary": (frame_bytes(BINARY, bytes(range(256))),),
    "the shortest and the longest of each form": tuple(
        frame_bytes(BINARY, b"x" * length) for length in (125, 126, 65_535, LIMIT)
    ),
    "a message of exactly the limit in fragments": (
        frame_bytes(BINARY, b"x" * (LIMIT - 1), fin=False), more(b"x", fin=False), more(b""),
    ),
    "a pong of 125 bytes that nobody asked for": (frame_bytes(PONG, b"x" * 125),),
    "characters at the edges of the encoding": (text("\0\x7f\x80߿ࠀ\ud7ff\ue000\uffff𐀀\U0010ffff".encode()),),
}  # fmt: skip
"""What keeps the rules and ends nothing: a ping behind it is answered."""
