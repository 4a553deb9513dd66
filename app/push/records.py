"""What a worker writes down a moment later, in batches: channels that ended, nudges that were written."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime

import gevent
from gevent.event import Event

from app.push.connection import Connection
from app.push.messages import Subject
from app.push.presence import Registry
from app.push.publisher import Publisher
from app.push.redis_gate import RedisAwayError
from app.push.standing import Questions, Span

EVERY_SECONDS = 0.05
"""How long what comes first waits for others."""
IDLE_SECONDS = 1.0
"""Twenty looks a second that find nothing would be a tenth of what a worker costs that has nothing to do."""
MANY = 100
"""So many nudges within one look are a fan-out: they are written down once it has passed, not beside it."""
LATE_SECONDS = 3.0
"""After so long they are, however many more are still coming. A hundred thousand on two cores take two."""
AGAIN_AFTER_SECONDS = 1.0
MAX_WAITING = 50_000
NODES_A_NOTICE = 1000
SPANS_A_WRITE = 500

log = logging.getLogger("signalbox.push")


class Records:
    """Lists that the hub's callbacks append to without waiting, and the greenlet that empties them."""

    def __init__(self, registry: Registry, publisher: Publisher, questions: Questions) -> None:
        self._registry = registry
        self._publisher = publisher
        self._questions = questions
        self._ended: list[tuple[str, str, bool]] = []
        self._written: list[tuple[Subject, str, float]] = []
        self._tried = 0
        """How many of the first of them could not be written down before."""
        self._before = 0
        """How many of them the last look found."""
        self._waiting_since = 0.0
        self._wanted = Event()
        self._spans: list[Span] = []

    def ended(self, connection: Connection, *, by_itself: bool) -> None:
        """The channel has ended: its presence is to be taken back, if it is still its own.

        One that ended *by_itself*, not because it was replaced, was taken over from by nobody (hazard 18).
        """
        self._ended.append((connection.node_id, connection.connection_id, by_itself))
        self._wanted.set()

    def span(self, span: Span) -> None:
        """For the node's history; of a storm that the database cannot follow the last ones are left out."""
        if len(self._spans) < MAX_WAITING:
            self._spans.append(span)

    def written(self, connection: Connection, subjects: tuple[Subject, ...], now: float) -> None:
        """The kernel has taken a nudge that these deployments and actions want to know of, *now* (wall clock)."""
        if len(self._written) < MAX_WAITING:
            for subject in subjects:
                self._written.append((subject, connection.node_id, now))
            if not self._wanted.is_set():
                self._wanted.set()

    def run(self) -> None:
        """Write down, for ever. One greenlet."""
        while True:
            if not self._written and not self._ended:
                self._wanted.wait(IDLE_SECONDS)
            self._wanted.clear()
            gevent.sleep(EVERY_SECONDS)
            if not self._is_fanning_out():
                self._flush_written()
            try:
                self._flush_ended()
            except RedisAwayError:
                gevent.sleep(AGAIN_AFTER_SECONDS)

    def write_spans(self) -> None:
        """Write down the channels that have ended, many in one transaction; asked about every few seconds."""
        while self._spans:
            some, self._spans = self._spans[:SPANS_A_WRITE], self._spans[SPANS_A_WRITE:]
            try:
                self._questions.record_ended(some)
            except Exception:
                log.exception("cannot write down %d channels that ended", len(some))
                return

    def flush(self) -> None:
        """Write down all there is.

        :raises RedisAwayError: channels that ended are kept for the next time.
        """
        self._flush_written()
        self._flush_ended()

    def _is_fanning_out(self) -> bool:
        """Whether many nudges are being written just now, which the database's work would hold up."""
        count, before, now = len(self._written), self._before, time.monotonic()
        self._before = count
        if not before:
            self._waiting_since = now
        return count - before >= MANY and now - self._waiting_since < LATE_SECONDS

    def _flush_written(self) -> None:
        written, tried = self._written, self._tried
        self._written, self._before, self._tried = [], 0, 0
        if written:
            try:
                self._questions.record_nudged(
                    [(subject, node_id, datetime.fromtimestamp(at, UTC)) for subject, node_id, at in written]
                )
            except Exception:
                log.exception("cannot write down %d nudges", len(written))
                again = written[tried:]  # once more each; noting one twice changes nothing
                self._written = (again + self._written)[:MAX_WAITING]
                self._tried = len(again)

    def _flush_ended(self) -> None:
        if not self._ended:
            return
        ended, self._ended = self._ended, []
        try:
            lost = self._registry.release((node_id, connection_id) for node_id, connection_id, _ in ended)
            self._registry.forgive(
                (node_id, connection_id)
                for node_id, connection_id, by_itself in ended
                if by_itself and connection_id in lost
            )
        except RedisAwayError:
            self._ended = ended[-MAX_WAITING:] + self._ended
            raise
        self._publisher.tell_fleet("-", [node_id for node_id, _, _ in ended][:NODES_A_NOTICE])
