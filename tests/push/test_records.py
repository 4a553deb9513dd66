"""When nudges were written is written down beside no fan-out, but behind it."""

from collections.abc import Callable, Sequence
from datetime import datetime

import pytest

from app.push import records
from app.push.connection import Connection
from app.push.records import Records


class Over(Exception):
    """The end of the test's time."""


class Database:
    """Remembers how many nudges were written down at once, and after which look."""

    def __init__(self) -> None:
        self.looks = 0
        self.noted: list[tuple[int, int]] = []
        self.away_until = 0

    def record_nudged(self, written: Sequence[tuple[str, str, datetime]]) -> None:
        if self.looks <= self.away_until:
            raise TimeoutError("no answer")
        self.noted.append((self.looks, len(written)))


def run(
    monkeypatch: pytest.MonkeyPatch, comes: Callable[[int], int], looks: int, away_until: int = 0
) -> list[tuple[int, int]]:
    """What is written down, and when, where before the look with each number so many nudges are written."""
    database = Database()
    database.away_until = away_until
    kept = Records(None, None, database)  # type: ignore[arg-type]  # Redis is not asked
    connection = Connection("n", "e", "c", 1, "ws", 0, "-", None)

    def sleep(seconds: float) -> None:
        assert seconds == records.EVERY_SECONDS
        database.looks += 1
        if database.looks > looks:
            raise Over
        for _ in range(comes(database.looks)):
            kept.written(connection, ("d",), 0.0)

    monkeypatch.setattr(records.gevent, "sleep", sleep)
    monkeypatch.setattr(records.time, "monotonic", lambda: database.looks * records.EVERY_SECONDS)
    with pytest.raises(Over):
        kept.run()
    return database.noted


def test_a_fan_out_is_written_down_once_it_has_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The database's work would otherwise stand between the first node and the last."""
    assert run(monkeypatch, lambda look: 500 if look <= 4 else 0, 8) == [(5, 2000)]


def test_what_could_not_be_written_down_is_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each nudge has two tries: what comes anew is not lost with what can never be written."""
    assert run(monkeypatch, lambda look: 1, 4, away_until=1) == [(2, 2), (3, 1), (4, 1)]
    assert run(monkeypatch, lambda look: 1, 5, away_until=3) == [(4, 2), (5, 1)]


def test_what_comes_singly_is_written_down_at_once_and_what_never_ends_every_few_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An action counts as delivered when its push is noted; and nothing may wait for ever."""
    assert run(monkeypatch, lambda look: 1, 3) == [(1, 1), (2, 1), (3, 1)]
    noted = run(monkeypatch, lambda look: 500, 130)
    assert [count for _, count in noted] == [61 * 500, 61 * 500]
