"""Whom each kind of change tells: `python -m bench.nudge_counts`.

A private Redis, a server with two workers on SQLite, and fifty agents on WebSockets of which seven are concerned.
For each change it prints how many agents were nudged, how often in all, and how many of their fetches brought another
configuration (200) or none (304). Nothing sweeps and nobody polls: what is heard was pushed.
"""

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.support.api import Operator
from tests.support.database import SqliteDatabases
from tests.support.listeners import Caused, Listeners
from tests.support.server import Server
from tools.redis_server import RedisServer

AGENTS, CONCERNED = 50, 7
UNSWEPT = {"SIGNALBOX_SWEEP_INTERVAL": "3600"}
NAMING = """
sources: {made: {type: demo_logs, format: json}}
sinks: {gone: {type: http, inputs: [made], uri: "http://localhost", key: "SECRET[password]"}}
"""
PLAIN = """
sources: {made: {type: demo_logs, format: json}}
sinks: {gone: {type: blackhole, inputs: [made]}}
"""


def changes(server: Server) -> Iterator[tuple[str, int, Caused]]:
    """Each change in words, how many nodes gain or lose something by it, and what it has caused."""
    operator = Operator(server.url, server.create_api_token())
    environment = operator.create_environment("counted")["id"]
    path = f"/environments/{environment}"
    operator.call("PUT", f"{path}/secrets/password", {"value": "first"})
    naming = operator.create_pipeline(environment, "naming", NAMING, nodeSelector="role=db")["id"]
    own = operator.create_pipeline(environment, "own", PLAIN, nodeSelector="pool=x")["id"]
    operator.deploy(operator.create_pipeline(environment, "plain", PLAIN)["id"])
    operator.deploy(naming)
    listeners = Listeners(server, operator, environment, AGENTS)
    concerned = listeners.agents[:CONCERNED]
    one = concerned[0]

    def each(change: Callable[[str], dict[str, object]]) -> Callable[[], None]:
        def work() -> None:
            for agent in concerned:
                operator.call("PATCH", f"/nodes/{agent.node_id}", change(agent.node_id))

        return work

    def report(agents: list, labels: dict[str, str]) -> Callable[[], None]:  # type: ignore[type-arg]
        def work() -> None:
            for agent in agents:
                # Nothing of what runs is said, so that this alone is what changes.
                revision = agent.config().json()["configRevision"]
                assert agent.heartbeat(configRevision=revision, labels=labels).status_code == 200

        return work

    def redeploy(selector: str) -> Callable[[], None]:
        def work() -> None:
            operator.call("PUT", f"/pipelines/{naming}", {"nodeSelector": selector})
            operator.deploy(naming)

        return work

    def allow(*keys: str) -> Callable[[], object]:
        return lambda: operator.call("PATCH", path, {"selectableAgentLabels": keys})

    def rotate(value: str) -> Callable[[], object]:
        return lambda: operator.call("PUT", f"{path}/secrets/password", {"value": value})

    with listeners.open():
        count = listeners.caused_by
        yield "label", 7, count(each(lambda _: {"labels": {"role": "db"}}))
        yield (
            "label that matters to no pipeline",
            0,
            count(each(lambda _: {"labels": {"role": "db", "a": "b"}})),
        )
        yield "secret", 7, count(rotate("second"))
        yield (
            "selector, in the draft only", 0,
            count(lambda: operator.call("PUT", f"/pipelines/{naming}", {"nodeSelector": "role=none"})),
        )  # fmt: skip
        yield "selector that seven lose", 7, count(redeploy("role=none"))
        yield "selector that seven gain", 7, count(redeploy("role in (db,none)"))
        yield "agents' labels, not allowed", 0, count(report(concerned, {"pool": "x"}))
        yield "pipeline for labels not allowed", 0, count(lambda: operator.deploy(own))
        yield "agents' key allowed", 7, count(allow("pool"))
        yield "agent's label, allowed", 1, count(report([one], {"pool": "y"}))
        yield "agent's other label", 0, count(report([one], {"pool": "y", "other": "z"}))
        yield "agents' key no longer allowed", 6, count(allow())
        maintenance = f"/nodes/{one.node_id}"
        yield (
            "maintenance on",
            1,
            count(lambda: operator.call("PATCH", maintenance, {"maintenanceMode": True})),
        )
        yield "secret, one in maintenance", 6, count(rotate("third"))
        yield (
            "maintenance off",
            1,
            count(lambda: operator.call("PATCH", maintenance, {"maintenanceMode": False})),
        )
        yield (
            "poll interval", 0,
            count(lambda: operator.call("PATCH", "/settings", {"pollIntervalMs": 20_000})),
        )  # fmt: skip


def main() -> None:
    table = []
    print(
        f"{'change':34}{'concerned':>10}{'nudged':>8}{'nudges':>8}{'200':>6}{'304':>6}{'poll_interval':>15}"
    )
    with tempfile.TemporaryDirectory() as name, RedisServer(Path(name)) as redis:
        folder = Path(name) / "server"
        folder.mkdir()
        database = SqliteDatabases(folder.parent).create(folder)
        settings = {"SIGNALBOX_DATABASE_URL": database, "SIGNALBOX_REDIS_URL": redis.url, **UNSWEPT}
        server = Server(folder, settings)
        try:
            server.start()
            for what, concerned, caused in changes(server):
                row = (
                    concerned, len(caused.nudged), sum(caused.nudged.values()), caused.full, caused.unchanged,
                    caused.intervals,
                )  # fmt: skip
                print(f"{what:34}{row[0]:>10}{row[1]:>8}{row[2]:>8}{row[3]:>6}{row[4]:>6}{row[5]:>15}")
                table.append({"change": what, "counts": row})
        finally:
            server.close()
    print(json.dumps(table))


if __name__ == "__main__":
    main()
