"""Somebody who works while the server is busy: the same requests again and again, each timed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import requests


class Probe:
    """A context manager: a thread that calls `ask` every so often until the end; what it raises counts as failed."""

    def __init__(self, ask: Callable[[], requests.Response], every: float = 0.1) -> None:
        self._ask = ask
        self._every = every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.spans_ms: list[float] = []
        self.failures: list[str] = []

    def __enter__(self) -> Probe:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(60)

    def _run(self) -> None:
        while not self._over.is_set():
            began = time.perf_counter()
            try:
                answer = self._ask()
                if answer.status_code < 400:
                    self.spans_ms.append((time.perf_counter() - began) * 1000)
                else:
                    self.failures.append(f"{answer.url} answered {answer.status_code}")
            except requests.RequestException as error:
                self.failures.append(str(error))
            self._over.wait(self._every)
