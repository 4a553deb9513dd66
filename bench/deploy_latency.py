"""How long a deploy takes to reach real agents: `python -m bench.deploy_latency [deploys] [agents]`.

Starts a private Redis, a server with two workers on SQLite, and real agents with the stand-in for Vector (or
the `vector` on the path). For each deploy, of another configuration than the last, it takes the time from the
deploy call's answer to each agent's `config_changed` and to its child's *running*, both from the agents' logs,
and whether the worker that answered the deploy is another than the one that held the socket.

Prints a table and, as its last line, JSON. The agent says *running* only after its settle time (two seconds).
"""

import json
import re
import statistics
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from tests.support.agent_process import AgentProcess
from tests.support.api import Operator
from tests.support.database import SqliteDatabases
from tests.support.server import Server
from tests.support.until import until
from tools.redis_server import RedisServer

YAML = """
sources:
  made:
    type: demo_logs
    format: json
    interval: {interval}
sinks:
  gone:
    type: blackhole
    inputs: [made]
"""
STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[.,]\d{3})Z?")


def log_time(line: str) -> datetime | None:
    """The moment at the head of a log line; both parts log in UTC."""
    found = STAMP.search(line)
    return datetime.fromisoformat(found[1].replace(",", ".")).replace(tzinfo=UTC) if found else None


def first_after(log: Path, offset: int, *words: str) -> datetime | None:
    """When the first line behind *offset* bytes that holds all *words* was written."""
    with log.open(errors="replace") as file:
        file.seek(offset)
        for line in file:
            if all(word in line for word in words):
                return log_time(line)
    return None


def milliseconds(start: datetime, end: datetime) -> float:
    return (end - start).total_seconds() * 1000


def main() -> None:
    deploys = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    nudged: list[float] = []
    running: list[float] = []
    calls: list[float] = []
    with tempfile.TemporaryDirectory() as folder_name:
        folder = Path(folder_name)
        (folder / "redis").mkdir()
        (folder / "server").mkdir()
        with RedisServer(folder / "redis") as redis:
            database = SqliteDatabases(folder).create(folder / "server")
            server = Server(
                folder / "server",
                {"SIGNALBOX_DATABASE_URL": database, "SIGNALBOX_REDIS_URL": redis.url},
            )
            agents: list[AgentProcess] = []
            try:
                server.start()
                operator = Operator(server.url, server.create_api_token())
                environment = operator.create_environment("bench")["id"]
                token = operator.enrollment_token(environment)
                for number in range(count):
                    (folder / f"agent-{number}").mkdir()
                    agents.append(AgentProcess(folder / f"agent-{number}", server.url, token).start())
                ids = [agent.node_id for agent in agents]
                until(
                    lambda: all(operator.node(node)["push"]["connected"] for node in ids),
                    seconds=30,
                    what="the agents' channels",
                )
                pipeline = operator.create_pipeline(environment, "bench", YAML.format(interval=1))["id"]
                for number in range(deploys):
                    operator.call(
                        "PUT", f"/pipelines/{pipeline}",
                        {"name": "bench", "configYaml": YAML.format(interval=1 + number / 100)},
                    )  # fmt: skip
                    offsets = [agent.log.stat().st_size for agent in agents]
                    called = datetime.now(UTC)
                    response = operator.request("POST", f"/pipelines/{pipeline}/deploy", {})
                    answered = datetime.now(UTC)
                    assert response.ok, response.text
                    deploy = response.json()
                    calls.append(milliseconds(called, answered))
                    for agent, offset in zip(agents, offsets, strict=True):
                        heard = until(
                            lambda agent=agent, offset=offset: first_after(agent.log, offset, "config_changed"),
                            seconds=20, what=f"the nudge in {agent.log}",
                        )  # fmt: skip
                        runs = until(
                            lambda agent=agent, offset=offset, version=deploy["version"]: first_after(
                                agent.log, offset, f"version={version} ", "RUNNING"
                            ),
                            seconds=60, what=f"version {deploy['version']} running in {agent.log}",
                        )  # fmt: skip
                        nudged.append(milliseconds(answered, heard))
                        running.append(milliseconds(answered, runs))
                log = server.log.read_text()
            finally:
                for agent in agents:
                    agent.close()
                server.close()
    table = {
        "deploy call": calls,
        "answer to config_changed": nudged,
        "answer to running": running,
    }
    print(f"{deploys} deploys to {count} agents, milliseconds (negative: before the answer)")
    for name, values in table.items():
        print(
            f"{name:26} median {statistics.median(values):8.1f}   worst {max(values):8.1f}   n {len(values)}"
        )
    print(crossings(log))
    print(
        json.dumps(
            {
                name: {"median": statistics.median(values), "worst": max(values)}
                for name, values in table.items()
            }
        )
    )


def crossings(log: str) -> str:
    """In how many deploys another worker than the one that answered wrote a nudge; an example of it."""
    answered = dict(re.findall(r"pipeline deploy .*deployment=(\S+) .*worker=(\S+)", log))
    crossed: dict[str, str] = {}
    for worker, deployments in re.findall(r"nudges written worker=(\S+) .*deployments=(\S+)", log):
        for deployment in deployments.split(","):
            if deployment in answered and answered[deployment] != worker:
                crossed[deployment] = f"deploy answered by {answered[deployment]}, nudge written by {worker}"
    example = next(iter(crossed.values()), "none")
    return f"socket and deploy in different workers: {len(crossed)} of {len(answered)} deploys ({example})"


if __name__ == "__main__":
    main()
