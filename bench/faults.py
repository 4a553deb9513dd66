"""What breaks the push channel, made to happen, and how long it takes to heal: `python -m bench.faults [name …]`.

Two servers of two workers each ("two machines") on one PostgreSQL and one Redis, and a crowd of nodes that hold
their push channels, fetch when they are nudged and come back when they are closed, as agents do. Each fault is
provoked for real; the table says how, what is promised, what was seen and after how many seconds. It asserts
nothing: tests do.
"""

import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import redis
import requests

from tests.support.api import AgentByHand, Operator
from tests.support.database import PostgresDatabases
from tests.support.postgres_server import PostgresServer
from tests.support.server import Server
from tests.support.until import until
from tests.support.websocket_client import WebSocketClient, WebSocketClientError, WebSocketRefusedError
from tools.redis_server import RedisServer

NODES = 60
YAML = "sources: {made: {type: demo_logs, format: json}}\nsinks: {gone: {type: blackhole, inputs: [made]}}\n"


class Node:
    """One node of the crowd: a thread that holds the channel, fetches when nudged and redials when closed."""

    def __init__(self, agent: AgentByHand, urls: list[str]) -> None:
        self.agent = agent
        self._urls = urls
        self.version = 0
        self.closes: list[tuple[float, int | None, str]] = []
        self.stays_away = False
        self._ended = False
        self._client: WebSocketClient | None = None
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()

    def _live(self) -> None:
        pause = 0.2
        while not self._ended:
            if self.stays_away:
                time.sleep(0.05)
                continue
            url = random.choice(self._urls)
            try:
                with WebSocketClient.connect(f"{url}/api/agent/ws", self.agent.token) as client:
                    self._client, pause = client, 0.2
                    self._read(client, url)
            except WebSocketRefusedError as error:
                time.sleep(float(error.answer.headers.get("retry-after", "1")) * random.uniform(1.0, 1.5))
            except (OSError, WebSocketClientError):
                time.sleep(random.uniform(0, pause))
                pause = min(pause * 2, 2.0)

    def _read(self, client: WebSocketClient, url: str) -> None:
        while not self._ended:
            try:
                frame = client._read_past_keepalive(1.0)
            except TimeoutError:
                continue
            if frame.opcode == 8:
                self.closes.append((time.monotonic(), frame.close_code, frame.close_reason))
                return
            if frame.json()["type"] == "config_changed":
                self._fetch(url)

    def _fetch(self, url: str) -> None:
        for _ in range(20):
            try:
                answer = self.agent.session.get(f"{url}/api/agent/config", timeout=10)
                if answer.status_code == 200:
                    pipelines = answer.json()["pipelines"]
                    self.version = pipelines[0]["version"] if pipelines else 0
                    self._report(url, answer.json()["configRevision"], pipelines)
                    return
            except requests.RequestException:
                pass
            url = random.choice(self._urls)
            time.sleep(random.uniform(0.05, 0.2))

    def _report(self, url: str, revision: str, pipelines: list[dict[str, object]]) -> None:
        runs = [
            {"pipelineId": p["pipelineId"], "version": p["version"], "status": "RUNNING"} for p in pipelines
        ]
        body = {"pipelines": runs, "configRevision": revision}
        self.agent.session.post(f"{url}/api/agent/heartbeat", json=body, timeout=10)

    def end(self) -> None:
        self._ended = True
        if self._client is not None:
            self._client.close()
        self._thread.join(20)


@dataclass
class Place:
    """Everything that runs, and what the faults are done to."""

    redis: RedisServer
    servers: list[Server]
    operators: list[Operator]
    pipeline_id: str
    enrollment_token: str
    nodes: list[Node]

    @property
    def operator(self) -> Operator:
        return self.operators[0]

    def push(self, node: Node, operator: Operator | None = None) -> dict[str, object]:
        push: dict[str, object] = (operator or self.operator).node(node.agent.node_id)["push"]
        return push

    def connected(self, operator: Operator | None = None) -> int:
        rows = (operator or self.operator).nodes(connected="true", limit="500")
        return len({row["id"] for row in rows} & {node.agent.node_id for node in self.nodes})

    def until_all_connected(self, operator: Operator | None = None, seconds: float = 60) -> float:
        return timed(
            lambda: until(
                lambda: self.connected(operator) == len(self.nodes), seconds=seconds, every=0.1,
                what="all channels", tolerate=(OSError,),
            )
        )  # fmt: skip

    def until_all_know(self, version: int, seconds: float = 90) -> float:
        return timed(
            lambda: until(
                lambda: all(node.version >= version for node in self.nodes), seconds=seconds, every=0.02,
                what=f"version {version} everywhere",
            )
        )  # fmt: skip

    def by_worker(self) -> dict[int, list[Node]]:
        held: dict[int, list[Node]] = {}
        for node in self.nodes:
            push = self.push(node)
            if push["connected"]:
                held.setdefault(int(str(push["worker"]).rpartition(":")[2]), []).append(node)
        return held


def timed(act: Callable[[], object]) -> float:
    start = time.monotonic()
    act()
    return time.monotonic() - start


Row = tuple[str, str, str, str]
FAULTS: list[Callable[[Place], Row]] = []


def fault(function: Callable[[Place], Row]) -> Callable[[Place], Row]:
    FAULTS.append(function)
    return function


@fault
def two_machines_agree(place: Place) -> Row:
    here = {node.agent.node_id: place.push(node) for node in place.nodes}
    there = {node.agent.node_id: place.push(node, place.operators[1]) for node in place.nodes}
    same = sum(here[key] == there[key] for key in here)
    workers = {str(push["worker"]) for push in here.values()}
    seen = f"{same} of {len(here)} badges equal, held by {len(workers)} workers"
    return "both machines asked for every badge", "the same answer", seen, ""


@fault
def reconnect_to_the_other_machine(place: Place) -> Row:
    agent = AgentByHand(place.servers[0].url)
    agent.enroll(place.enrollment_token)
    spans = []
    older = agent.connect()
    for number in range(1, 4):
        until(lambda: place.operator.node(agent.node_id)["push"]["connected"], what="presence")
        start = time.monotonic()
        newer = AgentByHand(place.servers[number % 2].url, agent.token).connect()
        frame = older.read_close()
        spans.append(time.monotonic() - start)
        assert (frame.close_code, frame.close_reason) == (1000, "replaced")
        older.close()
        older = newer
    still = until(lambda: place.operator.node(agent.node_id)["push"]["connected"], what="presence")
    older.close()
    seen = f"1000 replaced three times, connected afterwards: {still}"
    return "a node dials the other machine", "1000 replaced at the old socket", seen, f"{max(spans):.2f}"


@fault
def worker_killed(place: Place) -> Row:
    pid, own = max(place.by_worker().items(), key=lambda item: len(item[1]))
    for node in own:
        node.stays_away = True
    server = next(server for server in place.servers if pid in server.worker_pids())
    operator = place.operators[1 - place.servers.index(server)]
    server.kill_worker(pid)
    gone = timed(
        lambda: until(
            lambda: not any(place.push(node, operator)["connected"] for node in own), seconds=30, what="gone"
        )
    )
    for node in own:
        node.stays_away = False
    back = place.until_all_connected(operator)
    how = f"SIGKILL to a worker with {len(own)} sockets"
    return (
        how,
        "off the page within 15 s, back as they reconnect",
        "gone, then back",
        f"{gone:.2f}, {back:.2f}",
    )


@fault
def machine_killed(place: Place) -> Row:
    server, operator = place.servers[1], place.operators[0]
    pids = set(server.worker_pids())
    own = [node for pid, nodes in place.by_worker().items() if pid in pids for node in nodes]
    for node in own:
        node.stays_away = True
    server.kill()
    gone = timed(
        lambda: until(
            lambda: not any(place.push(node, operator)["connected"] for node in own), seconds=30, what="gone"
        )
    )
    server.start()
    for node in own:
        node.stays_away = False
    back = place.until_all_connected(operator)
    how = f"SIGKILL to a master and its workers at once, {len(own)} sockets: the lease expires by itself"
    return how, "off the page within 15 s", "gone, then back", f"{gone:.2f}, {back:.2f}"


@fault
def redis_flushed(place: Place) -> Row:
    with redis.Redis.from_url(place.redis.url) as client:
        client.flushall()
    left = place.connected()
    back = place.until_all_connected()
    return "FLUSHALL", "all back within 10 s", f"{left} left at once, then all", f"{back:.2f}"


def _away(place: Place, stop: Callable[[], None], resume: Callable[[], None], how: str) -> Row:
    logs = [server.log.stat().st_size for server in place.servers]

    def workers_that_noticed() -> int:
        return sum(
            server.log.read_bytes()[size:].count(b"subscriber lost")
            for server, size in zip(place.servers, logs, strict=True)
        )

    stop()
    unknown = timed(
        lambda: until(lambda: place.push(place.nodes[0])["connected"] is None, what="unknown", seconds=30)
    )
    since = place.push(place.nodes[0])["unknownSince"]
    answer = place.operator.deploy(place.pipeline_id)
    noticed = timed(lambda: until(lambda: workers_that_noticed() >= 4, seconds=30, what="all subscribers"))
    resume()
    told = place.until_all_know(answer["version"])
    back = place.until_all_connected()
    seen = (
        f"unknown since {str(since)[11:19]}, deploy pushed {answer['pushed']}, told {told:.2f} s and"
        f" connected {back:.2f} s after its return"
    )
    promise = "unknown, not offline; noticed within 10 s; every node told within one sweep"
    return how, promise, seen, f"{unknown:.2f}, {noticed + unknown:.2f}"


@fault
def redis_frozen(place: Place) -> Row:
    return _away(place, place.redis.suspend, place.redis.resume, "SIGSTOP to Redis, deploy, SIGCONT")


@fault
def redis_killed(place: Place) -> Row:
    return _away(
        place,
        place.redis.kill,
        lambda: place.redis.start() and None,
        "SIGKILL to Redis, deploy, started again",
    )


@fault
def subscribers_cut(place: Place) -> Row:
    with redis.Redis.from_url(place.redis.url) as client:
        killed = client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    answer = place.operator.deploy(place.pipeline_id)
    told = place.until_all_know(answer["version"])
    how = f"CLIENT KILL TYPE pubsub ({killed} cut), a deploy at the same moment"
    seen = f"pushed {answer['pushed']} of {answer['targets']}, all told"
    return how, "every node told within one sweep", seen, f"{told:.2f}"


@fault
def sent_away(place: Place) -> Row:
    spans = []
    for act in ("revoke", "delete", "move"):
        agent = AgentByHand(place.servers[1].url)
        agent.enroll(place.enrollment_token)
        client = agent.connect()
        until(lambda agent=agent: place.operator.node(agent.node_id)["push"]["connected"], what="presence")
        start = time.monotonic()
        if act == "revoke":
            place.operator.call("POST", f"/nodes/{agent.node_id}/revoke")
        elif act == "delete":
            place.operator.call("DELETE", f"/nodes/{agent.node_id}")
        else:
            elsewhere = place.operator.create_environment("elsewhere")["id"]
            place.operator.call("PATCH", f"/nodes/{agent.node_id}", {"environmentId": elsewhere})
        assert client.read_close().close_code == 1008
        spans.append(time.monotonic() - start)
        client.close()
    how = "a node is revoked, deleted, moved at the other machine"
    return how, "1008 within a second", "1008 each time", f"{max(spans):.2f}"


@fault
def server_stopped(place: Place) -> Row:
    server = place.servers[1]
    pids = set(server.worker_pids())
    own = [node for pid, nodes in place.by_worker().items() if pid in pids for node in nodes]
    counts = {id(node): len(node.closes) for node in own}
    start = time.monotonic()
    server.stop()
    stopped = time.monotonic() - start
    closes = [node.closes[-1] for node in own if len(node.closes) > counts[id(node)]]
    spread = max(at for at, _, _ in closes) - min(at for at, _, _ in closes) if closes else 0.0
    server.start()
    place.until_all_connected()
    well = sum(code == 1001 for _, code, _ in closes)
    seen = f"{well} of {len(own)} read 1001, spread over {spread:.2f} s; the process was gone"
    return "SIGTERM to a machine", "1001 spread over 2 s, gone well within 20 s", seen, f"{stopped:.2f}"


@fault
def reloaded_under_deploys(place: Place) -> Row:
    ended = threading.Event()
    asked, failed, refused = [0], [], []

    def ask() -> None:
        while not ended.is_set():
            asked[0] += 1
            try:
                answer = requests.get(f"{place.servers[0].url}/readyz", timeout=10)
                if answer.status_code != 200:
                    refused.append(answer.status_code)
            except requests.RequestException as error:
                failed.append(repr(error))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    version = 0
    os.kill(place.servers[0].process.pid, signal.SIGHUP)
    deadline = time.monotonic() + 8
    while time.monotonic() < deadline:
        version = place.operators[1].deploy(place.pipeline_id)["version"]
        time.sleep(0.2)
    told = place.until_all_know(version)
    ended.set()
    for thread in threads:
        thread.join()
    place.until_all_connected()
    how = "SIGHUP to one machine, a deploy every 0.2 s for 8 s, requests all the while"
    seen = (
        f"{len(failed)} of {asked[0]} requests failed, {len(refused)} were refused; all know the last version"
    )
    return how, "no request fails, nobody misses a deploy", seen, f"{told:.2f}"


@fault
def slow_reader(place: Place) -> Row:
    agent = AgentByHand(place.servers[0].url)
    agent.enroll(place.enrollment_token)
    client = WebSocketClient.connect(f"{agent.url}/api/agent/ws", agent.token, receive_buffer=2048)
    until(lambda: place.operator.node(agent.node_id)["push"]["connected"], what="presence")
    spans = []
    for _ in range(20):
        answer = place.operator.deploy(place.pipeline_id)
        spans.append(place.until_all_know(answer["version"]))
    client.close()
    how = "one node of the same environment never reads, 20 deploys"
    return how, "the others are told as ever", "all told each time", f"{max(spans):.2f}"


@fault
def silent_peer(place: Place) -> Row:
    agent = AgentByHand(place.servers[0].url)
    agent.enroll(place.enrollment_token)
    client = agent.connect()
    until(lambda: place.operator.node(agent.node_id)["push"]["connected"], what="presence")
    gone = timed(
        lambda: until(
            lambda: place.operator.node(agent.node_id)["push"]["connected"] is False, seconds=60, every=0.2,
            what="the silent peer's end",
        )
    )  # fmt: skip
    client.close()
    return "a peer that answers no ping", "off the page within 40 s", "dropped: no pong", f"{gone:.1f}"


@fault
def deploy_storm(place: Place) -> Row:
    start = time.monotonic()
    answers = [place.operators[number % 2].deploy(place.pipeline_id) for number in range(20)]
    spent = time.monotonic() - start
    told = place.until_all_know(max(answer["version"] for answer in answers))
    pushed = sum(answer["pushed"] for answer in answers)
    seen = f"20 deploys in {spent:.2f} s, {pushed} nudges taken, all on the last version"
    return (
        "20 deploys one after the other, at both machines in turn",
        "all end on the last",
        seen,
        f"{told:.2f}",
    )


def main() -> None:
    wanted = [each for each in FAULTS if len(sys.argv) == 1 or each.__name__ in sys.argv[1:]]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("redis", "one", "two"):
            (folder / part).mkdir()
        postgres = PostgresServer()
        try:
            postgres.start()
            _, database = PostgresDatabases(postgres).create()
            with RedisServer(folder / "redis", tcp=True) as own_redis:
                run(folder, own_redis, database, wanted)
        finally:
            postgres.close()


def run(folder: Path, own_redis: RedisServer, database: str, wanted: list[Callable[[Place], Row]]) -> None:
    first = Server(folder / "one", {"SIGNALBOX_DATABASE_URL": database, "SIGNALBOX_REDIS_URL": own_redis.url})
    second = Server(folder / "two", first.settings)
    nodes: list[Node] = []
    try:
        for server in (first, second):
            server.start()
        api_token = first.create_api_token()
        operators = [Operator(server.url, api_token) for server in (first, second)]
        environment = operators[0].create_environment("faults")["id"]
        token = operators[0].enrollment_token(environment)
        pipeline = operators[0].create_pipeline(environment, "faults", YAML)["id"]
        for _ in range(NODES):
            agent = AgentByHand(first.url)
            agent.enroll(token)
            nodes.append(Node(agent, [first.url, second.url]))
        place = Place(own_redis, [first, second], operators, pipeline, token, nodes)
        place.until_all_connected()
        place.until_all_know(operators[0].deploy(pipeline)["version"])
        load = " ".join(f"{value:.1f}" for value in psutil.getloadavg())
        print(f"{NODES} nodes, two machines of two workers, PostgreSQL; load average {load}\n")
        print("| fault | promised | seen | seconds |\n|---|---|---|---|", flush=True)
        for each in wanted:
            try:
                row = each(place)
            except Exception as error:
                row = (each.__name__, "", f"FAILED: {error!r}"[:300], "")
            print(f"| {' | '.join(row)} |", flush=True)
    finally:
        for node in nodes:
            node.end()
        for server in (first, second):
            server.close()


if __name__ == "__main__":
    main()
