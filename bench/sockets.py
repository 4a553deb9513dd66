"""What sockets cost, ours beside plain flask-sock: `python -m bench.sockets [count …]`, default 1000 5000 10000.

For each count, one after the other: a private Redis, a server with two workers and SQLite, that many nodes
straight in the database, their channels opened with real tokens. It prints the workers' memory (PSS) per socket
above what they had with the first 400 sockets (when all is imported and a burst of dials was served), upgrades
a second, the processor time of both workers while nothing happens, and how long one deploy to all of them
takes: the call, and from the call's start until the median and the last node have read their nudge. The peer is
`bench/peers/flask_sock_plain`. The client is one process with one epoll loop; its own processor time is shown,
so that one can see whether it was the bottleneck. BENCH_IDLE_SECONDS (20) is how long nothing happens.
"""

import hashlib
import json
import os
import secrets
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests

from bench.crowd import Crowd, processor_seconds, pss
from tests.support import PROJECT
from tests.support.api import Operator
from tests.support.database import SqliteDatabases
from tests.support.many_nodes import enroll_many
from tests.support.server import Server, clean_environment
from tests.support.until import until
from tools.child_process import ChildProcess
from tools.redis_server import RedisServer
from tools.reserved_port import ReservedPort

YAML = """
sources:
  made:
    type: demo_logs
    format: json
sinks:
  gone:
    type: blackhole
    inputs: [made]
"""
WARM = 400
IDLE_SECONDS = float(os.environ.get("BENCH_IDLE_SECONDS", "20"))


@dataclass
class Contender:
    """A server that runs, with nodes that may connect."""

    crowd: Crowd
    tokens: list[str]
    pids: list[int]
    sockets: Callable[[], int]
    """How many it holds and has subscribed."""
    deploy: Callable[[], int]
    """To all; how many were pushed."""


@contextmanager
def signalbox(folder: Path, count: int) -> Iterator[Contender]:
    """Ours."""
    (folder / "server").mkdir()
    with RedisServer(folder) as redis:
        settings = {
            "SIGNALBOX_DATABASE_URL": SqliteDatabases(folder).create(folder / "server"),
            "SIGNALBOX_REDIS_URL": redis.url,
            "SIGNALBOX_UPGRADE_RATE": "100000",  # what it can do is the question here
        }
        server = Server(folder / "server", settings)
        try:
            server.start()
            operator = Operator(server.url, server.create_api_token())
            environment = operator.create_environment("bench")["id"]
            pipeline = operator.create_pipeline(environment, "bench", YAML)["id"]
            tokens = enroll_many(server.settings, environment, count)
            first = operator.session.get(
                f"{server.url}/api/agent/config", headers={"Authorization": f"Bearer {tokens[0]}"}
            ).json()
            crowd = Crowd(f"{server.url}/api/agent/ws", first["configRevision"])

            def sockets() -> int:
                text = operator.session.get(f"{server.url}/metrics").text
                lines = [line for line in text.splitlines() if line.startswith("signalbox_sockets{")]
                return sum(int(float(line.rpartition(" ")[2])) for line in lines)

            yield Contender(
                crowd, tokens, server.worker_pids(), sockets, lambda: operator.deploy(pipeline)["pushed"]
            )
        finally:
            server.close()


@contextmanager
def flask_sock_plain(folder: Path, count: int) -> Iterator[Contender]:
    """The peer."""
    database = folder / "peer.db"
    tokens = [secrets.token_hex(32) for _ in range(count)]
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE node (id TEXT PRIMARY KEY, token_digest TEXT UNIQUE)")
        digests = [hashlib.sha256(token.encode()).hexdigest() for token in tokens]
        connection.executemany(
            "INSERT INTO node VALUES (?, ?)", [(secrets.token_hex(16), digest) for digest in digests]
        )
    connection.close()
    port = ReservedPort()
    url = f"http://{port.host}:{port.port}"
    with RedisServer(folder) as redis:
        command = [
            sys.executable, "-m", "gunicorn", "-c", str(PROJECT / "bench/peers/flask_sock_plain/gunicorn.conf.py"),
            "-b", f"{port.host}:{port.port}", "bench.peers.flask_sock_plain.app:app",
        ]  # fmt: skip
        settings = {"PEER_REDIS_URL": redis.url, "PEER_DATABASE": str(database)}
        process = ChildProcess(
            command, log=folder / "peer.log", env={**clean_environment(), **settings}, cwd=PROJECT
        )
        try:
            until(
                lambda: requests.get(url, timeout=5).status_code == 404,
                seconds=30, what="the peer", tolerate=(OSError,),
            )  # fmt: skip
            import redis as redis_client

            client = redis_client.Redis.from_url(redis.url)
            pids = [child.pid for child in psutil.Process(process.pid).children()]
            yield Contender(
                Crowd(f"{url}/ws"),
                tokens,
                pids,
                lambda: len(client.pubsub_channels("node:*")),
                lambda: requests.post(f"{url}/deploy", timeout=60).json()["pushed"],
            )
            client.close()
        finally:
            process.stop(5)
            port.release()


CONTENDERS = {"signalbox": signalbox, "flask-sock": flask_sock_plain}


def measure(name: str, count: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder, CONTENDERS[name](Path(folder), count) as contender:
        try:
            return _measure(contender)
        finally:
            contender.crowd.close()


def _settle(contender: Contender) -> None:
    """Until the server knows all that are open; pings are answered meanwhile."""

    def is_settled() -> bool:
        contender.crowd.serve(len(contender.tokens) + 1, 0.5)
        return contender.sockets() >= len(contender.crowd.sockets)

    until(is_settled, seconds=60, what="all sockets")


def _measure(contender: Contender) -> dict[str, float]:
    crowd, pids, count = contender.crowd, contender.pids, len(contender.tokens)
    crowd.connect(contender.tokens[:WARM])
    _settle(contender)
    empty = pss(pids)
    warm = len(crowd.sockets)
    started = time.perf_counter()
    crowd.connect(contender.tokens[WARM:])
    upgraded = time.perf_counter() - started
    _settle(contender)
    open_sockets = len(crowd.sockets)
    crowd.serve(count, 3)  # let what belongs to connecting pass
    memory = pss(pids) - empty
    before = processor_seconds(pids)
    crowd.serve(count, IDLE_SECONDS)
    idle = (processor_seconds(pids) - before) / IDLE_SECONDS
    lost_idle = crowd.lost
    crowd.forget()
    own = time.process_time()
    called = time.perf_counter()
    answered: list[tuple[float, int]] = []

    def deploy() -> None:
        pushed = contender.deploy()
        answered.append((time.perf_counter() - called, pushed))

    thread = threading.Thread(target=deploy)
    thread.start()
    crowd.serve(len(crowd.sockets), 60)
    own = time.process_time() - own
    thread.join()
    spans = sorted(at - called for at in crowd.heard.values())
    return {
        "sockets": open_sockets,
        "refused": crowd.refused,
        "lost before": lost_idle,
        "KiB per socket": round(memory / 1024 / (open_sockets - warm), 2),
        "upgrades/s": round((open_sockets - warm) / upgraded),
        "idle % of a core": round(idle * 100, 2),
        "deploy call ms": round(answered[0][0] * 1000, 1),
        "pushed": answered[0][1],
        "first told ms": round(spans[0] * 1000, 1),
        "median told ms": round(statistics.median(spans) * 1000, 1),
        "all told ms": round(spans[-1] * 1000, 1),
        "told": len(spans),
        "client busy ms": round(own * 1000, 1),
        "load average": round(os.getloadavg()[0], 2),
    }


RATIOS = ("KiB per socket", "upgrades/s", "idle % of a core", "median told ms", "all told ms")


def main() -> None:
    counts = [int(word) for word in sys.argv[1:]] or [1000, 5000, 10_000]
    rows = []
    for count in counts:
        ours, peer = (measure(name, count) for name in CONTENDERS)
        rows.append({"signalbox": ours, "flask-sock": peer})
        print(f"\n{count} sockets{'':12}{'signalbox':>12}{'flask-sock':>12}{'peer / ours':>13}")
        for key in ours:
            ratio = f"{peer[key] / ours[key]:13.2f}" if key in RATIOS and ours[key] else ""
            print(f"{key:24}{ours[key]:>12}{peer[key]:>12}{ratio}", flush=True)
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
