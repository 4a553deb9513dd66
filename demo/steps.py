"""The steps of the demo, from nothing to three nodes that run a deployed pipeline."""

import fcntl
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import requests

from demo.operator_api import Operator
from demo.parts import Parts
from demo.places import ACCESS_LOG, FOLDER, RECORD, ROOT, STAND_IN, data_folder, made
from demo.progress import detail, say, step
from demo.record import Record
from demo.stop_signals import StopSignals
from tools.child_process import ChildProcess, ProcessError, die_with_parent
from tools.redis_server import RedisServer, RedisServerError
from tools.reserved_port import ReservedPort

NODES = {
    "node-1": ("zone=north", {"tier": "canary"}),
    "node-2": ("zone=north", {"tier": "main"}),
    "node-3": ("zone=south", {"tier": "main"}),
}
"""Name -> what its agent reports as labels, and the operator's labels, which selectors match."""
HEARTBEAT_MS = "5000"

COMMAND_SECONDS = 120.0
READY_SECONDS = 60.0
RUNNING_SECONDS = 60.0
STEADY_SECONDS = 2.0
"""Nodes must do well for so long on a later start: at first the server knows what they said before they stopped."""
AGENTS_STOP_SECONDS = 40.0
"""An agent gives its children 30 s."""
SERVER_STOP_SECONDS = 30.0
REDIS_STOP_SECONDS = 5.0
LOG_LINES = 15
_HAS_FAILED = re.compile(r" is (FAILED|CRASHED|CRASH_LOOP)\b")


class DemoError(Exception):
    """A step failed: one sentence, and under it the last lines of a log where there is one."""


class StoppedError(Exception):
    """Somebody asked to stop before everything was up."""


class Demo:
    """One run of the demo."""

    def __init__(self, signals: StopSignals, record: Record) -> None:
        self._signals = signals
        self._record = record
        self._parts = Parts()
        self._port: ReservedPort | None = None
        self._environment = _plain_environment()

    def start(self) -> None:
        """All steps, in order. Raises DemoError, or StoppedError when asked to stop meanwhile."""
        is_first_start = not self._record.isSetUp
        vector = self._find_vector()
        redis_url = self._start_redis()
        self._start_server(redis_url)
        with closing(Operator(self._record.url, self._record.apiToken)) as operator:
            if is_first_start:
                self._make_environment(operator)
            self._start_agents(vector)
            if is_first_start:
                self._set_up(operator)
            self._wait_for_nodes(operator, is_first_start=is_first_start)

    def keep_running(self) -> int:
        """Until somebody asks to stop (0) or the server ends (1)."""
        while not self._signals.came:
            for name, process in self._parts.ended():
                say(f"{name} has ended ({_how(process)}); its log: {process.log}")
                if name == "server":
                    say(process.log_tail(LOG_LINES))
                    return 1
            self._signals.wait(0.5)
        return 0

    def stop(self) -> None:
        """End what was started, in order: agents, server, Redis."""
        for title, names, seconds in (
            ("the agents and their pipelines", list(NODES), AGENTS_STOP_SECONDS),
            ("the server", ["server"], SERVER_STOP_SECONDS),
            ("Redis", ["Redis"], REDIS_STOP_SECONDS),
        ):
            if self._parts.has_any(names):
                step(f"Stopping {title}")
            for name in self._parts.stop(names, seconds, self._signals):
                detail(f"{name} did not end and was killed")
        if self._port is not None:
            self._port.release()

    # -- steps

    def _find_vector(self) -> Path:
        found = shutil.which("vector")
        for program in (Path(found) if found else None, STAND_IN):
            if program is None:
                continue
            done = self._run([str(program), "--version"])
            if done.returncode == 0 and done.stdout.startswith("vector "):
                step(f"Vector: {done.stdout.strip()} ({program})")
                return program
            detail(
                f"{program} does not say its version as Vector does: {_last_line(done.stderr or done.stdout)}"
            )
        raise DemoError("neither a vector on PATH nor the stand-in for it can be run")

    def _start_redis(self) -> str:
        step("Starting Redis")
        folder = made(FOLDER / "redis")
        try:
            try:
                redis = RedisServer(folder)
            except RedisServerError as error:  # the path is too long for a socket
                detail(f"{error}; using a port")
                redis = RedisServer(folder, tcp=True)
            redis.start()
        except RedisServerError as error:
            raise DemoError(str(error)) from error
        self._parts.add("Redis", redis.process)
        return redis.url

    def _start_server(self, redis_url: str) -> None:
        self._port = _port(self._record.port)
        self._record.port = self._port.port
        self._record.url = f"http://{self._port.host}:{self._port.port}"
        self._record.save(RECORD)
        self._environment |= {
            "SIGNALBOX_DATABASE_URL": f"sqlite:///{FOLDER / 'signalbox.db'}",
            "SIGNALBOX_REDIS_URL": redis_url,
            "SIGNALBOX_SECRET_KEY": self._record.secretKey,
            "SIGNALBOX_ENCRYPTION_KEY": self._record.encryptionKey,
            "SIGNALBOX_BIND": f"{self._port.host}:{self._port.port}",
            "SIGNALBOX_ACCESS_LOG": str(ACCESS_LOG),
            "SIGNALBOX_HEARTBEAT_INTERVAL_MS": HEARTBEAT_MS,
            "SIGNALBOX_IDLE_HEARTBEAT_INTERVAL_MS": HEARTBEAT_MS,
            "WEB_CONCURRENCY": "2",
        }
        step("Migrating the database")
        self._flask("db", "upgrade")
        if not self._record.isSetUp:
            step("Creating the operator's login")
            self._flask("admin", "create", self._record.email, typed=f"{self._record.password}\n")
            self._record.apiToken = self._flask("api-token", "create", "demo").strip()
            self._record.save(RECORD)
        step(f"Starting the server, two workers, on {self._record.url}")
        self._start_part(
            "server", ["-m", "gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"], self._environment
        )
        self._wait_for("the server is ready", self._is_server_ready, READY_SECONDS)

    def _make_environment(self, operator: Operator) -> None:
        step('Creating the environment "demo"')
        self._record.environmentId = operator.call("POST", "/environments", {"name": "demo"})["id"]
        path = f"/environments/{self._record.environmentId}/enrollment-token"
        self._record.enrollmentToken = operator.call("POST", path)["token"]
        self._record.save(RECORD)

    def _start_agents(self, vector: Path) -> None:
        step(f"Starting {len(NODES)} agents")
        for name, (labels, _) in NODES.items():
            data = made(data_folder(name))
            # After a kill of the demo its agents take a moment to end.
            self._wait_for(f"an earlier agent of {name} has ended", partial(_is_free, data), READY_SECONDS)
            settings = {
                "SIGNALBOX_URL": self._record.url,
                "SIGNALBOX_TOKEN": self._record.enrollmentToken,
                "SIGNALBOX_DATA_DIR": str(data),
                "SIGNALBOX_VECTOR_BIN": str(vector),
                "SIGNALBOX_LABELS": labels,
            }
            self._start_part(name, ["-m", "agent"], _plain_environment() | settings)
        self._wait_for("every agent has enrolled", lambda: all(map(_node_id, NODES)), READY_SECONDS)

    def _set_up(self, operator: Operator) -> None:
        step("Naming the nodes")
        for name, (_, labels) in NODES.items():
            operator.call("PATCH", f"/nodes/{_node_id(name)}", {"name": name, "labels": labels})
        self._wait_for(
            "every node has its push channel",
            lambda: all(row["push"]["connected"] for row in self._own_nodes(operator)),
            READY_SECONDS,
        )
        step('Creating and deploying the pipeline "visits"')
        pipeline = {
            "environmentId": self._record.environmentId,
            "name": "visits",
            "configYaml": pipeline_yaml(ACCESS_LOG),
        }
        self._record.pipelineId = operator.call("POST", "/pipelines", pipeline)["id"]
        deployed = operator.call("POST", f"/pipelines/{self._record.pipelineId}/deploy", {})
        detail(f"version {deployed['version']} pushed to {deployed['pushed']} of {deployed['targets']} nodes")
        self._record.isSetUp = True
        self._record.save(RECORD)

    def _wait_for_nodes(self, operator: Operator, *, is_first_start: bool) -> None:
        """Until every node follows. Later starts go on without: by then what runs is the operator's own doing."""
        step("Waiting for the nodes to run what is deployed")
        steady = 0.0 if is_first_start else STEADY_SECONDS
        told = ""
        well_since: dict[str, float] = {}
        deadline = time.monotonic() + RUNNING_SECONDS
        while True:
            self._check()
            faults, now = self._faults(operator), time.monotonic()
            well_since = {name: well_since.get(name, now) for name in NODES if name not in faults}
            running = sum(now - since >= steady for since in well_since.values())
            news = f"{running} of {len(NODES)} nodes run it"
            if news != told:
                detail(told := news)
            if running == len(NODES):
                return
            failed = [fault for fault in faults.values() if _HAS_FAILED.search(fault)]
            # Later what fails is what the operator has deployed: no reason to withhold the address for a minute.
            if (failed if is_first_start else faults and len(failed) == len(faults)) or now > deadline:
                break
            self._signals.wait(0.25)
        sentence = f"not every node runs it: {'; '.join(faults.values()) or 'what runs does not last'}"
        if is_first_start:
            raise DemoError(f"{sentence}\n{self._last_words(faults)}")
        detail(f"{sentence}; the fleet page shows more, and `make demo RESET=1` starts afresh")

    # -- what the steps are made of

    def _own_nodes(self, operator: Operator) -> list[dict[str, Any]]:
        ids = {_node_id(name) for name in NODES}
        return [row for row in operator.nodes() if row["id"] in ids]

    def _faults(self, operator: Operator) -> dict[str, str]:
        """Name -> why that node does not yet do what it should."""
        rows = {row["id"]: row for row in self._own_nodes(operator)}
        faults = {}
        for name in NODES:
            row = rows.get(_node_id(name) or "")
            if row is None:
                faults[name] = f"{name} is no longer in the fleet"
            elif not row["push"]["connected"]:
                faults[name] = f"{name} is not connected"
            elif unwell := [pipeline for pipeline in row["pipelines"] if pipeline["status"] != "RUNNING"]:
                state = unwell[0]
                why = f" ({state['error']})" if state["error"] else ""
                faults[name] = f'the pipeline "{state["name"]}" on {name} is {state["status"]}{why}'
            elif row["behind"]:
                faults[name] = f"{name} is behind"
        return faults

    def _last_words(self, faults: dict[str, str]) -> str:
        tails = [
            (name, process.log_tail(LOG_LINES)) for name, process in self._parts.running() if name in faults
        ]
        return "\n".join(f"{name}'s log:\n{tail}" for name, tail in tails)

    def _is_server_ready(self) -> bool:
        with requests.Session() as session:
            session.trust_env = False
            try:
                return session.get(f"{self._record.url}/readyz", timeout=5).ok
            except requests.ConnectionError:  # nothing listens yet
                return False

    def _start_part(self, name: str, arguments: list[str], env: dict[str, str]) -> None:
        log = FOLDER / f"{name}.log"
        try:
            self._parts.start(name, [sys.executable, *arguments], log=log, env=env, cwd=ROOT)
        except ProcessError as error:
            raise DemoError(str(error)) from error

    def _flask(self, *arguments: str, typed: str = "") -> str:
        """The standard output of a `flask` command; DemoError with its last line where it fails."""
        done = self._run([sys.executable, "-m", "flask", "--app", "wsgi", *arguments], typed)
        if done.returncode != 0:
            raise DemoError(f"`flask --app wsgi {' '.join(arguments)}` failed: {_last_line(done.stderr)}")
        return done.stdout

    def _run(self, command: list[str], typed: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command to its end, Ctrl-C or not: half a migration would be worse than a moment's wait."""
        self._check()
        try:
            done = subprocess.run(
                command,
                cwd=ROOT,
                env=self._environment,
                input=typed,
                capture_output=True,
                text=True,
                timeout=COMMAND_SECONDS,
                start_new_session=True,
                preexec_fn=die_with_parent(signal.SIGTERM),
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise DemoError(f"cannot run {command[0]}: {error}") from error
        self._check()
        return done

    def _wait_for(self, what: str, probe: Callable[[], bool], seconds: float) -> None:
        """Until `probe` says yes; DemoError after so many seconds, or when a part has ended meanwhile."""
        deadline = time.monotonic() + seconds
        while not probe():
            if time.monotonic() > deadline:
                raise DemoError(f"waited {seconds:.0f} s in vain: {what}")
            self._signals.wait(0.1)
            self._check()

    def _check(self) -> None:
        """Raise StoppedError when asked to stop, DemoError when a part has ended."""
        if self._signals.came:
            raise StoppedError
        for name, process in self._parts.ended():
            raise DemoError(
                f"{name} has ended ({_how(process)}); the end of {process.log}:\n{process.log_tail(LOG_LINES)}"
            )


def pipeline_yaml(access_log: Path) -> str:
    """The demo's pipeline for this access log."""
    pattern = json.dumps(glob.escape(str(access_log)))  # to the file source it is a pattern
    return (ROOT / "demo" / "pipeline.yaml").read_text().replace("@ACCESS_LOG@", pattern)


def _is_free(data: Path) -> bool:
    """Whether no agent has this data folder."""
    with (data / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _port(remembered: int) -> ReservedPort:
    """The port of the last time where it is still free, so that bookmarks go on working; else any."""
    if remembered:
        try:
            return ReservedPort(port=remembered)
        except OSError as error:
            detail(f"port {remembered} cannot be used again ({error.strerror}); taking another")
    return ReservedPort()


def _node_id(name: str) -> str | None:
    """The id in the node token (``sbx_node_<id>_<secret>``) that the agent of this name has; None before."""
    try:
        return (data_folder(name) / "node-token").read_text().split("_")[2]
    except FileNotFoundError:
        return None


def _plain_environment() -> dict[str, str]:
    """What every part gets of ours: no setting of another Signalbox, and no proxy, all is on this machine.

    Our own Python comes first on PATH, since the stand-in for Vector runs on it.
    """
    kept = {"HOME", "USER", "LOGNAME", "LANG", "TZ", "TMPDIR"}
    plain = {name: value for name, value in os.environ.items() if name in kept or name.startswith("LC_")}
    return plain | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}


def _how(process: ChildProcess) -> str:
    code = process.exit_code
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it said nothing"
