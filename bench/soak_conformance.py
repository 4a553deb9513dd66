"""Agents that we did not write, connected for a while without a drop: `python -m bench.soak_conformance [seconds]`.

Starts a private Redis, a server with two workers on SQLite, and an agent A and an agent B (tests/conformance) with
their real deadlines: A gives its socket up when it has read neither a message nor a pong for 45 seconds. Every
minute it deploys another configuration. The default is ten minutes.

Prints what each agent has counted; exits with 1 if a channel was lost, an answer refused or a deploy missed.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

from tests.conformance.agent_a import AgentA
from tests.conformance.agent_b import AgentB
from tests.support.api import Operator
from tests.support.database import SqliteDatabases
from tests.support.server import Server
from tests.support.until import until
from tools.redis_server import RedisServer

DEFAULT_SECONDS = 600.0
DEPLOY_SECONDS = 60.0
YAML = """\
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


def main() -> int:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_SECONDS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("redis", "server", "a", "b"):
            (folder / part).mkdir()
        with RedisServer(folder / "redis") as redis_server:
            database = SqliteDatabases(folder / "server").create(folder / "server")
            settings = {"SIGNALBOX_DATABASE_URL": database, "SIGNALBOX_REDIS_URL": redis_server.url}
            server = Server(folder / "server", settings)
            try:
                return run(server.start(), folder, seconds)
            finally:
                server.close()


def run(server: Server, folder: Path, seconds: float) -> int:
    """Keep both connected for *seconds*; the exit code."""
    operator = Operator(server.url, server.create_api_token())
    environment = operator.create_environment("soak")["id"]
    pipeline = operator.create_pipeline(environment, "made", YAML.format(interval=1))["id"]
    token = operator.enrollment_token(environment)
    agents = [kind(folder / kind.__name__[-1].lower(), server.url, token) for kind in (AgentA, AgentB)]
    try:
        for agent in agents:
            agent.start()
        until(lambda: all(agent.is_connected for agent in agents), what="both channels")
        ends, version = time.monotonic() + seconds, 0
        while time.monotonic() < ends:
            version += 1
            operator.call("PUT", f"/pipelines/{pipeline}", {"configYaml": YAML.format(interval=version)})
            deployed = operator.deploy(pipeline)
            assert deployed["pushed"] == len(agents), deployed
            until(
                lambda wanted=version: all(
                    running.version == wanted for agent in agents for running in agent.pipelines.values()
                ),
                seconds=5,
                what="the deploy on both",
            )
            time.sleep(max(0.0, min(DEPLOY_SECONDS, ends - time.monotonic())))
        problems = [f"{type(agent).__name__}: {problem}" for agent in agents for problem in agent.problems]
        drops = sum(agent.counts["drops"] for agent in agents)
        for agent in agents:
            print(type(agent).__name__, dict(sorted(agent.counts.items())))
        print(json.dumps({"seconds": seconds, "deploys": version, "drops": drops, "problems": problems}))
        return 1 if drops or problems else 0
    finally:
        for agent in agents:
            agent.stop()


if __name__ == "__main__":
    sys.exit(main())
