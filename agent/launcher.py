"""The one thread that forks. It starts processes, reads what they say, and reaps them.

It lives as long as the agent: the kernel kills a child when the *thread* that forked it ends
(PR_SET_PDEATHSIG), which is what leaves no orphans after a SIGKILL to the agent.
"""

from __future__ import annotations

import collections
import ctypes
import fcntl
import logging
import os
import queue
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from agent.protocol import MAX_RECENT_LOG_LINES

log = logging.getLogger("agent.launcher")

PR_SET_PDEATHSIG = 1
F_SETPIPE_SZ = 1031
PIPE_BYTES = 256 * 1024
"""Room for what a child says while this thread is busy; never enough to matter, then the child would wait."""
READ_BYTES = 64 * 1024
LAST_READS = 16
"""So much is still read of a child that is gone; a grandchild may go on writing for ever."""
LINE_CHARACTERS = 1000
POLL_SECONDS = 0.2
"""How often to look for ended processes on kernels without pidfd_open (before 5.3)."""

_prctl = ctypes.CDLL(None).prctl
_prctl.argtypes = [ctypes.c_int, ctypes.c_ulong]


class Tail:
    """The last lines that a process said; written by the launcher, read by whoever reports."""

    def __init__(self, redact: Callable[[str], str] = lambda text: text, earlier: Tail | None = None) -> None:
        """``earlier``: of the process before this one; its lines stay readable in :meth:`lines`."""
        count, lines = earlier.lines() if earlier is not None else (0, [])
        self._redact = redact
        self._lines = collections.deque(lines, maxlen=MAX_RECENT_LOG_LINES)
        self._part = b""
        self._count = self._first = count
        self._lock = threading.Lock()

    def feed(self, data: bytes) -> None:
        """Take what was read; whole lines are kept, each cut to LINE_CHARACTERS."""
        *lines, part = (self._part + data).split(b"\n")
        # A line without an end must not grow for ever.
        self._part = part[: 4 * LINE_CHARACTERS]
        self._add(lines)

    def end(self) -> None:
        """Nothing more comes: what has no line end is a line too."""
        if self._part:
            self._add([self._part])
            self._part = b""

    def lines(self) -> tuple[int, list[str]]:
        """How many lines there ever were, and the last of them."""
        with self._lock:
            return self._count, list(self._lines)

    def text(self, count: int = 20) -> str:
        """The last ``count`` lines of this process as one text."""
        total, lines = self.lines()
        own = min(count, total - self._first, len(lines))
        return "\n".join(lines[len(lines) - own :])

    def _add(self, lines: list[bytes]) -> None:
        with self._lock:
            self._count += len(lines)
            for line in lines[-MAX_RECENT_LOG_LINES:]:
                text = line[: 4 * LINE_CHARACTERS].decode("utf-8", "replace").rstrip("\r")
                # Redacted before it is cut, lest half a secret stays.
                self._lines.append(self._redact(text)[:LINE_CHARACTERS])


class Output(Protocol):
    """Takes what a process says, in the launcher's thread."""

    def feed(self, data: bytes) -> None:
        """What was read."""

    def end(self) -> None:
        """Nothing more comes."""


class Process:
    """A process that was started, until it has been reaped. Only the launcher's thread touches it."""

    def __init__(
        self,
        popen: subprocess.Popen[bytes],
        tail: Output,
        on_exit: Callable[[int], None],
        deadline: float | None,
    ) -> None:
        self.pid = popen.pid
        self.popen = popen
        self.tail = tail
        self.on_exit = on_exit
        self.deadline = deadline
        self.pidfd: int | None = None

    def send_signal(self, number: int) -> None:
        """Signal the process alone: it may want to end what it has started in its own way."""
        os.kill(self.pid, number)

    def kill_group(self) -> None:
        """SIGKILL to it and to all that it has started."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError) as error:
            # Between fork and setsid there is no such group yet.
            log.debug("cannot kill process group %d: %s", self.pid, error)
            os.kill(self.pid, signal.SIGKILL)


class Launcher:
    """Starts processes for everybody else; what it is asked to do runs in its thread, in order."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake_read, selectors.EVENT_READ, None)
        self._processes: dict[int, Process] = {}
        self._agent_pid = os.getpid()

    def submit(self, work: Callable[[], None]) -> None:
        """Have ``work`` done in the launcher's thread."""
        self._work.put(work)
        self._wake()

    def end(self) -> None:
        """Let :meth:`run` return; whatever still runs is killed by the kernel."""
        self._work.put(None)
        self._wake()

    def spawn(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        tail: Output,
        on_exit: Callable[[int], None],
        timeout_seconds: float | None = None,
    ) -> Process:
        """Start a process; only in the launcher's thread. OSError if it cannot be started.

        ``on_exit`` gets the exit code (negative: a signal) once the process is reaped. After
        ``timeout_seconds`` the process and all that it started are killed.
        """
        popen = subprocess.Popen(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            start_new_session=True,
            preexec_fn=self._die_with_the_agent,
        )
        deadline = time.monotonic() + timeout_seconds if timeout_seconds is not None else None
        process = Process(popen, tail, on_exit, deadline)
        assert popen.stdout is not None
        os.set_blocking(popen.stdout.fileno(), False)
        try:
            fcntl.fcntl(popen.stdout.fileno(), F_SETPIPE_SZ, PIPE_BYTES)
        except OSError as error:
            log.debug("cannot enlarge a pipe: %s", error)
        self._selector.register(popen.stdout, selectors.EVENT_READ, process)
        try:
            process.pidfd = os.pidfd_open(popen.pid)
            self._selector.register(process.pidfd, selectors.EVENT_READ, process)
        except OSError as error:
            log.debug("cannot watch process %d, looking every %s s: %s", popen.pid, POLL_SECONDS, error)
        self._processes[popen.pid] = process
        return process

    def run(self) -> None:
        """The thread's life."""
        while True:
            for key, _ in self._selector.select(self._patience()):
                if key.fd == self._wake_read:
                    if not self._work_off():
                        return
                elif key.fd == key.data.pidfd:
                    self._reap(key.data)
                else:
                    self._read(key.data)
            now = time.monotonic()
            for process in list(self._processes.values()):
                if process.pidfd is None and self._has_ended(process):
                    self._reap(process)
                elif process.deadline is not None and now >= process.deadline:
                    process.deadline = None
                    process.kill_group()

    def _work_off(self) -> bool:
        os.read(self._wake_read, 4096)
        while True:
            try:
                work = self._work.get_nowait()
            except queue.Empty:
                return True
            if work is None:
                return False
            work()

    def _wake(self) -> None:
        try:
            os.write(self._wake_write, b"\0")
        except BlockingIOError:
            # Full: it will wake all the same.
            return

    def _patience(self) -> float | None:
        waits = [p.deadline - time.monotonic() for p in self._processes.values() if p.deadline is not None]
        if any(process.pidfd is None for process in self._processes.values()):
            waits.append(POLL_SECONDS)
        return max(0.0, min(waits)) if waits else None

    def _read(self, process: Process) -> bool:
        """Take what a process said; false if there was nothing."""
        stream = process.popen.stdout
        if stream is None or stream.closed:
            return False
        try:
            data = os.read(stream.fileno(), READ_BYTES)
        except BlockingIOError:
            return False
        if data:
            process.tail.feed(data)
            return True
        self._selector.unregister(stream)
        stream.close()
        return False

    def _has_ended(self, process: Process) -> bool:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _reap(self, process: Process) -> None:
        if process.pid not in self._processes:
            # Both of its descriptors were ready in one turn.
            return
        for _ in range(LAST_READS):
            if not self._read(process):
                break
        process.tail.end()
        # Not yet reaped, so the group's number cannot belong to anybody else.
        process.kill_group()
        code = process.popen.wait()
        del self._processes[process.pid]
        if process.pidfd is not None:
            self._selector.unregister(process.pidfd)
            os.close(process.pidfd)
        stream = process.popen.stdout
        if stream is not None and not stream.closed:
            self._selector.unregister(stream)
            stream.close()
        process.on_exit(code)

    def _die_with_the_agent(self) -> None:
        """Runs in the child between fork and exec: no allocation to speak of, no lock, no import."""
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != self._agent_pid:
            # The agent ended before the line above.
            os._exit(1)
