"""Where a run of the suite happens: a folder, a PostgreSQL, Redises; all gone when it ends, however it ends."""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

from tests.support.database import PostgresDatabases, SqliteDatabases
from tests.support.postgres_server import PostgresServer
from tools.redis_server import RedisServer


class Place:
    """A context manager. What it starts, it starts in the calling thread, and stops in the reverse order."""

    def __init__(self, deadline: float | None = None) -> None:
        """`deadline` is a moment of time.monotonic() after which no new round begins."""
        self.deadline = deadline
        self._stack = ExitStack()
        self._numbers = itertools.count(1)

    def __enter__(self) -> Place:
        self._root = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        self._server = PostgresServer(max_connections=800)  # of as many as sixteen workers
        self._stack.callback(self._server.close)
        try:
            self._postgres = PostgresDatabases(self._server.start())
            self._sqlite = SqliteDatabases(self._root)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """An empty folder, for one server."""
        with tempfile.TemporaryDirectory(prefix=f"{next(self._numbers)}-", dir=self._root) as name:
            yield Path(name)

    @contextmanager
    def redis(self) -> Iterator[RedisServer]:
        """A Redis of its own, on a port."""
        with self.folder() as folder, RedisServer(folder, tcp=True) as redis:
            yield redis

    @contextmanager
    def postgresql(self) -> Iterator[str]:
        """A migrated database of PostgreSQL; its URL."""
        name, url = self._postgres.create()
        try:
            yield url
        finally:
            self._postgres.drop(name)

    def postgres_pids(self) -> list[int]:
        """Of PostgreSQL's processes that live just now."""
        master = psutil.Process(self._server.process.pid)
        return [master.pid, *(child.pid for child in master.children(recursive=True))]

    @contextmanager
    def sqlite(self) -> Iterator[str]:
        """A migrated SQLite file; its URL."""
        with self.folder() as folder:
            yield self._sqlite.create(folder)

    @contextmanager
    def database(self, kind: str) -> Iterator[str]:
        """By name: `PostgreSQL` or `SQLite`."""
        with self.postgresql() if kind == "PostgreSQL" else self.sqlite() as url:
            yield url

    @property
    def has_time(self) -> bool:
        """Whether another round may begin."""
        return self.deadline is None or time.monotonic() < self.deadline


def say(text: str) -> None:
    """A line of progress, with the time and how busy the machine is."""
    print(f"{time.strftime('%H:%M:%S')}  load {os.getloadavg()[0]:5.2f}  {text}", file=sys.stderr, flush=True)


def pss(pids: list[int]) -> int:
    """Bytes of memory of these processes, shared pages by their share; what has ended has none."""
    return sum(int(_of(pid, lambda process: process.memory_full_info().pss)) for pid in pids)


def processor_seconds(pids: list[int]) -> float:
    """User and system time of these processes since they began; what has ended counts for nothing.

    By the scheduler's own account, in nanoseconds: /proc/PID/stat has hundredths of a second.
    """
    return sum(_ran_ns(Path(f"/proc/{pid}/task")) for pid in pids) / 1e9


def _ran_ns(tasks: Path) -> int:
    ran = 0
    try:
        for task in tasks.iterdir():
            ran += int((task / "schedstat").read_text().split()[0])
    except (FileNotFoundError, ProcessLookupError):
        pass
    return ran


def _of(pid: int, look: Callable[[psutil.Process], float]) -> float:
    try:
        return look(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return 0.0
