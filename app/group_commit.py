"""Many small writes of one worker in one transaction (hazard 28).

Whoever comes first waits a moment, and then writes what has come by then, its own and the others'; each caller
is answered after the commit. There is no greenlet that must be kept alive and none to be drained: what waits
is a request, and whatever ends the one that leads hands the lead to the next.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from sqlalchemy.exc import DataError, IntegrityError, OperationalError, StatementError
from sqlalchemy.orm import Session

from app.database import is_passing, transaction
from app.database_errors import lacks_schema
from app.errors import InvalidInputError, UnavailableError
from app.push.deadlines import deadline

Item = TypeVar("Item")
Result = TypeVar("Result")

LINGER_SECONDS = 0.003
"""How long the first waits for others."""
WEIGHT_AT_ONCE = 400
"""Of one transaction. SQLite's do not yield: this is for how long a worker does nothing else."""
MOST_WAITING = 2000
WAIT_SECONDS = 10.0
"""Until a transaction has taken an item; and as long again until it has committed."""

_NOT_TO_BE_STORED = (DataError, IntegrityError, StatementError, OverflowError, ValueError)
"""What databases and their drivers say to NUL, NaN, half surrogates and 2^63."""


class _Entry(Generic[Item, Result]):
    """One item and what became of it."""

    def __init__(self, item: Item) -> None:
        self.item = item
        self.woken = threading.Event()
        self.leads = False
        self.result: Result | None = None
        self.error: Exception | None = None
        self.is_decided = False

    def decide(self, result: Result | None, error: Exception | None) -> None:
        self.result, self.error, self.is_decided = result, error, True


class GroupCommit(Generic[Item, Result]):
    """Commits items in groups.

    *write* puts items, sorted by *key* and then as they came, into one session and returns a result for each. It
    may be called again for the same or for fewer items, must not yield, and its results must not be ``None``.
    *weight* is an item's share of ``WEIGHT_AT_ONCE``. *told* is called with the results of each group once it is
    committed, in the leading request.
    """

    def __init__(
        self,
        write: Callable[[Session, Sequence[Item]], Sequence[Result]],
        key: Callable[[Item], str],
        weight: Callable[[Item], int],
        told: Callable[[Sequence[Result]], None],
    ) -> None:
        self._write = write
        self._key = key
        self._weight = weight
        self._told = told
        self._lock = threading.Lock()
        self._waiting: deque[_Entry[Item, Result]] = deque()
        self._is_led = False

    def commit(self, item: Item) -> Result:
        """Return once *item* is committed, with what *write* said of it.

        :raises InvalidInputError: no database can store it; the others of its group are stored.
        :raises UnavailableError: the database is busy, or too much waits for it.
        """
        entry: _Entry[Item, Result] = _Entry(item)
        with self._lock:
            if len(self._waiting) >= MOST_WAITING:
                raise UnavailableError("Too much waits for the database; nothing was changed.", retry_after=5)
            self._waiting.append(entry)
            if not self._is_led:
                self._is_led = entry.leads = True
        if not entry.leads:
            self._follow(entry)
        if entry.leads:
            self._lead()
        if entry.error is not None:
            raise entry.error
        assert entry.result is not None
        return entry.result

    def _follow(self, entry: _Entry[Item, Result]) -> None:
        """Wait until *entry* is decided, or is to lead."""
        if entry.woken.wait(WAIT_SECONDS):
            return
        with self._lock:
            if entry.leads:
                return
            if entry in self._waiting:
                self._waiting.remove(entry)
                raise UnavailableError("The database is busy; nothing was changed.", retry_after=5)
        if not entry.woken.wait(WAIT_SECONDS):
            raise UnavailableError("The database does not answer; try again.", retry_after=5)

    def _lead(self) -> None:
        group: list[_Entry[Item, Result]] = []
        try:
            time.sleep(LINGER_SECONDS)
            with self._lock:
                group = self._take()
            self._commit(group)
        finally:
            with self._lock:
                self._is_led = bool(self._waiting)
                if self._waiting:
                    self._waiting[0].leads = True
                    self._waiting[0].woken.set()
            for entry in group:
                if not entry.is_decided:  # this request was ended from outside
                    entry.decide(
                        None, UnavailableError("The database does not answer; try again.", retry_after=5)
                    )
                entry.woken.set()
        self._told([entry.result for entry in group if entry.result is not None])

    def _take(self) -> list[_Entry[Item, Result]]:
        """The oldest, the leading one's own among them, up to the weight."""
        group = [self._waiting.popleft()]
        weight = self._weight(group[0].item)
        while self._waiting and (weight := weight + self._weight(self._waiting[0].item)) <= WEIGHT_AT_ONCE:
            group.append(self._waiting.popleft())
        group.sort(key=lambda entry: self._key(entry.item))
        return group

    def _commit(self, group: Sequence[_Entry[Item, Result]]) -> None:
        decided: list[tuple[_Entry[Item, Result], Result | None, Exception | None]] = []

        def together(session: Session) -> None:
            results = self._write(session, [entry.item for entry in group])
            decided[:] = [(entry, result, None) for entry, result in zip(group, results, strict=True)]

        def without_culprits(session: Session) -> None:
            decided[:] = self._write_or_halve(session, group)

        try:
            with deadline(WAIT_SECONDS):
                try:
                    transaction(together)
                except Exception as error:
                    if _is_of_all(error):
                        raise
                    transaction(without_culprits)
        except TimeoutError:
            decided = [
                (entry, None, UnavailableError("The database does not answer; try again.", retry_after=5))
                for entry in group
            ]
        except Exception as error:  # of all of them: each request says so
            decided = [(entry, None, error) for entry in group]
        for entry, result, reason in decided:
            entry.decide(result, reason)

    def _write_or_halve(
        self, session: Session, group: Sequence[_Entry[Item, Result]]
    ) -> list[tuple[_Entry[Item, Result], Result | None, Exception | None]]:
        """Write *group*; of what cannot be written find out which it is, so that the others are."""
        try:
            with session.begin_nested():
                results = self._write(session, [entry.item for entry in group])
        except Exception as error:
            if _is_of_all(error):
                raise
            if len(group) == 1:
                return [(group[0], None, _as_answer(error))]
            half = len(group) // 2
            return self._write_or_halve(session, group[:half]) + self._write_or_halve(session, group[half:])
        return [(entry, result, None) for entry, result in zip(group, results, strict=True)]


def _is_of_all(error: Exception) -> bool:
    """Whether *error* says something of the database, and nothing of what was to be written."""
    return isinstance(error, (OperationalError, UnavailableError)) or is_passing(error) or lacks_schema(error)


def _as_answer(error: Exception) -> Exception:
    if isinstance(error, _NOT_TO_BE_STORED):
        answer = InvalidInputError("The body holds something that no database can store.")
        answer.__cause__ = error
        return answer
    return error
