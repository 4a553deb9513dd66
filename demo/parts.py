"""The processes of the demo: started one by one, watched, and stopped in order with nothing left behind."""

import os
import signal
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from demo.stop_signals import StopSignals
from tools.child_process import ChildProcess

_GROUP_SECONDS = 3.0
"""What a part started and left behind, such as the workers of a master that was killed, gets to end by itself."""
_POLL_SECONDS = 0.05


class Parts:
    """What runs, in the order in which it was started."""

    def __init__(self) -> None:
        self._processes: dict[str, ChildProcess] = {}
        self._told: set[str] = set()

    def start(
        self, name: str, command: Sequence[str], *, log: Path, env: Mapping[str, str], cwd: Path
    ) -> None:
        """Start one in a process group of its own, which the kernel stops if we die. Raises ProcessError."""
        self.add(name, ChildProcess(command, log=log, env=env, cwd=cwd))

    def add(self, name: str, process: ChildProcess) -> None:
        """Take over one that runs already."""
        self._processes[name] = process

    def has_any(self, names: Iterable[str]) -> bool:
        """Whether one of these names was started and not stopped."""
        return not self._processes.keys().isdisjoint(names)

    def running(self) -> Iterator[tuple[str, ChildProcess]]:
        """Those that have not been stopped."""
        yield from self._processes.items()

    def ended(self) -> Iterator[tuple[str, ChildProcess]]:
        """Those that have ended by themselves, each told once."""
        for name, process in self._processes.items():
            if name not in self._told and not process.is_running:
                self._told.add(name)
                yield name, process

    def stop(self, names: Iterable[str], seconds: float, signals: StopSignals) -> list[str]:
        """Ask those of these names that were started to end, all at once, and wait for them.

        Whoever has not ended after `seconds`, or when Ctrl-C comes again, is killed; the names of those.
        """
        stopping = {name: self._processes.pop(name) for name in names if name in self._processes}
        for process in stopping.values():
            process.send_signal(signal.SIGTERM)
            process.resume()  # a frozen process takes the signal only once it runs again
        deadline = time.monotonic() + seconds
        running = list(stopping)
        while running and time.monotonic() < deadline and not signals.is_urgent:
            signals.wait(_POLL_SECONDS)
            running = [name for name in running if stopping[name].is_running]
        for name in running:
            stopping[name].kill()
        for process in stopping.values():
            _end_group(process.pid)
        return running


def _end_group(group: int) -> None:
    """Wait for what is left of a process group whose leader has ended, then kill it."""
    deadline = time.monotonic() + _GROUP_SECONDS
    try:
        while time.monotonic() < deadline:
            os.killpg(group, 0)
            time.sleep(_POLL_SECONDS)
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return
