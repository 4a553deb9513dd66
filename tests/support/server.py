"""The real server: a gunicorn master and its workers on a port of their own, and the `flask` commands."""

import base64
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import psutil
import requests
from flask import Flask

from app import accounts, create_app
from app.audit import COMMAND_LINE
from app.config import Settings
from app.database import db
from tests.support import PROJECT
from tests.support.leaks import MARK
from tests.support.people import make_account
from tests.support.until import until
from tools.child_process import ChildProcess
from tools.reserved_port import ReservedPort

T = TypeVar("T")

READY_SECONDS = 60.0
STOP_SECONDS = 30.0
COMMAND_SECONDS = 60.0


class ServerError(Exception):
    """The server did not start, or one of its commands failed."""


def clean_environment() -> dict[str, str]:
    """What every part gets from outside: the way to programs, and no setting of whoever runs the tests."""
    inherited = ("PATH", "HOME", "LANG", "TMPDIR", MARK)
    return {name: os.environ[name] for name in inherited if name in os.environ}


def fresh_secrets() -> dict[str, str]:
    """The two settings without which the server refuses to start."""
    return {
        "SIGNALBOX_SECRET_KEY": secrets.token_hex(32),
        "SIGNALBOX_ENCRYPTION_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
    }


def run_flask(settings: Mapping[str, str], *arguments: str, typed: str = "") -> str:
    """`flask --app wsgi ARGUMENTS` with `typed` on standard input; its standard output.

    Raises ServerError with what it said on standard error when it exits with anything but 0.
    """
    done = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "wsgi", *arguments],
        cwd=PROJECT,
        env={**clean_environment(), **settings},
        input=typed,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
    )
    if done.returncode != 0:
        raise ServerError(f"flask {' '.join(arguments)} exited with {done.returncode}:\n{done.stderr}")
    return done.stdout


class Server:
    """One gunicorn master; two of them over the same settings are two machines of one installation."""

    def __init__(
        self, folder: Path, settings: Mapping[str, str], *, workers: int = 2, application: str = "wsgi:app"
    ) -> None:
        """Not started yet. `folder` exists and gets the logs; `settings` are SIGNALBOX_* variables.

        The database that they name has its schema. Keys are made where `settings` has none, so a second
        master gets the first one's `settings` attribute.
        """
        self.folder = folder
        self.log = folder / "server.log"
        self.access_log = folder / "access.log"
        self._port = ReservedPort()
        own = {
            "SIGNALBOX_BIND": f"{self._port.host}:{self._port.port}",
            "SIGNALBOX_ACCESS_LOG": str(self.access_log),
            "WEB_CONCURRENCY": str(workers),
            # An idle connection of a test's own would hold up each stop for gunicorn's five seconds.
            "GUNICORN_CMD_ARGS": f"--keep-alive=1 {settings.get('GUNICORN_CMD_ARGS', '')}",
        }
        self.settings = {**fresh_secrets(), **settings, **own}
        self.workers = workers
        self._application = application
        self._process: ChildProcess | None = None

    @property
    def url(self) -> str:
        """`http://127.0.0.1:<port>`, without a slash at the end; the same after a restart."""
        return f"http://{self._port.host}:{self._port.port}"

    @property
    def process(self) -> ChildProcess:
        """The gunicorn master."""
        if self._process is None:
            raise ServerError("the server was never started")
        return self._process

    def start(self) -> "Server":
        """Start it and wait until it is ready."""
        command = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", self._application]
        environment = {**clean_environment(), **self.settings}
        self._process = ChildProcess(command, log=self.log, env=environment, cwd=PROJECT)
        self.wait_ready()
        return self

    def wait_ready(self, seconds: float = READY_SECONDS) -> None:
        """Until /readyz answers 200 and all workers are there; ServerError with its last words if it ends."""
        until(self._is_ready, seconds=seconds, what=f"the server's readiness (see {self.log})")

    def worker_pids(self) -> list[int]:
        """The process ids of the workers that live just now, in ascending order."""
        children = psutil.Process(self.process.pid).children()
        return sorted(child.pid for child in children if is_alive(child))

    def kill_worker(self, pid: int, number: signal.Signals = signal.SIGKILL) -> None:
        """End one worker, by default as the kernel would; the master starts another one."""
        if pid not in self.worker_pids():
            raise ServerError(f"no worker of this server has the pid {pid}")
        os.kill(pid, number)

    def stop(self) -> int:
        """SIGTERM to the master, as an upgrade of the server does; its exit code, also if it ended before."""
        return self.process.stop(STOP_SECONDS)

    def close(self) -> None:
        """Stop it for good and give its port back."""
        if self._process is not None:
            self.stop()
        self._port.release()

    def kill(self) -> None:
        """SIGKILL to the master and its workers at once, as a power cut would."""
        self.process.kill()

    def create_admin(self, email: str, password: str) -> None:
        """An operator who may do everything, made as the command does it."""
        self._in_application(lambda app: make_account(app, email, password, "admin"))

    def create_api_token(self, name: str = "tests") -> str:
        """An API token, made as the command does it: admin, everywhere, for ever."""
        return self._in_application(lambda _app: accounts.create_api_token(name, COMMAND_LINE).text)

    def _in_application(self, work: Callable[[Flask], T]) -> T:
        """*work* on the server's database; in this process, since each `flask` takes a second of its own."""
        app = create_app(Settings.from_environ(self.settings))
        with app.app_context():
            try:
                return work(app)
            finally:
                db.session.remove()
                db.engine.dispose()
                app.extensions["switchboard"].gate.client.close()

    def _is_ready(self) -> bool:
        if not self.process.is_running:
            code = self.process.exit_code
            raise ServerError(
                f"the server exited with {code} before it was ready:\n{self.process.log_tail(40)}"
            )
        try:
            # Before anything listens this is all, and cheap: to look for the workers is to look at all processes.
            socket.create_connection((self._port.host, self._port.port), 5).close()
        except OSError:
            return False
        if len(self.worker_pids()) < self.workers:
            return False
        try:
            return requests.get(f"{self.url}/readyz", timeout=5).status_code == 200
        except (requests.ConnectionError, requests.Timeout):  # nothing listens yet
            return False


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs: it may end while it is asked."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
