"""Live tails: what ``vector tap`` shows of one component, posted as it comes by a thread of the tap's own.

Which begin and when they end is decided in ``taps``. Nothing waits for them: what the server does not take in
time is lost, the newest events last.
"""

from __future__ import annotations

import collections
import logging
import os
import threading
import time
from collections.abc import Callable
from random import Random
from typing import Any

from agent import vector
from agent.actions import RefuseTap, StartTap
from agent.api import ApiError
from agent.backoff import Backoff, after_retry_hint
from agent.events import Event, TapEnded, TapRefused
from agent.launcher import Launcher
from agent.tap_output import TapOutput, read_events

log = logging.getLogger("agent.tap")

BATCH_SECONDS = 1.0
"""Between two posts of one tap; the first event goes out at once."""
BATCH_EVENTS = 200
"""The server keeps as many of one call."""
BATCH_BYTES = 256 * 1024
EVENTS_AN_INTERVAL = 50
"""Vector shows so many in each of its intervals of half a second, and leaves out the others."""
MOST_FAILURES = 5
"""After so many posts in a row that brought nothing a tap ends."""
LONGEST_PAUSE_SECONDS = 8.0
LAST_WORDS = 3
"""So often the last word is tried."""
REASON_CHARACTERS = 1000

Post = Callable[[dict[str, Any]], None]
"""Raises ApiError."""


class TapStreams:
    """Starts and stops them; each becomes exactly one TapEnded, and before it maybe one TapRefused."""

    def __init__(
        self,
        launcher: Launcher,
        vector_bin: str,
        version: Callable[[], str | None],
        post: Post,
        put: Callable[[Event], None],
    ) -> None:
        self._launcher = launcher
        self._vector_bin = vector_bin
        self._version = version
        self._post = post
        self._put = put
        self._streams: dict[str, _Stream] = {}
        """By request; only the agent's own thread adds, and a tap's own thread removes."""

    def start(self, action: StartTap) -> None:
        """Begin; returns at once."""
        stream = _Stream(action)
        self._streams[action.request_id] = stream
        self._launcher.submit(lambda: self._spawn(action, stream))
        name = f"tap-{action.request_id}"
        threading.Thread(target=self._live, args=(action, stream), name=name, daemon=True).start()

    def stop(self, request_id: str, reason: str) -> None:
        """End one, for *reason*; returns at once."""
        stream = self._streams.get(request_id)
        if stream is not None:
            stream.reason = stream.reason or reason
            self._launcher.submit(stream.kill)

    def refuse(self, action: RefuseTap) -> None:
        """Tell the server that there is nothing to see, and why."""
        try:
            self._post(_last_word(action, action.reason))
        except ApiError as error:
            log.warning("%s", error)

    def _spawn(self, action: StartTap, stream: _Stream) -> None:
        command = vector.tap_command(
            self._vector_bin,
            self._version(),
            action.api_port,
            action.component_id,
            EVENTS_AN_INTERVAL,
            of_inputs=False,
        )
        environment = vector.tap_environment(os.environ)
        try:
            stream.process = self._launcher.spawn(
                command, environment, stream, stream.exited, action.seconds + LONGEST_PAUSE_SECONDS
            )
        except (OSError, ValueError) as error:
            # ValueError: a NUL in the component's name, which no command line can hold.
            stream.finish(f"cannot run Vector ({self._vector_bin}): {error}")

    def _live(self, action: StartTap, stream: _Stream) -> None:
        """The life of a tap's own thread."""
        try:
            self._post_all(action, stream)
        except Exception:
            log.exception("cannot go on with tap id=%s", action.request_id)
            self._launcher.submit(stream.kill)
            stream.over.wait()
        finally:
            del self._streams[action.request_id]
            self._put(TapEnded(action.request_id))

    def _post_all(self, action: StartTap, stream: _Stream) -> None:
        backoff = Backoff(BATCH_SECONDS, LONGEST_PAUSE_SECONDS, Random(), floor=0.5)
        while not stream.over.is_set():
            stream.wait()
            lines = stream.take()
            if not lines:
                continue
            pause = BATCH_SECONDS
            try:
                self._post({**_head(action), "events": read_events(lines)})
                backoff.reset()
            except ApiError as error:
                log.warning("%s id=%s", error, action.request_id)
                hint = after_retry_hint(error.retry_after or 0.0, Random())
                pause = max(BATCH_SECONDS, backoff.next_delay(), hint)
                if error.is_answer or backoff.failures >= MOST_FAILURES:
                    self._put(TapRefused(action.request_id, str(error)))
                    stream.over.wait()
                    if error.is_answer:
                        return  # it wants to hear no more of this
            stream.over.wait(min(pause, LONGEST_PAUSE_SECONDS))
        self._say_last_word(action, stream)

    def _say_last_word(self, action: StartTap, stream: _Stream) -> None:
        body = {**_last_word(action, stream.reason or ""), "events": read_events(stream.take())}
        backoff = Backoff(BATCH_SECONDS, LONGEST_PAUSE_SECONDS, Random())
        for _ in range(LAST_WORDS):
            try:
                self._post(body)
                return
            except ApiError as error:
                log.warning("%s id=%s", error, action.request_id)
                if error.is_answer:
                    return
            time.sleep(backoff.next_delay())


class _Stream(TapOutput):
    """The events of one tap between the launcher's thread, which reads them, and the tap's own, which posts them."""

    def __init__(self, action: StartTap) -> None:
        super().__init__()
        self.reason: str | None = None
        """Why it ends."""
        self.over = threading.Event()
        """Its process is gone."""
        self._component_id = action.component_id
        self._lines: collections.deque[bytes] = collections.deque()
        self._size = 0
        self._something = threading.Event()
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Until there is an event, or the end."""
        self._something.wait()

    def take(self) -> list[bytes]:
        """The events since the last time, the oldest left out where there were too many."""
        with self._lock:
            if not self.over.is_set():
                self._something.clear()
            lines = list(self._lines)
            self._lines.clear()
            self._size = 0
        return lines

    def kill(self) -> None:
        """End its process, unless it is gone and its number maybe somebody else's. In the launcher's thread."""
        if not self.over.is_set():
            self.stop()

    def exited(self, code: int) -> None:
        """Its process was reaped."""
        notes = "; ".join(self.notes_of_failure())
        how = f"exit code {code}" if code >= 0 else f"signal {-code}"
        if self.unmatched is not None:
            self.finish(f'what runs has no output of a component "{self._component_id}": {self.unmatched}')
        else:
            self.finish(f"vector tap has ended ({how})" + (f": {notes}" if notes else ""))

    def finish(self, reason: str) -> None:
        """It is over, for *reason* unless there was one before."""
        with self._lock:
            self.reason = self.reason or reason
            self.over.set()
            self._something.set()

    def _event(self, line: bytes) -> None:
        with self._lock:
            self._lines.append(line)
            self._size += len(line)
            while len(self._lines) > BATCH_EVENTS or self._size > BATCH_BYTES:
                self._size -= len(self._lines.popleft())
            self._something.set()


def _head(action: StartTap | RefuseTap) -> dict[str, Any]:
    return {
        "requestId": action.request_id,
        "pipelineId": action.pipeline_id,
        "componentId": action.component_id,
    }


def _last_word(action: StartTap | RefuseTap, reason: str) -> dict[str, Any]:
    return {**_head(action), "status": "stopped", "reason": reason[:REASON_CHARACTERS]}
