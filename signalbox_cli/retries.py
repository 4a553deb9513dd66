"""Whether one request is worth another try, and when: a few tries, spread by chance, up to a deadline."""

from __future__ import annotations

import random
import time

from signalbox_cli.failures import ConflictFailure, Failure, UnreachableFailure

PATIENCE_SECONDS = 90.0
"""No try begins later than this after the first. The server finds within 60 s that an answer is lost."""
FIRST_PAUSE_SECONDS = 0.25
PASSING = frozenset({429, 502, 503, 504})
"""Answers that another try may not get."""


class Tries:
    """Those of one request, from its making on."""

    def __init__(self, most: int, *, reads: bool, has_key: bool) -> None:
        """At most *most*, not counting those that only found it still being done.

        :param reads: it changes nothing, so that it can always be sent again.
        :param has_key: it can be as well, since the server does it once (``Idempotency-Key``).
        """
        self._most = most
        self._reads = reads
        self._has_key = has_key
        self._began = time.monotonic()
        self._sent = 0
        self._failed = 0
        self._may_be_done = False
        self._random = random.Random()

    def pause(self, failure: Failure, status: int | None) -> None:
        """Return once it is to be sent again, after an answer of this *status* (``None``: none came).

        :raises Failure: *failure*, if it is not; told how often it was tried.
        """
        self._sent += 1
        if isinstance(failure, UnreachableFailure) and not self._reads:
            self._may_be_done = self._may_be_done or failure.may_be_done
        is_being_done = (
            self._has_key and isinstance(failure, ConflictFailure) and failure.retry_after is not None
        )
        self._failed += not is_being_done
        seconds = self._seconds(failure)
        is_in_time = time.monotonic() - self._began + seconds <= PATIENCE_SECONDS
        may_go_on = is_being_done or (self._is_worth_it(failure, status) and self._failed < self._most)
        if not may_go_on or not is_in_time:
            is_too_long = may_go_on and failure.retry_after is not None
            failure.details += self._account(seconds if is_too_long else None)
            raise failure
        time.sleep(seconds)

    def _is_worth_it(self, failure: Failure, status: int | None) -> bool:
        if not isinstance(failure, UnreachableFailure) or failure.is_lasting:
            return False
        was_turned_away = status in (429, 503) and failure.retry_after is not None
        return was_turned_away or ((self._reads or self._has_key) and (status is None or status in PASSING))

    def _seconds(self, failure: Failure) -> float:
        if failure.retry_after is not None:
            return failure.retry_after * self._random.uniform(1.0, 1.25)
        return self._random.uniform(0, FIRST_PAUSE_SECONDS * 2 ** max(0, self._failed - 1))

    def _account(self, too_long: float | None) -> list[str]:
        lines = []
        if too_long is not None:
            lines.append(
                f"The server asks to wait {too_long:.0f} s more, which is too long for this program."
            )
        if self._sent > 1:
            lines.append(f"Given up after {self._sent} tries in {time.monotonic() - self._began:.0f} s.")
        if self._may_be_done:
            lines.append("Whether it was done is not known.")
        return lines
