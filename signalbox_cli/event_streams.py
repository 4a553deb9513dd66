"""Reading server-sent events out of an answer that goes on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

MAX_LINE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Event:
    """One event; comments are left out."""

    kind: str
    data: str


def events(pieces: Iterable[bytes]) -> Iterator[Event]:
    """The events in bytes that come in any pieces; one that is not whole at the end is left out.

    :raises ValueError: a line does not end.
    """
    kind, data = "", list[str]()
    for line in _lines(pieces):
        if not line:
            if kind or data:
                yield Event(kind or "message", "\n".join(data))
            kind, data = "", []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            kind = value
        elif name == "data":
            data.append(value)


def _lines(pieces: Iterable[bytes]) -> Iterator[str]:
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line.removesuffix(b"\r").decode("utf-8", "replace")
        if len(rest) > MAX_LINE_BYTES:
            raise ValueError("a line of the stream does not end")
