"""Hazard 8: a part that no longer gets on ends the worker, and nothing else does."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from app.push.watchdog import BOUNDS_SECONDS, EXIT_CODE, SLEPT_SECONDS, Judge
from tests.support import PROJECT
from tests.support.server import clean_environment
from tests.support.until import until
from tools.child_process import ChildProcess
from tools.redis_server import RedisServer

Start = Callable[[str], ChildProcess]


def test_a_part_is_stalled_once_it_is_over_its_own_bound() -> None:
    """Each has its own; one that was never heard of counts from the start."""
    judge = Judge({"sweep": 10.0, "leases": 3.0}, now=100.0)
    assert judge.look({"sweep": 100.0, "leases": 100.0}, 103.0) == []
    assert judge.look({"sweep": 100.0, "leases": 103.0}, 106.0) == []
    assert judge.look({"sweep": 100.0, "leases": 103.0}, 107.0) == [("leases", 4.0)]
    assert judge.look({"leases": 110.0}, 111.0) == [("sweep", 11.0)]


def test_after_the_whole_process_slept_everybody_starts_afresh() -> None:
    """The watchdog did not look either: the gap says nothing about the parts, but what follows does."""
    judge = Judge({"leases": 3.0}, now=0.0)
    woken = 1000.0
    assert judge.look({"leases": 0.0}, woken) == []
    assert judge.look({"leases": 0.0}, woken + 2.0) == []
    assert judge.look({"leases": 0.0}, woken + 4.0) == [("leases", 4.0)]


def test_no_bound_is_shorter_than_what_a_short_stop_takes() -> None:
    """A stop too short to be seen as one may not end a worker that had almost used up its time."""
    assert min(BOUNDS_SECONDS.values()) > 3 * SLEPT_SECONDS


@pytest.fixture
def start_worker(own_redis: RedisServer, tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as running:

        def start(mode: str) -> ChildProcess:
            command = [sys.executable, "-m", "tests.support.lone_worker", own_redis.url, "lone:", mode]
            worker = ChildProcess(command, log=tmp_path / "worker.log", env=clean_environment(), cwd=PROJECT)
            running.callback(worker.kill)
            until(lambda: "turning" in worker.log_tail(), seconds=60, what="the worker's start")
            return worker

        yield start


def test_a_sweep_that_hangs_ends_the_worker_and_says_where(start_worker: Start) -> None:
    """Its greenlet waits for ever in the database, the loop turns on: gunicorn alone would not notice."""
    worker = start_worker("hangs")
    until(lambda: not worker.is_running, seconds=60, what="the worker's end")
    assert worker.exit_code == EXIT_CODE
    log = worker.log_tail(200)
    assert "worker lone:1 cannot go on: no progress of sweep for" in log
    assert "in _fail" in log, "the place where the sweep hangs is shown"
    assert log.count("turning") > 2


@pytest.mark.long
def test_neither_redis_nor_the_database_nor_a_sleep_ends_it(
    start_worker: Start, own_redis: RedisServer
) -> None:
    """Who tries again gets on; and a stopped process that wakes is given its time."""
    worker = start_worker("away")
    own_redis.kill()
    seen = worker.log_tail(1000).count("turning")
    until(lambda: worker.log_tail(1000).count("turning") > seen + 5, seconds=60, what="life without Redis")
    own_redis.start()
    until(lambda: "subscriber back" in worker.log_tail(1000), what="the subscription")
    os.kill(worker.pid, signal.SIGSTOP)
    until(lambda: psutil.Process(worker.pid).status() == psutil.STATUS_STOPPED, what="the stopped worker")
    time.sleep(SLEPT_SECONDS + 2.0)  # longer than most bounds: what is tested is the time itself
    os.kill(worker.pid, signal.SIGCONT)
    seen = worker.log_tail(1000).count("turning")
    until(lambda: worker.log_tail(1000).count("turning") > seen + 3, seconds=60, what="life after the sleep")
    assert worker.is_running
