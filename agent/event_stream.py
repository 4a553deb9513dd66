"""Server-sent events as they come off the wire. Pure: bytes in, events out."""

from __future__ import annotations

from collections.abc import Iterator

MOST_LINE_BYTES = 64 * 1024
MOST_EVENT_BYTES = 64 * 1024
"""Of all data lines of one event together."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class BrokenStreamError(Exception):
    """What came is no event stream that one could go on reading."""


class EventStreamParser:
    """Cuts a byte stream, however it was split on the way, into events.

    Lines end in LF or CR LF. Comments, fields other than ``event`` and ``data``, and events without data are
    passed over. The space after a field's colon may be missing.
    """

    def __init__(self) -> None:
        self._line = bytearray()
        """The line that has not ended yet."""
        self._is_first = True
        self._name = b""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> Iterator[tuple[str, bytes]]:
        """Name and data of each event that *data* completes; iterate to the end before feeding more.

        BrokenStreamError for a line or an event that is too long.
        """
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            self._extend(data[start:end])
            start = end + 1
            line = bytes(self._line)
            self._line.clear()
            event = self._take(line.removesuffix(b"\r"))
            if event is not None:
                yield event
        self._extend(data[start:])

    def _extend(self, part: bytes) -> None:
        if len(self._line) + len(part) > MOST_LINE_BYTES:
            raise BrokenStreamError(f"a line has more than {MOST_LINE_BYTES} bytes")
        self._line += part

    def _take(self, line: bytes) -> tuple[str, bytes] | None:
        if self._is_first:
            line = line.removeprefix(BYTE_ORDER_MARK)
            self._is_first = False
        if not line:
            return self._dispatch()
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"event":
            self._name = value
        elif field == b"data":
            self._size += len(value) + 1
            if self._size > MOST_EVENT_BYTES:
                raise BrokenStreamError(f"an event has more than {MOST_EVENT_BYTES} bytes")
            self._data.append(value)
        return None

    def _dispatch(self) -> tuple[str, bytes] | None:
        event = (self._name.decode("utf-8", "replace"), b"\n".join(self._data)) if self._data else None
        self._name, self._data, self._size = b"", [], 0
        return event
