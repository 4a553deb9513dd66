"""The real agent, `python -m agent`, with a data folder of its own."""

import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil

from tests.support import PROJECT
from tests.support.server import clean_environment, is_alive
from tests.support.until import until
from tools.child_process import ChildProcess

STOP_SECONDS = 40.0
"""The agent itself gives its children 30 s."""


class AgentProcessError(Exception):
    """The agent ended when it should not have."""


class AgentProcess:
    """One agent on one data folder; started again, it is the same node."""

    def __init__(
        self,
        folder: Path,
        url: str,
        token: str,
        settings: Mapping[str, str] | None = None,
        module: str = "agent",
        file: Path | None = None,
    ) -> None:
        """Not started yet. `folder` exists, `token` is for enrollment, `settings` are SIGNALBOX_* variables.

        Vector is the stand-in of the demo unless `settings` names another. `module` is what is run in place of
        the agent: the same, with delays that a test can wait for. `file` is a built one to run instead, by a
        Python without packages.
        """
        self.command = [sys.executable, "-m", module]
        if file is not None:
            self.command = [sys.executable, "-I", "-S", str(file)]
        self.folder = folder
        self.data = folder / "data"
        self.log = folder / "agent.log"
        self.settings = {
            "SIGNALBOX_URL": url,
            "SIGNALBOX_TOKEN": token,
            "SIGNALBOX_DATA_DIR": str(self.data),
            "SIGNALBOX_VECTOR_BIN": str(PROJECT / "demo" / "vector"),
            **(settings or {}),
        }
        self._process: ChildProcess | None = None

    @property
    def process(self) -> ChildProcess:
        if self._process is None:
            raise AgentProcessError("the agent was never started")
        return self._process

    @property
    def node_token(self) -> str | None:
        """The token that it enrolled for; None before."""
        file = self.data / "node-token"
        return file.read_text().strip() if file.exists() else None

    @property
    def node_id(self) -> str:
        """Its node's id, which the token carries (`sbx_node_<id>_<secret>`); waits for it to enroll."""
        token = until(self._enrolled_token, what=f"the enrollment of the agent (see {self.log})")
        return token.split("_")[2]

    def start(self) -> "AgentProcess":
        """Start it in the foreground; does not wait for it to enroll."""
        self.data.mkdir(exist_ok=True)
        environment = {**clean_environment(), **self.settings}
        self._process = ChildProcess(self.command, log=self.log, env=environment, cwd=PROJECT)
        return self

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end and wait for it; its exit code."""
        return self.process.stop(STOP_SECONDS, number)

    def close(self) -> None:
        if self._process is not None:
            self.stop()

    def kill(self) -> None:
        """SIGKILL to the agent alone: what becomes of its children is its own business."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def child_pids(self) -> list[int]:
        """The living processes under it, in ascending order."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        return sorted(child.pid for child in children if is_alive(child))

    def _enrolled_token(self) -> str | None:
        if not self.process.is_running:
            code = self.process.exit_code
            raise AgentProcessError(f"the agent exited with {code}:\n{self.process.log_tail()}")
        return self.node_token
