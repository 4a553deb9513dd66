"""A storm of deploys: `python -m bench.deploy_storm [sockets] [deploys]`, by default 2000 and 20.

That many deploys of one pipeline within a second, from several connections at once, to that many sockets. It prints
what each deploy call answered, how many nudges each socket read (those that meet in one turn of a worker are
written as one), when the last socket had read its last nudge, and how often a worker's subscriber had to connect
again, which must not happen (hazard 10).
"""

import json
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from bench.crowd import Crowd
from bench.sockets import YAML
from tests.support.api import Operator
from tests.support.database import SqliteDatabases
from tests.support.many_nodes import enroll_many
from tests.support.server import Server
from tests.support.until import until
from tools.redis_server import RedisServer

STORM_SECONDS = 1.0
QUIET_SECONDS = 3.0
"""When nothing has come for so long after the last answer, nothing more will."""


def storm(server: Server, count: int, deploys: int) -> dict[str, object]:
    token = server.create_api_token()
    operator = Operator(server.url, token)
    environment = operator.create_environment("storm")["id"]
    pipeline = operator.create_pipeline(environment, "storm", YAML)["id"]
    tokens = enroll_many(server.settings, environment, count)
    first = operator.session.get(
        f"{server.url}/api/agent/config", headers={"Authorization": f"Bearer {tokens[0]}"}
    ).json()
    crowd = Crowd(f"{server.url}/api/agent/ws", first["configRevision"])
    try:
        crowd.connect(tokens)
        open_sockets = len(crowd.sockets)
        until(
            lambda: len(operator.nodes(environmentId=environment, connected="true", limit="1")) == 1,
            seconds=30, what="the first socket",
        )  # fmt: skip
        crowd.serve(count + 1, 5)  # what belongs to connecting
        crowd.forget()
        answers: list[tuple[float, float, int, dict[str, object]]] = []
        started = time.perf_counter()

        def deploy(number: int) -> None:
            time.sleep(STORM_SECONDS * number / deploys)
            own = Operator(server.url, token)
            called = time.perf_counter()
            response = own.request("POST", f"/pipelines/{pipeline}/deploy", {})
            answers.append(
                (called - started, time.perf_counter() - called, response.status_code, response.json())
            )

        threads = [threading.Thread(target=deploy, args=(number,)) for number in range(deploys)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            crowd.serve(count + 1, 0.2)
        answered = time.perf_counter()
        while time.perf_counter() - max([answered, *crowd.last.values()]) < QUIET_SECONDS:
            crowd.serve(count + 1, 0.5)
        log = server.log.read_text()
        for at, took, status, answer in sorted(answers, key=lambda one: one[0]):
            print(
                f"deploy at {at * 1000:6.0f} ms  took {took * 1000:7.1f} ms  {status}"
                f"  version {answer.get('version')}  targets {answer.get('targets')}  pushed {answer.get('pushed')}"
                f"  {answer.get('error') or answer.get('pushError') or ''}"
            )
        nudges = Counter(crowd.count.get(fd, 0) for fd in crowd.sockets)
        return {
            "sockets": open_sockets,
            "lost": crowd.lost,
            "deploys": deploys,
            "answered 200": sum(status == 200 for _, _, status, _ in answers),
            "pushed to all": sum(answer.get("pushed") == open_sockets for _, _, _, answer in answers),
            "nudges a socket": {str(number): nudges[number] for number in sorted(nudges)},
            "nudges in all": sum(crowd.count.values()),
            "last call answered ms": round((answered - started) * 1000),
            "last socket's last nudge ms": round((max(crowd.last.values()) - started) * 1000),
            "subscriber lost": log.count("subscriber lost"),
        }
    finally:
        crowd.close()


def main() -> None:
    count, deploys = (int(word) for word in [*sys.argv[1:], *["2000", "20"][len(sys.argv) - 1 :]][:2])
    with tempfile.TemporaryDirectory() as name, RedisServer(Path(name)) as redis:
        folder = Path(name) / "server"
        folder.mkdir()
        settings = {
            "SIGNALBOX_DATABASE_URL": SqliteDatabases(folder.parent).create(folder),
            "SIGNALBOX_REDIS_URL": redis.url,
        }
        server = Server(folder, settings)
        try:
            server.start()
            result = storm(server, count, deploys)
        finally:
            server.close()
    for key, value in result.items():
        print(f"{key:28}{value}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
