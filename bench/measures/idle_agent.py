"""A real agent that has nothing to do: how many requests it makes."""

from __future__ import annotations

import json
import time
from collections import Counter

from bench import ours
from bench.figures import figure
from bench.place import Place, say
from bench.results import Results
from bench.scale import Scale
from tests.support.agent_process import AgentProcess
from tests.support.until import until

NAME = "idle_agent"
STABLE_SECONDS = 65.0
"""A link counts as stable after a minute; from then on polls and heartbeats are rare."""

REQUESTS = figure(
    "idle_agent.requests", "requests of an idle agent", "/hour", "less",
    "counted in the server's access log once its link is stable, with the intervals as shipped",
)  # fmt: skip


def measure(place: Place, scale: Scale, results: Results) -> None:
    """One agent with one pipeline, its push channel up."""
    with ours.running(place, access_log=True) as server, place.folder() as folder:
        token = server.operator.enrollment_token(server.environment)
        agent = AgentProcess(folder, server.server.url, token).start()
        try:
            pipeline = server.create_pipeline()
            until(lambda: server.held() == 1, seconds=60, what="the agent's channel")
            server.deploy(pipeline)
            until(
                lambda: [each["status"] for each in server.operator.node(agent.node_id)["pipelines"]] == ["RUNNING"],
                seconds=90, every=1, what="a running pipeline",
            )  # fmt: skip
            say(f"{NAME}: waiting for a stable link, then {scale.idle_agent_seconds:.0f} s")
            time.sleep(5 if scale.name == "tiny" else STABLE_SECONDS)
            offset = server.server.access_log.stat().st_size
            time.sleep(scale.idle_agent_seconds)
            with server.server.access_log.open() as log:
                log.seek(offset)
                paths = Counter(json.loads(line).get("path") for line in log if "/api/agent/" in line)
            say(f"{NAME}: {dict(paths)}")
            results.record(REQUESTS, paths.total() * 3600 / scale.idle_agent_seconds)
        finally:
            agent.close()
