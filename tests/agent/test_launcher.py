import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import psutil
import pytest

from agent.launcher import LINE_CHARACTERS, Launcher, Process, Tail
from tests.support.until import until


class Spawned:
    """A process under a launcher, seen from the test."""

    def __init__(self, launcher: Launcher, program: str, timeout: float | None = None) -> None:
        self.tail = Tail()
        self.codes: list[int] = []
        self._process: Process | None = None
        ready = threading.Event()

        def spawn() -> None:
            command = [sys.executable, "-c", program]
            self._process = launcher.spawn(command, {}, self.tail, self.codes.append, timeout)
            ready.set()

        launcher.submit(spawn)
        assert ready.wait(10)

    @property
    def process(self) -> Process:
        assert self._process is not None
        return self._process

    def code(self) -> int:
        until(lambda: self.codes, what="the end of the process")
        return self.codes[0]

    def says(self, text: str) -> None:
        until(lambda: text in self.tail.text(), what=f"{text!r} among what the process says")


Spawn = Callable[..., Spawned]


@pytest.fixture(params=[True, False], ids=["pidfd", "older kernel"])
def spawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Spawn]:
    """Starts processes through a launcher in a thread of its own, with and without pidfd_open."""
    if not request.param:

        def absent(pid: int) -> int:
            raise OSError(38, "Function not implemented")

        monkeypatch.setattr(os, "pidfd_open", absent)
    launcher = Launcher()
    thread = threading.Thread(target=launcher.run)
    thread.start()
    spawned: list[Spawned] = []

    def start(program: str, timeout: float | None = None) -> Spawned:
        spawned.append(Spawned(launcher, program, timeout))
        return spawned[-1]

    yield start
    for one in spawned:
        if not one.codes:
            launcher.submit(one.process.kill_group)
    until(lambda: all(one.codes for one in spawned), what="the end of all processes")
    launcher.end()
    thread.join(10)
    assert not thread.is_alive()


def test_exit_codes_and_last_words_arrive(spawn: Spawn) -> None:
    """What was said last is known when the exit is."""
    one = spawn("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)")

    assert one.code() == 3
    assert sorted(one.tail.text().splitlines()) == ["err", "out"]


def test_a_signal_is_told_as_a_negative_code(spawn: Spawn) -> None:
    """As subprocess does it."""
    one = spawn("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")

    assert one.code() == -9


def test_a_child_that_talks_without_end_is_never_blocked_and_takes_no_room(spawn: Spawn) -> None:
    """Twenty megabytes go by; the last hundred lines stay."""
    one = spawn(
        "import sys\nfor n in range(200_000): print(n, 'x' * 100)\nprint('y' * 5_000_000, end='')\nsys.exit(4)"
    )

    assert one.code() == 4
    count, lines = one.tail.lines()
    assert count == 200_001
    assert len(lines) == 100
    assert lines[-2].startswith("199999 ")
    assert lines[-1] == "y" * LINE_CHARACTERS


def test_what_a_child_has_started_ends_with_it(spawn: Spawn) -> None:
    """A script of an exec source must not outlive its Vector, nor keep the agent from noticing the end."""
    one = spawn(
        "import subprocess, sys\n"
        "other = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(other.pid, flush=True)\n"
    )

    assert one.code() == 0
    grandchild = int(one.tail.text())
    until(lambda: not psutil.pid_exists(grandchild), what="the end of the grandchild")


def test_a_process_that_hangs_is_killed_when_its_time_is_up(spawn: Spawn) -> None:
    """`vector validate` that never ends must not stay for ever."""
    one = spawn("import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)", 0.5)

    assert one.code() == -9


def test_children_have_a_group_of_their_own(spawn: Spawn) -> None:
    """Ctrl-C on the agent's terminal reaches the agent alone, which then ends them in order."""
    one = spawn("import time; print('up', flush=True); time.sleep(600)")
    one.says("up")

    assert os.getpgid(one.process.pid) == one.process.pid
    assert os.getsid(one.process.pid) == one.process.pid


def test_no_descriptor_stays_behind(spawn: Spawn) -> None:
    """An agent that restarts a child for a year must not run out of them."""
    spawn("pass").code()
    mine = psutil.Process()
    before = mine.num_fds()
    for _ in range(10):
        spawn("print('x')").code()

    assert mine.num_fds() == before


def test_sigkill_to_the_agent_leaves_no_orphan() -> None:
    """The kernel ends the children of a thread that is no more, also those that ignore SIGTERM."""
    program = (
        "import sys, threading\n"
        "from agent.launcher import Launcher, Tail\n"
        "launcher = Launcher()\n"
        "child = 'import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)'\n"
        "def spawn():\n"
        "    process = launcher.spawn([sys.executable, '-c', child], {}, Tail(), print)\n"
        "    print(process.pid, flush=True)\n"
        "launcher.submit(spawn)\n"
        "launcher.run()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert psutil.pid_exists(child)

    parent.kill()
    parent.wait()
    parent.stdout.close()

    until(lambda: not psutil.pid_exists(child), what="the end of the child")


def test_a_line_is_redacted_before_it_is_cut() -> None:
    """Half a secret is too much of it."""
    tail = Tail(lambda text: text.replace("hunter2", "***"))
    tail.feed(b"x" * (LINE_CHARACTERS - 3) + b"hunter2\nand hunter2")
    tail.end()

    assert tail.lines() == (2, ["x" * (LINE_CHARACTERS - 3) + "***", "and ***"])


def test_a_tail_goes_on_where_the_one_before_ended() -> None:
    """The page still shows why the process before this one died; the error of this one is its own."""
    first = Tail()
    first.feed(b"old\n")
    second = Tail(earlier=first)
    second.feed("neu\xff\n".encode("latin-1"))

    assert second.lines() == (2, ["old", "neu�"])
    assert second.text() == "neu�"
