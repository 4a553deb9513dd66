"""A process that logs to a file, is stopped in order, and does not outlive the one that started it."""

import ctypes
import os
import pwd
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1


class ProcessError(Exception):
    """A child process could not be started, or ended when it should not have."""


class ChildProcess:
    """One running process in a session and process group of its own.

    A terminal's Ctrl-C does not reach it: whoever started it decides the order in which things stop.
    """

    def __init__(
        self,
        command: Sequence[str | os.PathLike[str]],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        user: str | None = None,
        death_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        """Start `command`; its output is appended to `log`.

        `env` is its whole environment (by default ours); `user` is who it runs as, which takes root;
        `death_signal` is what the kernel sends it when the *thread* that calls this ends, so call it from one
        that lives as long as the child shall (see prctl(2), PR_SET_PDEATHSIG).
        Raises ProcessError when the program cannot be executed.
        """
        self.command = [os.fspath(part) for part in command]
        self.log = log
        self.name = Path(self.command[0]).name
        group = pwd.getpwnam(user).pw_gid if user is not None else None
        try:
            with log.open("ab") as output:
                self._process = subprocess.Popen(
                    self.command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=env,
                    cwd=cwd,
                    user=user,
                    group=group,
                    extra_groups=[] if user is not None else None,
                    start_new_session=True,
                    # Runs after the change of user, which would have cleared the death signal.
                    preexec_fn=die_with_parent(death_signal),
                )
        except (OSError, subprocess.SubprocessError) as error:
            raise ProcessError(f"cannot start {self.name}: {error}") from error

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative is the number of the signal that ended it."""
        return self._process.poll()

    @property
    def is_running(self) -> bool:
        return self.exit_code is None

    def send_signal(self, number: signal.Signals) -> None:
        """To this process alone, not to its group; does nothing once it has ended."""
        self._process.send_signal(number)

    def suspend(self) -> None:
        """Freeze it: it holds its sockets and answers nothing."""
        self.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.send_signal(signal.SIGCONT)

    def wait(self, seconds: float) -> int:
        """The exit code; raises ProcessError when it has not ended within `seconds`."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            late = f"{self.name} (pid {self.pid}) has not ended within {seconds} s"
            raise ProcessError(late) from error

    def stop(self, seconds: float = 30.0, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end; after `seconds` kill its group. The exit code: `-SIGKILL` if it had to be killed."""
        if self.is_running:
            self.send_signal(number)
            self.resume()  # a frozen process takes the signal only once it runs again
            try:
                return self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                return self.kill()
        return self._process.wait()

    def kill(self) -> int:
        """SIGKILL to its whole process group, at once; the exit code."""
        if self.is_running:
            os.killpg(self.pid, signal.SIGKILL)
        return self._process.wait()

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of its log: what to show when it did not do as it should."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def die_with_parent(number: signal.Signals) -> Callable[[], None]:
    """A `preexec_fn`: the kernel sends the child `number` when the thread that started it ends."""
    parent = os.getpid()

    def ask() -> None:
        if _LIBC.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
        if os.getppid() != parent:  # it ended between the fork and the call
            os._exit(1)

    return ask
