"""The command line as somebody uses it: in this process through click's runner, and as a process of its own."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from signalbox_cli.program import main
from tests.support import PROJECT
from tests.support.api import Operator
from tests.support.server import Server, clean_environment
from tests.support.until import until

END_SECONDS = 30.0

YAML = """\
sources:
  made:
    type: demo_logs
    format: json
sinks:
  gone:
    type: blackhole
    inputs: [made]
"""


@dataclass
class Cli:
    """One person at one shell: an environment, and folders for what is kept."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def profiles(self) -> Path:
        return self.folder / "config" / "signalbox" / "profiles.yaml"

    @property
    def environment(self) -> dict[str, str]:
        own = {"XDG_CONFIG_HOME": str(self.folder / "config"), "HOME": str(self.folder)}
        return {**clean_environment(), **own, "PYTHONPATH": str(PROJECT), **self.variables}

    def run(self, *arguments: str, typed: str | bytes = "", code: int = 0) -> Result:
        """The command in this process; it must end with `code`."""
        gone = {name: None for name in os.environ if name.startswith(("SIGNALBOX_", "VF_"))}
        result = CliRunner().invoke(main, list(arguments), input=typed, env={**gone, **self.environment})
        assert result.exit_code == code, (arguments, result.exit_code, result.output, result.exception)
        return result

    def json(self, *arguments: str, code: int = 0) -> Any:
        """What it prints with `-o json`."""
        return json.loads(self.run(*arguments, "-o", "json", code=code).stdout)

    def refused(self, *arguments: str, code: int, typed: str | bytes = "") -> str:
        """What it says on standard error; nothing is said on standard output."""
        result = self.run(*arguments, typed=typed, code=code)
        assert result.stdout == "", result.stdout
        return result.stderr


class Shell:
    """The command as a process of its own, its lines read as they come."""

    def __init__(
        self, cli: Cli, *arguments: str, stdout: int | None = None, stderr: int | None = None
    ) -> None:
        self.output: list[str] = []
        self.errors: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "signalbox_cli", *arguments],
            env={**cli.environment, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if stdout is None else stdout,
            stderr=subprocess.PIPE if stderr is None else stderr,
            text=True,
            cwd=cli.folder,
            # Whoever runs the tests in the background has them, and so their children, ignore Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
        )
        streams = ((self.process.stdout, self.output), (self.process.stderr, self.errors))
        self._threads = [threading.Thread(target=self._read, args=each) for each in streams if each[0]]
        for thread in self._threads:
            thread.start()

    def wait_for(self, probe: Callable[["Shell"], Any], what: str) -> None:
        """Until `probe` is true of what was said so far."""
        try:
            until(lambda: probe(self), what=what, seconds=60)
        except AssertionError as error:
            raise AssertionError(f"{error}; it said {self.output[-5:]} {self.errors[-5:]}") from None

    def end(self, number: signal.Signals | None = None) -> int:
        """Its exit code, after a signal where one is given."""
        if number is not None:
            self.process.send_signal(number)
        try:
            return self.process.wait(END_SECONDS)
        finally:
            self.close()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for thread in self._threads:
            thread.join()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    @staticmethod
    def _read(stream: Any, lines: list[str]) -> None:
        for line in stream:
            lines.append(line.rstrip("\n"))


def drawn_on(terminal: int) -> str:
    """All that was written to a terminal whose other end is closed; closes this one."""
    data = b""
    try:
        while more := os.read(terminal, 65536):
            data += more
    except OSError:
        pass  # how Linux says that nobody writes any more
    os.close(terminal)
    return data.decode()


StartShell = Callable[..., Shell]


@pytest.fixture
def stranger(tmp_path: Path) -> Cli:
    """Somebody who has not signed in."""
    return Cli(tmp_path)


@pytest.fixture
def cli(stranger: Cli, server: Server, operator: Operator) -> Cli:
    """Somebody whose environment names the session's server and a token for everything."""
    stranger.variables |= signed_in(server.url, operator)
    return stranger


@pytest.fixture
def start_shell() -> Iterator[StartShell]:
    """Starts commands: `start_shell(cli, "logs", "-f", "web-1")`."""
    with ExitStack() as running:

        def start(cli: Cli, *arguments: str, stdout: int | None = None, stderr: int | None = None) -> Shell:
            shell = Shell(cli, *arguments, stdout=stdout, stderr=stderr)
            running.callback(shell.close)
            return shell

        yield start


def signed_in(url: str, operator: Operator) -> Mapping[str, str]:
    token = str(operator.session.headers["Authorization"]).removeprefix("Bearer ")
    return {"SIGNALBOX_URL": url, "SIGNALBOX_API_TOKEN": token}
