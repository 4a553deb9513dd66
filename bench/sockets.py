"""What sockets cost: `python -m bench.sockets [count …]`, by default 1000, 5000 and 10000.

Starts a private Redis and the real server (two workers, SQLite), enrolls that many nodes straight into the
database, opens their push channels with real tokens, and prints for each count: the workers' memory (PSS) per
socket above the empty server, upgrades a second, the processor time of both workers while nothing happens, and
how long one deploy to all of them takes: the call, and from the call's start until the median and the last
node have read their nudge. The client is one process with one epoll loop; its own processor time is shown, so
that one can see whether it was the bottleneck.
"""

import json
import os
import select
import socket
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from tests.support.api import Operator
from tests.support.database import SqliteDatabases
from tests.support.server import Server
from tests.support.until import until
from tests.support.websocket_client import handshake_headers, upgrade_request
from tools.redis_server import RedisServer

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
DIALS_AT_ONCE = 200
ADDRESSES = 4
IDLE_SECONDS = 30


def enroll(settings: dict[str, str], environment_id: str, count: int) -> list[str]:
    """Nodes with their tokens, written to the database as enrolling them would."""
    from app import create_app, tokens
    from app.clock import utc_now
    from app.config import Settings
    from app.database import transaction
    from app.ids import new_id
    from app.models import Node

    minted = [(node_id, tokens.mint("node", node_id)) for node_id in (new_id() for _ in range(count))]

    def work(session):  # type: ignore[no-untyped-def]
        session.add_all(
            Node(
                id=node_id, environment_id=environment_id, name=f"node-{number:06}", host="bench",
                token_digest=token.digest, enrolled_at=utc_now(), agent_labels={}, operator_labels={},
                maintenance_mode=False,
            )
            for number, (node_id, token) in enumerate(minted)
        )  # fmt: skip

    with create_app(Settings.from_environ(settings)).app_context():
        transaction(work)
    return [token.text for _, token in minted]


class Crowd:
    """Many agents' channels on one epoll."""

    def __init__(self, url: str, revision: str) -> None:
        self._url = f"{url}/api/agent/ws"
        self._revision = revision
        self._port = urlsplit(url).port or 0
        self._poll = select.epoll()
        self.sockets: dict[int, socket.socket] = {}
        self.heard: dict[int, float] = {}
        self.refused = 0

    def connect(self, tokens: list[str]) -> None:
        """Open a channel for each token, some at a time."""
        for start in range(0, len(tokens), DIALS_AT_ONCE):
            dialled = []
            for number, token in enumerate(tokens[start : start + DIALS_AT_ONCE], start):
                connection = socket.socket()
                connection.bind((f"127.0.0.{2 + number % ADDRESSES}", 0))
                connection.connect(("127.0.0.1", self._port))
                headers = {**handshake_headers(self._url, token), "X-Config-Revision": self._revision}
                connection.sendall(upgrade_request(self._url, headers))
                dialled.append(connection)
            for connection in dialled:
                connection.settimeout(30)
                head = b""
                while b"\r\n\r\n" not in head:
                    data = connection.recv(4096)
                    if not data:
                        break
                    head += data
                if not head.startswith(b"HTTP/1.1 101"):
                    self.refused += 1
                    connection.close()
                    continue
                connection.setblocking(False)
                self.sockets[connection.fileno()] = connection
                self._poll.register(connection.fileno(), select.EPOLLIN)
            self.serve(len(tokens), 0.001)  # who does not answer a ping within ten seconds is dropped

    def serve(self, until_heard: int, seconds: float) -> None:
        """Read and answer pings until that many have heard a text frame, or the time is over."""
        deadline = time.monotonic() + seconds
        while len(self.heard) < until_heard and (left := deadline - time.monotonic()) > 0:
            for fd, _ in self._poll.poll(min(left, 0.5), 1024):
                try:
                    data = os.read(fd, 4096)
                except BlockingIOError:
                    continue
                if not data:
                    self._poll.unregister(fd)
                    self.sockets.pop(fd).close()
                    continue
                while data:
                    length = data[1]
                    if data[0] == 0x81:
                        if length == 126:
                            length = 2 + int.from_bytes(data[2:4], "big")
                        self.heard.setdefault(fd, time.perf_counter())
                    elif data[0] == 0x89:
                        os.write(fd, b"\x8a\x80\0\0\0\0")
                    data = data[2 + length :]

    def close(self) -> None:
        for connection in self.sockets.values():
            connection.close()
        self._poll.close()


def pss(pids: list[int]) -> int:
    return sum(psutil.Process(pid).memory_full_info().pss for pid in pids)


def processor_seconds(pids: list[int]) -> float:
    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids)


def measure(count: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "redis").mkdir()
        (folder / "server").mkdir()
        with RedisServer(folder / "redis") as redis:
            database = SqliteDatabases(folder).create(folder / "server")
            server = Server(
                folder / "server",
                {
                    "SIGNALBOX_DATABASE_URL": database,
                    "SIGNALBOX_REDIS_URL": redis.url,
                    "SIGNALBOX_UPGRADE_RATE": "100000",  # what it can do is the question here
                },
            )
            try:
                server.start()
                return _measure(server, count)
            finally:
                server.close()


def _measure(server: Server, count: int) -> dict[str, float]:
    operator = Operator(server.url, server.create_api_token())
    environment = operator.create_environment("bench")["id"]
    pipeline = operator.create_pipeline(environment, "bench", YAML)["id"]
    tokens = enroll(server.settings, environment, count)
    pids = server.worker_pids()
    first = operator.session.get(
        f"{server.url}/api/agent/config", headers={"Authorization": f"Bearer {tokens[0]}"}
    ).json()
    crowd = Crowd(server.url, first["configRevision"])
    empty = pss(pids)
    started = time.perf_counter()
    crowd.connect(tokens)
    upgraded = time.perf_counter() - started
    try:
        open_sockets = len(crowd.sockets)
        until(lambda: _sockets(operator, server) >= open_sockets, seconds=30, every=0.5, what="all sockets")
        crowd.serve(count, 3)  # let what belongs to connecting pass
        memory = pss(pids) - empty
        before = processor_seconds(pids)
        crowd.serve(count, IDLE_SECONDS)
        idle = (processor_seconds(pids) - before) / IDLE_SECONDS
        crowd.heard.clear()
        own = time.process_time()
        called = time.perf_counter()
        answered: list[float] = []

        def deploy() -> None:
            answer = operator.deploy(pipeline)
            answered.append(time.perf_counter() - called)
            assert answer["pushed"] == open_sockets, answer

        thread = threading.Thread(target=deploy)
        thread.start()
        crowd.serve(open_sockets, 60)
        own = time.process_time() - own
        thread.join()
        spans = sorted(at - called for at in crowd.heard.values())
        return {
            "sockets": open_sockets,
            "refused": crowd.refused,
            "KiB per socket": round(memory / 1024 / open_sockets, 2),
            "upgrades/s": round(open_sockets / upgraded),
            "idle % of a core": round(idle * 100, 2),
            "deploy call ms": round(answered[0] * 1000, 1),
            "first told ms": round(spans[0] * 1000, 1),
            "median told ms": round(statistics.median(spans) * 1000, 1),
            "last told ms": round(spans[-1] * 1000, 1),
            "told": len(spans),
            "client busy ms": round(own * 1000, 1),
        }
    finally:
        crowd.close()


def _sockets(operator: Operator, server: Server) -> int:
    text = operator.session.get(f"{server.url}/metrics").text
    return sum(
        int(float(line.rpartition(" ")[2]))
        for line in text.splitlines()
        if line.startswith("signalbox_sockets{")
    )


def main() -> None:
    counts = [int(word) for word in sys.argv[1:]] or [1000, 5000, 10_000]
    rows = [measure(count) for count in counts]
    for key in rows[0]:
        print(f"{key:18}" + "".join(f"{row[key]:>12}" for row in rows))
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
