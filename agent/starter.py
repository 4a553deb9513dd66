"""What runs first in the agent's one file: it picks the file that is to be the agent.

The installed file is never changed by an update. Its starter becomes the agent that ``update/state.json`` names
(exec, so that nothing of the starter stays in memory), or is the agent itself. Only where a file is on trial does it
stay, as the parent that goes back to the old one: when the new agent ends, or is not accepted in time. A trial is
begun only once its number of starts has reached the disk, so whatever happens meanwhile, it is not begun for ever.
"""

from __future__ import annotations

import fcntl
import math
import os
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from agent import build, installation
from agent.installation import RESTART, STARTED_BY, Record, entry
from agent.places import data_dir

STOP_SECONDS = 45.0
"""Between SIGTERM and SIGKILL for a trial that had its time; the agent gives its own children 30 s."""
SIGNAL_SECONDS = 1.0
"""An agent that ends well was told to: the same signal reaches the starter within so long, or it was not."""
DAMAGED = 76
"""Exit code of a child of ours whose file is not what it was when it was fetched."""
CANNOT_RUN = 70
LONGEST_WAIT_SECONDS = 3600.0
WATCHED = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT}


def main() -> int:
    """The one file's beginning; the exit code."""
    if sys.argv[1:] == ["--check"]:
        from agent.check import check

        return check()
    if sys.argv[1:] in ([], ["run"]) and installation.started_by() is None:
        return _start(Path(sys.argv[0]).absolute())
    return _be_the_agent()


def start_again() -> int:
    """Begin anew after an agent has ended in good order, children and all; the exit code where a guard does it."""
    origin = installation.started_by()
    if origin is None:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    base, is_guarded = origin
    if is_guarded:
        return RESTART
    del os.environ[STARTED_BY]
    _exec(base)


def command(file: Path) -> list[str]:
    """How this Python, with the options that it was given, runs a file."""
    options = sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv)]
    return [sys.executable, *options, str(file)]


def _start(base: Path) -> int:
    folder = installation.folder(Path(data_dir(os.environ)).absolute())
    while True:
        state = installation.read(folder)
        if not state or _is_locked(folder.parent):
            # Nothing was ever fetched; or an agent runs already, which this one will say.
            break
        trial = _next_trial(folder, state)
        if trial is not None:
            code = _Guard(base, folder, trial).run()
            if code != RESTART:
                return code
            continue
        for name in ("current", "previous"):
            chosen = entry(state, name)
            if chosen is not None and _is_whole(folder, chosen):
                os.environ[STARTED_BY] = f"{os.getpid()}:{base}"
                _exec(folder / chosen["file"])
            if chosen is not None:
                _say("WARNING", f"update file={chosen['file']} is damaged or gone, not run")
        break
    os.environ[STARTED_BY] = f"{os.getpid()}:{base}"
    return _be_the_agent()


def _next_trial(folder: Path, state: Record) -> Record | None:
    """The trial to begin now, once its count is on disk; ``None`` if there is none."""
    replaced = installation.follow_base(state, build.BUILD_ID)
    trial = entry(state, "trial")
    if trial is not None:
        starts = trial.get("starts")
        starts = starts if isinstance(starts, int) else installation.MOST_STARTS
        trial["starts"] = starts + 1
        if starts >= installation.MOST_STARTS:
            reason = f"it was started {starts} times and never accepted"
            _say("ERROR", f"update version={trial['version']} given up error={reason!r}")
            installation.fail(state, reason)
            trial = None
    elif not replaced:
        return None
    try:
        installation.write(folder, state)
    except OSError as error:
        # A trial whose starts cannot be counted might be begun for ever.
        _say("ERROR", f"update put off error={f'cannot write {folder}: {error.strerror}'!r}")
        return None
    return trial


class _Guard:
    """Runs a file on trial, and ends it unless it is accepted in time."""

    def __init__(self, base: Path, folder: Path, trial: Record) -> None:
        self._base = base
        self._folder = folder
        self._trial = trial
        self._told_to_end = False

    def run(self) -> int:
        """What to exit with, or RESTART: choose again."""
        version = self._trial["version"]
        _say("INFO", f"update version={version} on trial start={self._trial['starts']}")
        before = signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
        try:
            started_at = time.monotonic()
            pid = self._fork(before)
            code, is_late = self._watch(pid, started_at)
            if self._told_to_end:
                return 0 if code == RESTART else code
            if self._is_undecided():
                if code == 0 and signal.sigtimedwait(WATCHED - {signal.SIGCHLD}, SIGNAL_SECONDS) is not None:
                    return code
                self._go_back(_reason(code, is_late, time.monotonic() - started_at))
                return RESTART
            return code
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _fork(self, mask: set[int | signal.Signals]) -> int:
        parent = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        try:
            # Imported here, in memory that the exec gives back.
            import ctypes

            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: never two agents, never an orphan
            if os.getppid() != parent:
                os._exit(1)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            if not _is_whole(self._folder, self._trial):
                os._exit(DAMAGED)
            os.environ[STARTED_BY] = f"{parent}:{self._base}"
            _exec(self._folder / self._trial["file"])
        except OSError as error:
            _say("ERROR", f"cannot run {self._trial['file']}: {error}")
        finally:
            os._exit(CANNOT_RUN)

    def _watch(self, pid: int, started_at: float) -> tuple[int, bool]:
        """Wait for the child; its exit code, and whether it was ended because it had had its time."""
        deadline = started_at + _seconds(self._trial)
        is_late = False
        while True:
            patience = min(max(0.0, deadline - time.monotonic()), LONGEST_WAIT_SECONDS)
            received = signal.sigtimedwait(WATCHED, patience)
            if received is not None and received.si_signo != signal.SIGCHLD:
                self._told_to_end = True
                os.kill(pid, signal.SIGTERM)
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status), is_late
            if time.monotonic() < deadline:
                continue
            if is_late:
                os.kill(pid, signal.SIGKILL)
            elif not self._is_undecided():
                deadline = math.inf
                continue
            elif (later := started_at + _seconds(installation.read(self._folder)["trial"])) > deadline:
                deadline = later
                continue
            else:
                os.kill(pid, signal.SIGTERM)
            is_late, deadline = True, time.monotonic() + STOP_SECONDS

    def _is_undecided(self) -> bool:
        now = entry(installation.read(self._folder), "trial")
        return now is not None and now["digest"] == self._trial["digest"]

    def _go_back(self, reason: str) -> None:
        _say("ERROR", f"update version={self._trial['version']} given up error={reason!r}")
        state = installation.read(self._folder)
        installation.fail(state, reason)
        try:
            installation.write(self._folder, state)
        except OSError as error:
            # Then its start cannot be counted either, and it is not begun again before it can.
            _say("ERROR", f"update put off error={f'cannot write {self._folder}: {error.strerror}'!r}")


def _reason(code: int, is_late: bool, seconds: float) -> str:
    if is_late:
        return f"it was not accepted within {seconds:.0f} s of its start"
    if code == DAMAGED:
        return "its file is damaged"
    how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
    return f"it ended {how} before it was accepted; its last words are in the agent's log"


def _seconds(trial: Record) -> float:
    seconds = trial.get("seconds")
    return float(seconds) if isinstance(seconds, int | float) else 0.0


def _is_whole(folder: Path, chosen: Record) -> bool:
    import hashlib

    try:
        content = (folder / chosen["file"]).read_bytes()
    except OSError:
        return False
    return bool(hashlib.sha256(content).hexdigest() == chosen["digest"])


def _is_locked(data_dir: Path) -> bool:
    try:
        descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _be_the_agent() -> int:
    from agent.command_line import main as agent

    return agent()


def _exec(file: Path) -> NoReturn:
    sys.stderr.flush()
    os.execv(sys.executable, command(file))


def _say(level: str, line: str) -> None:
    moment = datetime.now(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00")
    print(f"{moment}Z {level} agent.starter {line}", file=sys.stderr, flush=True)
