"""Points of metrics: made from counters, added up, packed. Pure.

A point says for how many seconds something was observed, and totals over these: of a counter what it grew by, of
a level its value times the seconds. So two points are added by adding, whatever lengths of time they are of, and
a mean is a total by the seconds. What was not observed is no point: a gap.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

HOST = "host"
"""The subject of what a node's machine does; the other subjects are ids of pipelines."""
HOST_COUNTERS = (
    "cpuSecondsTotal",
    "cpuSecondsIdle",
    "diskReadBytes",
    "diskWrittenBytes",
    "netRxBytes",
    "netTxBytes",
)
HOST_LEVELS = ("memoryUsedBytes", "memoryTotalBytes", "fsUsedBytes", "fsTotalBytes")
PIPELINE_COUNTERS = ("eventsIn", "eventsOut", "bytesIn", "bytesOut", "errorsTotal", "eventsDiscarded")

MINUTE, HOUR, DAY = 60, 3600, 86400
POINTS_A_BLOCK = {MINUTE: 60, HOUR: 24, DAY: 32}
NEXT_LEVEL = {MINUTE: HOUR, HOUR: DAY}
LONGEST_GAP_SECONDS = 900.0
"""Between two observations; what lies between two that are further apart nobody knows."""

_HEAD = struct.Struct("<BBB")

Point = list[float]
"""Seconds, then the totals in the order of ``fields``."""
Block = dict[str, dict[int, Point]]
"""By subject, then by the point's number in the block."""


def fields(subject: str) -> tuple[str, ...]:
    """The names of a point's totals."""
    return HOST_COUNTERS + HOST_LEVELS if subject == HOST else PIPELINE_COUNTERS


def block_start(level: int, at: float) -> int:
    """The start of the block of *level* in which the moment *at* (seconds since 1970) lies."""
    span = level * POINTS_A_BLOCK[level]
    return int(at // span) * span


@dataclass(frozen=True, slots=True)
class Standing:
    """What a node's counters said at one moment (seconds since 1970), by subject."""

    at: float
    values: dict[str, dict[str, float]]


def between(before: Standing | None, now: Standing) -> Iterator[tuple[str, int, Point]]:
    """What *now* says about the time since *before*: subject, start of a minute, and the share of that minute.

    A counter that fell has started again from 0. A subject that was not there before has no beginning to count from.
    """
    if before is None or not 0 < now.at - before.at <= LONGEST_GAP_SECONDS:
        return
    seconds = now.at - before.at
    for subject, values in now.values.items():
        old = before.values.get(subject)
        if old is None:
            continue
        totals = [_total(name, old, values, seconds) for name in fields(subject)]
        start = int(before.at // MINUTE) * MINUTE
        while start < now.at:
            covered = min(start + MINUTE, now.at) - max(start, before.at)
            yield subject, start, [covered, *(total * covered / seconds for total in totals)]
            start += MINUTE


def _total(name: str, old: Mapping[str, float], now: Mapping[str, float], seconds: float) -> float:
    value = now.get(name, 0.0)
    if name in HOST_LEVELS:
        return value * seconds
    if name not in now or name not in old:
        return 0.0
    return value - old[name] if value >= old[name] else value


def total(points: Iterable[Point]) -> Point:
    """The sum of some points, at least one."""
    return [sum(column) for column in zip(*points, strict=True)]


class Sheet:
    """A block as it is stored, to which points are added in place: nearly all of an hour stays as it is.

    Each total is one column of 32-bit floats: seven digits are enough for a picture. Absent points are zeros, which
    cost next to nothing once compressed.
    """

    def __init__(self, level: int, data: bytes | None = None) -> None:
        """What *data*, of ``packed``, holds; a subject of another width, of another release, is left out."""
        self._size = POINTS_A_BLOCK[level]
        self._columns: dict[str, array[float]] = {}
        if data is not None:
            for subject, size, columns in _parts(data):
                if size == self._size:
                    self._columns[subject] = columns

    def add(self, subject: str, number: int, point: Point) -> None:
        """Add *point* to what stands at *number* of the block's points."""
        columns = self._columns.get(subject)
        if columns is None:
            columns = array("f", bytes(4 * len(point) * self._size))
            self._columns[subject] = columns
        for place, value in zip(range(number, len(columns), self._size), point, strict=True):
            columns[place] += value

    def packed(self) -> bytes:
        """As it is stored: compressed."""
        parts = []
        for subject, columns in sorted(self._columns.items()):
            name = subject.encode()
            parts += [_HEAD.pack(len(name), len(columns) // self._size, self._size), name, columns.tobytes()]
        return zlib.compress(b"".join(parts), 1)


def pack(level: int, block: Block) -> bytes:
    """*block* as it is stored, see ``Sheet``."""
    sheet = Sheet(level)
    for subject, points in block.items():
        for number, point in points.items():
            sheet.add(subject, number, point)
    return sheet.packed()


def unpack(data: bytes) -> Block:
    """The block that ``pack`` made *data* of; a subject of another width, of another release, is left out."""
    block = Block()
    for subject, size, columns in _parts(data):
        # Point by point: each is one slice, whatever its width.
        block[subject] = {
            number: columns[number::size].tolist() for number in range(size) if columns[number] > 0
        }
    return block


def _parts(data: bytes) -> Iterator[tuple[str, int, array[float]]]:
    """Subject, points a column, and columns, one after the other."""
    raw, at = zlib.decompress(data), 0
    while at < len(raw):
        length, width, size = _HEAD.unpack_from(raw, at)
        at += _HEAD.size
        subject = raw[at : at + length].decode()
        at += length
        end = at + 4 * width * size
        if width == len(fields(subject)) + 1:
            columns = array("f")
            columns.frombytes(raw[at:end])
            yield subject, size, columns
        at = end
