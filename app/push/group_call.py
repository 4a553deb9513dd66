"""Questions that come together are one query, as heartbeats that come together are one transaction.

A question is answered only by a query that began after it was asked. So nobody is told what was true before: a
token that is revoked is refused by every question that comes after the commit, as if each were a query of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Generic, TypeVar

from app.push.deadlines import deadline

Key = TypeVar("Key", bound=Hashable)
Answer = TypeVar("Answer")

AT_ONCE = 100
"""Keys of one call, after which no further question is taken into it."""
WAIT_SECONDS = 10.0
"""For a call, and as long again until one begins."""


class _Question(Generic[Key, Answer]):
    """One question, of one key or more, and what became of it."""

    __slots__ = ("answers", "error", "is_decided", "keys", "leads", "woken")

    def __init__(self, keys: Sequence[Key]) -> None:
        self.keys = keys
        self.woken = threading.Event()
        self.leads = False
        self.answers: Mapping[Key, Answer] = {}
        self.error: Exception | None = None
        self.is_decided = False


class GroupCall(Generic[Key, Answer]):
    """Asks *call* for many keys at once; what it has no answer for is ``None``.

    While one call is under way the next questions gather, and the first of them leads: it asks for all of them.
    """

    def __init__(self, call: Callable[[Sequence[Key]], Mapping[Key, Answer]]) -> None:
        self._call = call
        self._lock = threading.Lock()
        self._waiting: list[_Question[Key, Answer]] = []
        self._is_led = False

    def ask(self, key: Key) -> Answer | None:
        """What *call* says of *key* when it is called after this.

        :raises TimeoutError: it takes too long.
        """
        return self.ask_all((key,)).get(key)

    def ask_all(self, keys: Sequence[Key]) -> Mapping[Key, Answer]:
        """As ``ask``, of all *keys* at once, not many more than ``AT_ONCE``; the answer may hold others' as well.

        :raises TimeoutError: it takes too long.
        """
        question: _Question[Key, Answer] = _Question(keys)
        with self._lock:
            self._waiting.append(question)
            if not self._is_led:
                self._is_led = question.leads = True
        if not question.leads and not question.woken.wait(2 * WAIT_SECONDS):
            self._give_up(question)
        if question.leads and not question.is_decided:
            self._lead(question)
        if question.error is not None:
            raise question.error
        return question.answers

    def _give_up(self, question: _Question[Key, Answer]) -> None:
        with self._lock:
            if question.leads or question.is_decided:
                return
            if question in self._waiting:
                self._waiting.remove(question)
        question.error = _silence()
        question.is_decided = True

    def _lead(self, own: _Question[Key, Answer]) -> None:
        group: list[_Question[Key, Answer]] = []
        answers: Mapping[Key, Answer] = {}
        error: Exception | None = (
            _silence()
        )  # unless it turns out otherwise: this request may be ended from outside
        try:
            time.sleep(0)  # what has arrived in the same turn of the loop comes along
            keys: dict[Key, None] = {}
            with self._lock:
                while self._waiting and len(keys) < AT_ONCE:
                    question = self._waiting.pop(0)
                    group.append(question)
                    keys.update(dict.fromkeys(question.keys))
            with deadline(WAIT_SECONDS):
                answers = self._call(list(keys))
            error = None
        except TimeoutError:
            pass
        except Exception as raised:
            error = raised
        finally:
            with self._lock:
                if own in self._waiting:
                    self._waiting.remove(own)
                self._is_led = bool(self._waiting)
                if self._waiting:
                    self._waiting[0].leads = True
                    self._waiting[0].woken.set()
            for question in group:
                question.answers, question.error = answers, error
                question.is_decided = True
                question.woken.set()


def _silence() -> TimeoutError:
    return TimeoutError("no answer in time")
