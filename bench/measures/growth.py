"""How costs grow: one curve for each thing of which there can be more, each with its order."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psutil

from bench import ours
from bench.figures import figure
from bench.http_requests import heartbeat, poll
from bench.load import Crowd, drive
from bench.measures.pages import median_ms
from bench.place import Place, processor_seconds, pss, say
from bench.results import Results
from bench.scale import Scale
from tests.support.signed_in import signed_in

NAME = "growth"
IDLE_SECONDS = 15.0
TRIES = 5
PIPELINES = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True)
class Limit:
    """What a cost must not come to."""

    cost: float
    """In the figure's unit."""
    means: str
    """What is so from there on, as the end of a sentence."""


LIMITS: dict[str, Limit] = {}


def _curve(key: str, title: str, unit: str, what: str, limit: float = 0, means: str = "") -> str:
    if limit:
        LIMITS[f"growth.{key}"] = Limit(limit, means)
    return figure(f"growth.{key}", title, unit, "-", what)


EMPTY_MEMORY = figure(
    "growth.empty_memory", "memory of two workers without a socket", "MiB", "-",
    "PSS, with the environment's nodes enrolled",
)  # fmt: skip
CONNECTIONS_MEMORY = _curve(
    "connections_memory", "memory of the workers by connections", "MiB", "PSS of two workers, less the empty ones'",
    1024, "sockets take a GiB",
)  # fmt: skip
CONNECTIONS_REDIS = _curve(
    "connections_redis", "memory of Redis by connections", "MiB", "`used_memory`, less the empty one's",
    1024, "presence and subscriptions take a GiB",
)  # fmt: skip
CONNECTIONS_FILES = _curve(
    "connections_files", "descriptors by connections", "descriptors", "of the fuller of two workers",
    10_100, "one of two workers holds `SIGNALBOX_MAX_SOCKETS` as shipped, and turns newcomers away",
)  # fmt: skip
CONNECTIONS_IDLE = _curve(
    "connections_idle", "idle processor time by connections", "% of a core", "of both workers",
    100, "keepalives, audits and sweeps take a whole core",
)  # fmt: skip
CONNECTIONS_TOLD = _curve(
    "connections_told", "all told by connections", "ms", "from the deploy call to the last frame",
    1500, "the last node hears of a deploy after a second and a half",
)  # fmt: skip
NODES_DEPLOY = _curve(
    "nodes_deploy", "deploy call by nodes of an environment", "ms", "all of them targets, none connected",
    15_000, "a deploy to all runs into PostgreSQL's `statement_timeout`",
)  # fmt: skip
NODES_PAGE = _curve(
    "nodes_page", "fleet page by nodes of an environment", "ms", "the first page", 300, "the page feels slow"
)
NODES_CONFIG = _curve(
    "nodes_config", "configuration by nodes of an environment", "ms", "one node's, as changed",
    1000, "a node waits a second for its configuration",
)  # fmt: skip
PIPELINES_CONFIG = _curve(
    "pipelines_config", "configuration by pipelines of a node", "ms", "a whole answer, all kept busy",
    10, "a thousand nodes need ten seconds to fetch a deploy",
)  # fmt: skip
PIPELINES_BODY = _curve(
    "pipelines_body", "body of a configuration by pipelines of a node", "KiB", "of a pipeline of 4 lines"
)
PIPELINES_BEAT = _curve(
    "pipelines_beat", "heartbeat by pipelines of a node", "ms", "one answer, all kept busy",
    2, "two workers do nothing else at the 500 heartbeats a second of the budget as shipped",
)  # fmt: skip
VERSIONS_DEPLOY = _curve(
    "versions_deploy", "deploy call by versions of a pipeline", "ms", "the next one, to 100 nodes",
    1000, "an operator waits a second",
)  # fmt: skip
VERSIONS_PAGE = _curve(
    "versions_page", "list of versions by versions of a pipeline", "ms", "the first 100",
    300, "the page feels slow",
)  # fmt: skip
VERSIONS_DISK = _curve(
    "versions_disk", "database by versions of a pipeline", "MiB",
    "`pg_database_size`; a deployment's row for each of 100 nodes is in it",
)  # fmt: skip
BEATS_NODES = _curve(
    "beats_nodes", "heartbeat by nodes that send them", "ms", "one answer, 32 kept busy, on PostgreSQL",
    2, "two workers do nothing else at the 500 heartbeats a second of the budget as shipped",
)  # fmt: skip
BEATS_CPU = _curve(
    "beats_cpu", "processor time of a heartbeat by nodes that send them", "µs", "of the workers"
)
BEATS_DATABASE_CPU = _curve(
    "beats_database_cpu", "processor time of a heartbeat in PostgreSQL", "µs", "of all its processes"
)
BEATS_DISK = _curve(
    "beats_disk", "database by nodes that send heartbeats", "MiB",
    "`pg_database_size` after some minutes of heartbeats of three pipelines each, without a week of metrics",
)  # fmt: skip
BEATS_DATABASE_MEMORY = _curve(
    "beats_database_memory", "memory of PostgreSQL by nodes that send heartbeats", "MiB",
    "PSS of all its processes, `shared_buffers` of 128 MB included",
)  # fmt: skip

CURVES = {
    "connections": (
        CONNECTIONS_MEMORY, CONNECTIONS_REDIS, CONNECTIONS_FILES, CONNECTIONS_IDLE, CONNECTIONS_TOLD,
    ),
    "nodes": (NODES_DEPLOY, NODES_PAGE, NODES_CONFIG),
    "pipelines": (PIPELINES_CONFIG, PIPELINES_BODY, PIPELINES_BEAT),
    "versions": (VERSIONS_DEPLOY, VERSIONS_PAGE, VERSIONS_DISK),
    "heartbeats": (BEATS_NODES, BEATS_CPU, BEATS_DATABASE_CPU, BEATS_DISK, BEATS_DATABASE_MEMORY),
}  # fmt: skip
"""By what there is more of."""
SIZES = {
    "connections": "connections",
    "nodes": "nodes of an environment",
    "pipelines": "pipelines of a node",
    "versions": "versions of a pipeline",
    "heartbeats": "nodes that send heartbeats",
}
"""What the sizes of each curve count."""


def measure(place: Place, scale: Scale, results: Results) -> None:
    """Each size on a server of its own, but versions and nodes, which are added."""
    for grow in (_connections, _nodes, _pipelines, _versions, _heartbeats):
        if place.has_time:
            grow(place, scale, results)


def points(results: Results, key: str) -> list[tuple[float, float]]:
    """The curve as it was measured: size and median."""
    values = results.values.get(key, {})
    return sorted((float(size), statistics.median(taken)) for size, taken in values.items())


def _connections(place: Place, scale: Scale, results: Results) -> None:
    for size in scale.growth:
        say(f"{NAME}: {size} connections")
        with (
            ours.contender(place, size) as contender,
            Crowd(contender.urls, contender.tokens, headers=contender.headers) as crowd,
        ):
            empty, stored = pss(contender.pids), int(contender.store.info("memory")["used_memory"])
            results.record(EMPTY_MEMORY, empty / 2**20)
            assert crowd.connect().refused == 0
            ours.wait_until_held(contender.held, size)
            crowd.state(3)
            results.record(CONNECTIONS_MEMORY, (pss(contender.pids) - empty) / 2**20, str(size))
            used = int(contender.store.info("memory")["used_memory"])
            results.record(CONNECTIONS_REDIS, (used - stored) / 2**20, str(size))
            files = max(psutil.Process(pid).num_fds() for pid in contender.pids)
            results.record(CONNECTIONS_FILES, files, str(size))
            cpu = processor_seconds(contender.pids)
            seconds = min(IDLE_SECONDS, scale.idle_seconds)
            crowd.state(seconds)
            busy = processor_seconds(contender.pids) - cpu
            results.record(CONNECTIONS_IDLE, 100 * busy / seconds, str(size))
            for _ in range(TRIES):
                crowd.forget()
                thread = threading.Thread(target=contender.deploy)
                called = time.monotonic_ns()
                thread.start()
                state = crowd.wait("heard", size, 60)
                thread.join()
                assert state.heard == size, f"{state.heard} of {size} were told"
                results.record(CONNECTIONS_TOLD, (max(crowd.dump("first")) - called) / 1e6, str(size))
                contender.settle()


def _nodes(place: Place, scale: Scale, results: Results) -> None:
    with ours.running(place) as server:
        pipeline = server.create_pipeline()
        server.server.create_admin("bench@example.org", ours.PASSWORD)
        session = signed_in(server.server.url, "bench@example.org", ours.PASSWORD)
        for size in scale.growth:
            say(f"{NAME}: {size} nodes of an environment")
            server.enroll(size - len(server.tokens))
            for _ in range(TRIES):
                results.record(NODES_DEPLOY, milliseconds(lambda: server.deploy(pipeline)), str(size))
                results.record(NODES_CONFIG, milliseconds(server.config), str(size))
            server.follow()
            results.record(NODES_PAGE, median_ms(session, f"{server.server.url}/", {}), str(size))
        session.close()


def _pipelines(place: Place, scale: Scale, results: Results) -> None:
    seconds = min(2.0, scale.load_seconds)
    with ours.running(place) as server:
        tokens = server.enroll(50)
        pipelines: list[str] = []
        seq = 0
        for size in PIPELINES:
            say(f"{NAME}: {size} pipelines of a node")
            while len(pipelines) < size:
                pipelines.append(server.create_pipeline(f"bench-{len(pipelines)}"))
                server.deploy(pipelines[-1])
            results.record(PIPELINES_BODY, len(server.config().content) / 1024, str(size))
            for _ in range(2):
                polls = drive(
                    server.server.url,
                    [poll(server.server.url, token) for token in tokens],
                    seconds=seconds,
                    warm_seconds=0.5,
                )
                assert set(polls.statuses) == {200}, str(polls.statuses)
                results.record(PIPELINES_CONFIG, 1000 / polls.rate, str(size))
                count = int(2500 * seconds)
                beats = drive(
                    server.server.url, _beats(tokens, pipelines, count, seq), seconds=seconds, passes=1
                )
                seq += count
                assert set(beats.statuses) == {200}, str(beats.statuses)
                results.record(PIPELINES_BEAT, 1000 / beats.rate, str(size))


def _versions(place: Place, scale: Scale, results: Results) -> None:
    most = scale.versions
    with ours.running(place) as server:
        server.enroll(100)
        server.operator.call("PATCH", "/settings", {"versionsKept": 10 * most})
        pipeline = server.create_pipeline()
        url = f"{server.server.url}/api/v1/pipelines/{pipeline}/versions"
        for size in (most // 8, most // 4, most // 2, most):
            say(f"{NAME}: {size} versions of a pipeline")
            while server.deploy(pipeline) is not None and _versions_of(server, pipeline) < size:
                pass
            results.record(VERSIONS_DISK, server.database_bytes() / 2**20, str(size))
            for _ in range(TRIES):
                results.record(VERSIONS_DEPLOY, milliseconds(lambda: server.deploy(pipeline)), str(size))
            results.record(VERSIONS_PAGE, median_ms(server.operator.session, url, {}), str(size))


def _versions_of(server: ours.Ours, pipeline: str) -> int:
    newest = server.operator.call("GET", f"/pipelines/{pipeline}/versions", limit="1")["items"]
    return int(newest[0]["version"]) if newest else 0


def _heartbeats(place: Place, scale: Scale, results: Results) -> None:
    seconds = min(4.0, scale.load_seconds)
    with ours.running(place) as server:
        pipelines = [server.create_pipeline(f"bench-{number}") for number in range(3)]
        seq = 0
        pids = server.server.worker_pids()
        for size in scale.growth:
            say(f"{NAME}: heartbeats of {size} nodes")
            tokens = list(server.enroll(size - len(server.tokens)))
            drive(server.server.url, _beats(tokens, pipelines, len(tokens), seq), seconds=60, passes=1)
            seq += len(tokens)
            for _ in range(3):
                database = place.postgres_pids()
                cpu, database_cpu = processor_seconds(pids), processor_seconds(database)
                count = int(3000 * seconds)
                load = drive(
                    server.server.url, _beats(tokens, pipelines, count, seq), seconds=seconds, passes=1
                )
                seq += count
                assert set(load.statuses) == {200}, str(load.statuses)
                answered = sum(load.statuses.values()) / 1e6
                results.record(BEATS_NODES, 1000 / load.rate, str(size))
                results.record(BEATS_CPU, (processor_seconds(pids) - cpu) / answered, str(size))
                spent = processor_seconds(database) - database_cpu
                results.record(BEATS_DATABASE_CPU, spent / answered, str(size))
            results.record(BEATS_DISK, server.database_bytes() / 2**20, str(size))
            results.record(BEATS_DATABASE_MEMORY, pss(place.postgres_pids()) / 2**20, str(size))


def _beats(tokens: Sequence[str], pipelines: Sequence[str], count: int, first: int = 0) -> list[bytes]:
    return [heartbeat(tokens[seq % len(tokens)], seq + 1, pipelines) for seq in range(first, first + count)]


def milliseconds(call: Callable[[], object]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000
