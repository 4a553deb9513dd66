"""Keeps on disk what this node runs, in a thread of its own: a disk that is slow or hangs holds up nothing else."""

from __future__ import annotations

import logging
import threading

from agent.plan import Memory
from agent.store import Store, StoreError

log = logging.getLogger("agent.saver")

RETRY_SECONDS = 30.0


class Saver:
    """Writes what it was given last; what is overtaken before it was written is never written."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._wanted: Memory | None = None
        """What is not on disk yet."""
        self._is_closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="saver", daemon=True)

    def start(self) -> None:
        """Begin to write what :meth:`save` gets."""
        self._thread.start()

    def save(self, memory: Memory) -> None:
        """Have this kept; returns at once."""
        with self._changed:
            self._wanted = memory
            self._changed.notify()

    def close(self, seconds: float) -> None:
        """Write what is left, trying once more what could not be written; waits no longer than ``seconds``."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join(seconds)

    def _run(self) -> None:
        while True:
            with self._changed:
                while self._wanted is None and not self._is_closed:
                    self._changed.wait()
                memory, is_last = self._wanted, self._is_closed
            if memory is None:
                return
            error = self._write(memory)
            with self._changed:
                if error is None and self._wanted is memory:
                    self._wanted = None
                if error is not None:
                    # A full disk stops nothing; what is on it is the plan before.
                    log.error("%s; trying again in %g s", error, RETRY_SECONDS)
                    if is_last:
                        return
                    if self._wanted is memory and not self._is_closed:
                        self._changed.wait(RETRY_SECONDS)

    def _write(self, memory: Memory) -> Exception | None:
        try:
            self._store.keep_plan(memory)
        except StoreError as error:
            return error
        except Exception as error:
            # A mistake of ours must not end the thread: the next plan may be one that can be written.
            log.exception("cannot keep the plan")
            return error
        return None
