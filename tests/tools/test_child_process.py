"""What is started is logged, stopped in order, and never outlives who started it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.support import PROJECT
from tests.support.until import until
from tools.child_process import ChildProcess, ProcessError

Start = Callable[..., ChildProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started = []

    def start_script(script: str, **options: object) -> ChildProcess:
        process = ChildProcess(["sh", "-c", script], log=tmp_path / "child.log", **options)  # type: ignore[arg-type]
        started.append(process)
        return process

    yield start_script
    for process in started:
        process.kill()


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_stop_asks_and_returns_the_exit_code(start: Start) -> None:
    """A child that ends by itself on SIGTERM is not killed, and its exit code comes back."""
    child = start("trap 'exit 7' TERM; echo up; while :; do sleep 0.01; done")
    until(lambda: "up" in child.log_tail())

    assert child.stop(10) == 7


def test_a_child_that_ignores_sigterm_is_killed_with_its_group(start: Start) -> None:
    """After the grace period nothing of the group is left, grandchildren included."""
    child = start("trap '' TERM; sleep 600 & echo $!; wait")
    grandchild = int(until(lambda: child.log_tail()))

    assert child.stop(0.2) == -signal.SIGKILL
    until(lambda: is_gone(grandchild))


def test_a_frozen_child_can_be_stopped(start: Start) -> None:
    """A suspended process is woken to take its SIGTERM, so that nothing has to be killed."""
    child = start("trap 'exit 3' TERM; echo up; while :; do sleep 0.01; done")
    until(lambda: "up" in child.log_tail())
    child.suspend()
    until(lambda: psutil.Process(child.pid).status() == psutil.STATUS_STOPPED)

    assert child.stop(10) == 3


def test_wait_says_who_has_not_ended(start: Start) -> None:
    """Waiting past the deadline names the process."""
    child = start("sleep 600")

    with pytest.raises(ProcessError, match=f"sh \\(pid {child.pid}\\) has not ended within 0.05 s"):
        child.wait(0.05)


def test_a_program_that_does_not_exist_is_named(tmp_path: Path) -> None:
    """The message begins with what could not be done."""
    with pytest.raises(ProcessError, match="cannot start no-such-program"):
        ChildProcess([tmp_path / "no-such-program"], log=tmp_path / "log")


def test_the_child_sees_only_the_environment_it_is_given(start: Start) -> None:
    """`env` is the whole environment: nothing of ours leaks into it."""
    child = start("env", env={"ONLY": "this"})

    child.wait(10)
    assert "HOME=" not in child.log_tail()
    assert "ONLY=this" in child.log_tail()


def test_a_child_does_not_outlive_who_started_it(tmp_path: Path) -> None:
    """SIGKILL to the parent, which can clean up nothing, ends the child all the same."""
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from tools.child_process import ChildProcess\n"
        "child = ChildProcess(['sleep', '600'], log=Path(sys.argv[1]))\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "log")]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert not is_gone(child)
        os.kill(parent.pid, signal.SIGKILL)

    until(lambda: is_gone(child))
