"""Ctrl-C, SIGTERM and the end of the terminal, as something that one can wait for."""

import os
import select
import signal
import time
from types import FrameType
from typing import Self

_TOGETHER_SECONDS = 1.0
"""One wish to stop can arrive as several signals: make passes SIGTERM on, a shell repeats SIGHUP."""


class StopSignals:
    """While entered, the signals that end a program only take note of themselves."""

    def __init__(self) -> None:
        self._first_at: float | None = None
        self.is_urgent = False
        """Ctrl-C came again, later than with the first signal: no more patience."""

    @property
    def came(self) -> bool:
        """Whether any of them has come."""
        return self._first_at is not None

    def wait(self, seconds: float) -> None:
        """Return after `seconds`, or sooner when a signal comes."""
        if select.select([self._read], [], [], seconds)[0]:
            os.read(self._read, 4096)

    def __enter__(self) -> Self:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        # SIGINT also where it was ignored, as in a script's background: there is no other way to stop in order.
        signal.signal(signal.SIGINT, self._take_note)
        signal.signal(signal.SIGTERM, self._take_note)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # else nohup asked for this
            signal.signal(signal.SIGHUP, self._take_note)
        return self

    def __exit__(self, *_: object) -> None:
        # The handlers stay: this process is about to end, and in order.
        signal.set_wakeup_fd(-1)

    def _take_note(self, number: int, _: FrameType | None) -> None:
        now = time.monotonic()
        if self._first_at is None:
            self._first_at = now
        elif number == signal.SIGINT and now - self._first_at > _TOGETHER_SECONDS:
            self.is_urgent = True
