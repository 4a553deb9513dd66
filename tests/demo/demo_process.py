"""`make demo` as a person runs it, in a copy of the tree."""

import json
import os
import re
import signal
import sys
import uuid
from pathlib import Path
from typing import Any

import psutil
import requests

from tests.support.api import Operator
from tests.support.leaks import describe, left_behind
from tests.support.server import clean_environment
from tests.support.until import until
from tools.child_process import ChildProcess

START_SECONDS = 100.0
STOP_SECONDS = 60.0


class DemoProcess:
    """One `make demo`, in the session and process group that a terminal would give it."""

    def __init__(self, tree: Path, *arguments: str, path: str = "") -> None:
        """Start it; `arguments` as in `RESET=1`, `path` is put before PATH. It borrows our virtual environment."""
        self.tree = tree
        environment = clean_environment()
        if path:
            environment["PATH"] = f"{path}{os.pathsep}{environment['PATH']}"
        command = ["make", "demo", f"VENV={sys.prefix}", *arguments]
        self.log = tree.parent / f"demo-{uuid.uuid4().hex[:8]}.log"
        self.process = ChildProcess(command, log=self.log, env=environment, cwd=tree)

    @property
    def said(self) -> str:
        return self.log.read_text()

    def wait_until_up(self) -> "DemoProcess":
        """Until it has printed its address and login."""
        until(self._is_up, seconds=START_SECONDS, what=f"the demo's start (see {self.log})")
        return self

    @property
    def login(self) -> tuple[str, str, str]:
        """Address, e-mail and password, as printed."""
        found = re.search(r"runs on (http://\S+)\s+e-mail +(\S+)\s+password +(\S+)", self.said)
        assert found, self.said
        return found[1], found[2], found[3]

    @property
    def record(self) -> dict[str, Any]:
        record: dict[str, Any] = json.loads((self.tree / "instance" / "demo.json").read_text())
        return record

    @property
    def operator(self) -> Operator:
        return Operator(self.login[0], self.record["apiToken"])

    def sign_in(self) -> requests.Session:
        """A browser's session, signed in with what was printed; the caller closes it."""
        url, email, password = self.login
        session = requests.Session()
        session.trust_env = False
        session.headers["Connection"] = "close"  # the server ends idle ones, perhaps as we send
        form = session.get(f"{url}/sign-in", timeout=30).text
        found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', form)
        assert found, form
        data = {"csrf_token": found[1], "email": email, "password": password}
        assert session.post(f"{url}/sign-in", data=data, timeout=30).ok
        assert session.get(f"{url}/", timeout=30).url != f"{url}/sign-in"
        return session

    def python_pid(self) -> int:
        """The process of demo/run.py, without make."""
        return next(
            process.pid
            for process in psutil.Process(self.process.pid).children(recursive=True)
            if "demo.run" in process.cmdline()
        )

    def signal_group(self, number: signal.Signals) -> int:
        """As a terminal does for Ctrl-C or when it goes away; make's exit code."""
        os.killpg(self.process.pid, number)
        return self.process.wait(STOP_SECONDS)

    def left_behind(self) -> list[str]:
        """Every living process that has to do with the tree."""
        return [describe(process) for process in left_behind(uuid.uuid4().hex, self.tree)]

    def end(self) -> None:
        """Whatever a failed test left running."""
        for process in left_behind(uuid.uuid4().hex, self.tree):
            process.kill()
        self.process.kill()

    def _is_up(self) -> bool:
        assert self.process.is_running, f"the demo ended:\n{self.said}"
        return "Ctrl-C stops everything" in self.said
