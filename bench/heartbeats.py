"""Heartbeats a second: `python -m bench.heartbeats [nodes] [connections] [seconds]`, by default 300, 32 and 5.

Real gunicorn with two workers, once on SQLite and once on PostgreSQL, with group commits and with a transaction for
each heartbeat. Heartbeats of three pipelines each come over that many connections, from that many nodes in turn; an
empty view of the same server is asked in the same way just before and just after, because the machine drifts.

It prints rates, the share of the empty view's, and latencies, and what of one core the client itself took. Every
heartbeat that was answered with 200 is looked for in the database.
"""

import json
import re
import select
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import sqlalchemy

from app.models import Node
from bench.sockets import YAML
from tests.support.api import Operator
from tests.support.database import PostgresDatabases, SqliteDatabases
from tests.support.many_nodes import enroll_many
from tests.support.postgres_server import PostgresServer
from tests.support.server import Server
from tools.redis_server import RedisServer

WARM_SECONDS = 3.0
"""Each token is told to the other workers once in five minutes: not in what is measured."""
EMPTY_SECONDS = 2.0


@dataclass
class Load:
    """What came of one stretch of requests."""

    rate: float
    p50_ms: float
    p99_ms: float
    statuses: dict[int, int]
    client_cores: float


def drive(
    url: str, connections: int, seconds: float, make: Callable[[], tuple[bytes, Callable[[], None]]]
) -> Load:
    """Send what `make` makes, one request at a time on each connection; its function is called on a 200."""
    place = urlsplit(url)
    poll = select.epoll()
    sockets: dict[int, socket.socket] = {}
    under_way: dict[int, tuple[float, Callable[[], None]]] = {}
    received: dict[int, bytes] = {}
    spans: list[float] = []
    statuses: dict[int, int] = {}

    def dial() -> int:
        connection = socket.create_connection((place.hostname, place.port), timeout=30)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sockets[connection.fileno()] = connection
        poll.register(connection.fileno(), select.EPOLLIN)
        return connection.fileno()

    def ask(number: int) -> None:
        data, taken = make()
        under_way[number] = (time.perf_counter(), taken)
        sockets[number].sendall(data)

    for _ in range(connections):
        ask(dial())
    started, cpu = time.perf_counter(), time.process_time()
    while under_way:
        for number, _ in poll.poll(30):
            data = received.pop(number, b"") + sockets[number].recv(65536)
            if not _is_whole(data):
                received[number] = data
                continue
            now = time.perf_counter()
            begun, taken = under_way.pop(number)
            status = int(data[9:12])
            statuses[status] = statuses.get(status, 0) + 1
            if status == 200:
                taken()
                spans.append(now - begun)
            if now - started < seconds:
                if b"onnection: close" in data:
                    poll.unregister(number)
                    sockets.pop(number).close()
                    number = dial()
                ask(number)
    took, cpu = time.perf_counter() - started, time.process_time() - cpu
    for connection in sockets.values():
        connection.close()
    poll.close()
    spans.sort()
    return Load(
        rate=len(spans) / took,
        p50_ms=statistics.median(spans) * 1000,
        p99_ms=spans[int(len(spans) * 0.99)] * 1000,
        statuses=statuses,
        client_cores=cpu / took,
    )


def _is_whole(data: bytes) -> bool:
    head, end, body = data.partition(b"\r\n\r\n")
    if not end:
        return False
    length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
    return length is not None and len(body) >= int(length[1])


class Beats:
    """Heartbeats of many nodes in turn, and how far each node's have been answered."""

    def __init__(self, tokens: list[str], pipelines: list[str]) -> None:
        self._tokens, self._pipelines = tokens, pipelines
        self._next = 0
        self._seq = 0
        self.answered: dict[str, int] = {}

    def make(self) -> tuple[bytes, Callable[[], None]]:
        token = self._tokens[self._next]
        self._next = (self._next + 1) % len(self._tokens)
        self._seq += 1
        seq, count = self._seq, self._seq * 100
        body = json.dumps(
            {
                "bootId": "bench",
                "seq": seq,
                "agentVersion": "1.0.0",
                "vectorVersion": "vector 0.50.0",
                "configRevision": "0" * 64,
                "hostMetrics": {"memoryTotalBytes": 8 << 30, "memoryUsedBytes": count, "loadAvg1": 0.5},
                "agentHealth": {"pushConnected": True, "uptimeSeconds": seq},
                "pipelines": [
                    {
                        "pipelineId": pipeline, "version": 1, "status": "RUNNING", "pid": 100, "uptimeSeconds": 5.5,
                        "eventsIn": count, "eventsOut": count, "errorsTotal": 0, "bytesIn": count, "bytesOut": count,
                        "componentMetrics": [
                            {
                                "componentId": name,
                                "componentKind": "source",
                                "receivedEvents": count,
                                "sentEvents": count,
                            }
                            for name in ("made", "gone")
                        ],
                        "recentLogs": ["INFO vector: started"] * 3,
                    }
                    for pipeline in self._pipelines
                ],
            }
        ).encode()  # fmt: skip
        head = (
            f"POST /api/agent/heartbeat HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )

        def taken() -> None:
            self.answered[token] = max(seq, self.answered.get(token, 0))

        return head.encode() + body, taken

    def lost(self, database_url: str) -> int:
        """How many nodes of which a newer heartbeat was answered with 200 than the database holds."""
        engine = sqlalchemy.create_engine(database_url.replace("postgresql://", "postgresql+psycopg://"))
        with engine.connect() as connection:
            kept = {
                row.id: row.heartbeat_seq
                for row in connection.execute(sqlalchemy.select(Node.id, Node.heartbeat_seq))
            }
        engine.dispose()
        return sum((kept[token.split("_")[2]] or 0) < seq for token, seq in self.answered.items())


def empty_request() -> tuple[bytes, Callable[[], None]]:
    return b"GET /empty HTTP/1.1\r\nHost: bench\r\n\r\n", lambda: None


@contextmanager
def running(folder: Path, redis_url: str, database_url: str, *, alone: bool) -> Iterator[Server]:
    settings = {"SIGNALBOX_DATABASE_URL": database_url, "SIGNALBOX_REDIS_URL": redis_url}
    if alone:
        settings["BENCH_ALONE"] = "1"
    server = Server(folder, settings, application="bench.heartbeats_app:app")
    try:
        yield server.start()
    finally:
        server.close()


def measure(
    server: Server, database_url: str, nodes: int, connections: int, seconds: float
) -> dict[str, object]:
    operator = Operator(server.url, server.create_api_token())
    environment = operator.create_environment("bench")["id"]
    pipelines = [operator.create_pipeline(environment, f"bench-{each}", YAML)["id"] for each in range(3)]
    beats = Beats(enroll_many(server.settings, environment, nodes), pipelines)
    drive(server.url, connections, WARM_SECONDS, beats.make)
    before = drive(server.url, connections, EMPTY_SECONDS, empty_request)
    load = drive(server.url, connections, seconds, beats.make)
    after = drive(server.url, connections, EMPTY_SECONDS, empty_request)
    empty = (before.rate + after.rate) / 2
    return {
        "heartbeats a second": round(load.rate),
        "empty view": round(empty),
        "share": round(load.rate / empty, 3),
        "p50 ms": round(load.p50_ms, 1),
        "p99 ms": round(load.p99_ms, 1),
        "statuses": load.statuses,
        "lost": beats.lost(database_url),
        "client cores": round(load.client_cores, 2),
    }


def main() -> None:
    asked = [*sys.argv[1:], *["300", "32", "5"][len(sys.argv) - 1 :]]
    nodes, connections, seconds = int(asked[0]), int(asked[1]), float(asked[2])
    rows = []
    with tempfile.TemporaryDirectory() as name, RedisServer(Path(name)) as redis:
        postgres = PostgresServer()
        try:
            postgres_databases, sqlite = PostgresDatabases(postgres.start()), SqliteDatabases(Path(name))
            for kind in ("SQLite", "PostgreSQL"):
                for alone in (False, True):
                    folder = Path(name) / f"{kind}-{alone}"
                    folder.mkdir()
                    url = sqlite.create(folder) if kind == "SQLite" else postgres_databases.create()[1]
                    redis_url = f"{redis.url}?db={len(rows)}" if "?" not in redis.url else redis.url
                    with running(folder, redis_url, url, alone=alone) as server:
                        result = measure(server, url, nodes, connections, seconds)
                    rows.append({"database": kind, "commits": "alone" if alone else "in groups", **result})
                    print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
        finally:
            postgres.close()
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
