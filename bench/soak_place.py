"""What a soak disturbs: one server, one Redis, some agents, and the pipelines that they shall run."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from random import Random
from types import MappingProxyType, TracebackType

import psutil

from bench.process_figures import figures
from tests.support.agent_process import AgentProcess
from tests.support.api import ApiError, Operator
from tests.support.database import migrate, sqlite_url
from tests.support.server import Server, ServerError
from tools.child_process import ProcessError
from tools.redis_server import RedisServer, RedisServerError

AGENTS = 5
PIPELINES = ("lines", "console", "file")
SINKS = {
    "lines": "{type: blackhole, inputs: [kept]}",
    "console": "{type: console, inputs: [kept], encoding: {codec: json}}",
    "file": '{type: file, inputs: [kept], path: "${VF_DATA_DIR}/%H.log", encoding: {codec: json}}',
}
YAML = """\
# revision %(revision)d
sources:
  made: {type: demo_logs, format: json, interval: 2}
transforms:
  kept: {type: filter, inputs: [made], condition: 'true'}
sinks:
  out: %(sink)s
"""
REFUSED = "  no: {type: no_such_sink, inputs: [kept]}\n"
DYING = "  no: {type: prometheus_exporter, inputs: [counted], address: '127.0.0.1:%(port)d'}\n"
COUNTED = "  counted: {type: internal_metrics, scrape_interval_secs: 60}\n"
SETTINGS = {
    "SIGNALBOX_POLL_INTERVAL_MS": "5000",
    "SIGNALBOX_IDLE_POLL_INTERVAL_MS": "60000",
    "SIGNALBOX_HEARTBEAT_INTERVAL_MS": "5000",
    "SIGNALBOX_IDLE_HEARTBEAT_INTERVAL_MS": "10000",
    "SIGNALBOX_SWEEP_INTERVAL": "10",
}


class SoakAgent:
    """One node's agent over all its starts."""

    def __init__(self, name: str, process: AgentProcess) -> None:
        self.name = name
        self.starts = 0
        self._agent = process
        self._cpu_before = 0.0
        self._up_before = 0.0
        self._started_at = 0.0
        self._seen_cpu = 0.0

    @property
    def is_up(self) -> bool:
        return self.starts > 0 and self._agent.process.is_running

    @property
    def pid(self) -> int:
        return self._agent.process.pid

    @property
    def log(self) -> Path:
        return self._agent.log

    @property
    def data(self) -> Path:
        return self._agent.data

    @property
    def node_id(self) -> str:
        return self._agent.node_id

    def start(self) -> None:
        if self.is_up:
            return
        self._agent.start()
        self.starts += 1
        self._started_at, self._seen_cpu = time.monotonic(), 0.0

    def kill(self) -> None:
        self._count()
        self._agent.kill()

    def stop(self) -> int:
        self._count()
        return self._agent.stop()

    def close(self) -> None:
        self._agent.close()

    def freeze(self) -> None:
        self._agent.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._agent.process.send_signal(signal.SIGCONT)

    def cpu_seconds(self) -> float:
        """Over all starts."""
        return self._cpu_before + (figures(self.pid).cpu if self.is_up else 0.0)

    def up_seconds(self) -> float:
        return self._up_before + (time.monotonic() - self._started_at if self.is_up else 0.0)

    def _count(self) -> None:
        self._cpu_before += figures(self.pid).cpu
        self._up_before += time.monotonic() - self._started_at


class Place:
    """Everything that runs. Operators' acts go through the API; what should be so is remembered here."""

    errors = (ApiError, ServerError, RedisServerError, ProcessError)
    """What fails while the server or Redis is away."""

    def __init__(
        self, folder: Path, *, agents: int = AGENTS, settings: Mapping[str, str] = MappingProxyType(SETTINGS)
    ) -> None:
        """`settings` are the server's, SIGNALBOX_* variables."""
        self.folder = folder
        self._agents = agents
        self._settings = settings
        self._stack = ExitStack()
        self._revision = 0
        self._good_versions: dict[str, list[int]] = {name: [] for name in PIPELINES}
        self._is_good: dict[str, bool] = dict.fromkeys(PIPELINES, False)
        """Whether what is deployed can run."""
        self._draft_is_good: dict[str, bool] = dict.fromkeys(PIPELINES, True)
        self._traces: dict[Path, int] = {}

    def __enter__(self) -> Place:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _start(self) -> None:
        for part in ("redis", "server"):
            (self.folder / part).mkdir()
        self.redis = self._stack.enter_context(RedisServer(self.folder / "redis"))
        database = sqlite_url(self.folder / "server" / "signalbox.db")
        migrate(database)
        urls = {"SIGNALBOX_DATABASE_URL": database, "SIGNALBOX_REDIS_URL": self.redis.url}
        self.server = Server(self.folder / "server", {**urls, **self._settings})
        self._stack.callback(self.server.close)
        self.server.start()
        self.server_is_up = self.redis_is_up = True
        self.operator = Operator(self.server.url, self.server.create_api_token("soak"))
        # A connection that is kept is one that the server may have just given up.
        self.operator.session.headers["Connection"] = "close"
        environment = self.operator.create_environment("soak")["id"]
        token = self.operator.enrollment_token(environment)
        # Somebody listens where a dying configuration wants to.
        self._taken = self._stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self._pipeline_ids = {
            name: self.operator.create_pipeline(environment, name, self._yaml(name, "new"))["id"]
            for name in PIPELINES
        }
        self.agents = []
        for number in range(1, self._agents + 1):
            (self.folder / f"agent-{number}").mkdir()
            process = AgentProcess(self.folder / f"agent-{number}", self.server.url, token)
            agent = SoakAgent(f"agent-{number}", process)
            self._stack.callback(agent.close)
            self.agents.append(agent)
            agent.start()

    # an operator's acts

    def deploy(self, name: str, how: str) -> None:
        """`how` is new, same (what the draft says), refused (by validation) or dying (at start)."""
        id = self._pipeline_ids[name]
        if how == "same" and not self._draft_is_good[name]:
            how = "new"
        if how != "same":
            self._draft_is_good[name] = False
            self.operator.call("PUT", f"/pipelines/{id}", {"name": name, "configYaml": self._yaml(name, how)})
        self._is_good[name] = False
        version = self.operator.deploy(id)["version"]
        if how in ("new", "same"):
            self._is_good[name] = self._draft_is_good[name] = True
            self._good_versions[name].append(version)

    def undeploy(self, name: str) -> None:
        self._is_good[name] = False
        self.operator.undeploy(self._pipeline_ids[name])

    def roll_back(self, name: str, random: Random) -> bool:
        versions = self._good_versions[name][-10:]
        if not versions:
            return False
        self._is_good[name] = False
        version = self.operator.roll_back(self._pipeline_ids[name], random.choice(versions))["version"]
        self._is_good[name] = True
        self._good_versions[name].append(version)
        return True

    def _yaml(self, name: str, how: str) -> str:
        self._revision += 1
        text = YAML % {"revision": self._revision, "sink": SINKS[name]}
        if how == "refused":
            text += REFUSED
        elif how == "dying":
            port = self._taken.getsockname()[1]
            text = text.replace("transforms:\n", COUNTED + "transforms:\n") + DYING % {"port": port}
        return text

    # mending

    def start_server(self) -> None:
        if not self.server_is_up:
            self.server.start()
            self.server_is_up = True

    def start_redis(self) -> None:
        if not self.redis_is_up:
            self.redis.start()
            self.redis_is_up = True

    def mend(self) -> None:
        """Start what does not run, deploy what is good where it is not, and press Retry where a good one failed.

        A new version's child that was killed as it started counts as one that died early: for minutes, else.
        """
        self.start_redis()
        self.start_server()
        for agent in self.agents:
            agent.start()
        for name, is_good in self._is_good.items():
            if not is_good:
                self.deploy(name, "new")
        for agent in self.agents:
            for state in self.operator.node(agent.node_id)["pipelines"]:
                if state["failedVersion"] == state["wantedVersion"]:
                    retry = {"action": "restart", "pipelineId": state["pipelineId"]}
                    # Refused where it was asked for already.
                    self.operator.request("POST", f"/nodes/{agent.node_id}/actions", retry)

    # looking

    def children(self, agent: SoakAgent | None = None) -> list[psutil.Process]:
        """The Vectors that run a pipeline of `agent` or of any, wherever they hang in the tree."""
        folder = f"{agent.data if agent is not None else self.folder}/"
        found = []
        for process in psutil.process_iter():
            try:
                line = process.cmdline()
                is_ours = "--config" in line and any(part.startswith(folder) for part in line)
                if is_ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    def what_is_not_well(self) -> str | None:
        """The first thing, through the API, that is not as wanted; None if all is well."""
        for agent in self.agents:
            if not agent.is_up:
                return f"{agent.name} has exited"
            node = self.operator.node(agent.node_id)
            states = {p["pipelineId"]: p for p in node["pipelines"]}
            wanted = set(self._pipeline_ids.values())
            if node["behind"] or not node["push"]["connected"] or states.keys() != wanted:
                return f"{agent.name}: {node['behind']=} {node['push']=} {list(states.values())}"
            for state in states.values():
                runs = (state["status"], state["version"], state["failedVersion"])
                if runs != ("RUNNING", state["wantedVersion"], None):
                    return f"{agent.name}: {state}"
        return None

    def what_is_stray(self) -> str | None:
        """A Vector without a living agent above it, or a pipeline that runs twice on one node, or not at all."""
        seen: dict[tuple[str, str], int] = {}
        by_pid = {agent.pid: agent for agent in self.agents if agent.is_up}
        for child in self.children():
            try:
                above = [by_pid[parent.pid] for parent in child.parents() if parent.pid in by_pid]
                config = next(part for part in child.cmdline() if part.endswith("pipeline.yaml"))
            except (psutil.NoSuchProcess, StopIteration):
                continue
            if not above:
                return f"pid {child.pid} has no agent: {config}"
            if not config.startswith(f"{above[0].data}/"):
                return f"pid {child.pid} runs {config} under {above[0].name}"
            key = (above[0].name, Path(config).parent.name)
            seen[key] = seen.get(key, 0) + 1
        odd = [f"{name} {id}: {count}" for (name, id), count in seen.items() if count != 1]
        if len(seen) != len(self.agents) * len(PIPELINES):
            odd.append(f"{len(seen)} Vectors run")
        return "; ".join(odd) or None

    def new_traces(self) -> str | None:
        """Stack traces and internal errors that agents have logged since this was last asked."""
        found = []
        for agent in self.agents:
            with agent.log.open(errors="replace") as file:
                file.seek(self._traces.get(agent.log, 0))
                text = file.read()
                self._traces[agent.log] = file.tell()
            if "Traceback" in text or "cannot go on" in text:
                found.append(f"{agent.log}: {text.count('Traceback')}")
        return "; ".join(found) or None
