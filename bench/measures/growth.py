"""How costs grow: one curve for each thing of which there can be more, each with its order."""

from __future__ import annotations

import math
import statistics
import threading
import time
from collections.abc import Callable, Sequence

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


def _curve(key: str, title: str, unit: str, what: str) -> str:
    return figure(f"growth.{key}", title, unit, "-", what)


CONNECTIONS_MEMORY = _curve(
    "connections_memory", "memory of the workers by connections", "MiB", "PSS of two workers, less the empty ones'"
)  # fmt: skip
CONNECTIONS_IDLE = _curve(
    "connections_idle", "idle processor time by connections", "% of a core", "of both workers"
)
CONNECTIONS_TOLD = _curve(
    "connections_told", "all told by connections", "ms", "from the deploy call to the last frame"
)
NODES_DEPLOY = _curve(
    "nodes_deploy", "deploy call by nodes of an environment", "ms", "all of them targets, none connected"
)
NODES_PAGE = _curve("nodes_page", "fleet page by nodes of an environment", "ms", "the first page")
NODES_CONFIG = _curve(
    "nodes_config", "configuration by nodes of an environment", "ms", "one node's, as changed"
)
PIPELINES_CONFIG = _curve(
    "pipelines_config", "configuration by pipelines of a node", "ms", "a whole answer, all kept busy"
)
PIPELINES_BEAT = _curve(
    "pipelines_beat", "heartbeat by pipelines of a node", "ms", "one answer, all kept busy"
)
VERSIONS_DEPLOY = _curve("versions_deploy", "deploy call by versions of a pipeline", "ms", "the next one")
VERSIONS_PAGE = _curve("versions_page", "list of versions by versions of a pipeline", "ms", "the first 100")
BEATS_NODES = _curve(
    "beats_nodes", "heartbeat by nodes that send them", "ms", "one answer, 32 kept busy, on PostgreSQL"
)

CURVES = {
    "connections": (CONNECTIONS_MEMORY, CONNECTIONS_IDLE, CONNECTIONS_TOLD),
    "nodes": (NODES_DEPLOY, NODES_PAGE, NODES_CONFIG),
    "pipelines": (PIPELINES_CONFIG, PIPELINES_BEAT),
    "versions": (VERSIONS_DEPLOY, VERSIONS_PAGE),
    "heartbeats": (BEATS_NODES,),
}
"""By what there is more of."""


def measure(place: Place, scale: Scale, results: Results) -> None:
    """Each size on a server of its own, but versions and nodes, which are added."""
    for grow in (_connections, _nodes, _pipelines, _versions, _heartbeats):
        if place.has_time:
            grow(place, scale, results)


def exponent(points: Sequence[tuple[float, float]]) -> float | None:
    """The power with which it grows: the slope of the straight line through the logarithms (least squares).

    None where fewer than three points are above zero.
    """
    usable = [(math.log(x), math.log(y)) for x, y in points if x > 0 and y > 0]
    if len(usable) < 3:
        return None
    middle_x = sum(x for x, _ in usable) / len(usable)
    middle_y = sum(y for _, y in usable) / len(usable)
    return sum((x - middle_x) * (y - middle_y) for x, y in usable) / sum(
        (x - middle_x) ** 2 for x, _ in usable
    )


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
            empty = pss(contender.pids)
            assert crowd.connect().refused == 0
            ours.wait_until_held(contender.held, size)
            crowd.state(3)
            results.record(CONNECTIONS_MEMORY, (pss(contender.pids) - empty) / 2**20, str(size))
            cpu = processor_seconds(contender.pids)
            crowd.state(IDLE_SECONDS)
            results.record(
                CONNECTIONS_IDLE, 100 * (processor_seconds(contender.pids) - cpu) / IDLE_SECONDS, str(size)
            )
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
    with ours.running(place) as server:
        tokens = server.enroll(50)
        pipelines: list[str] = []
        seq = 0
        for size in (1, 2, 4, 8, 16, 32):
            say(f"{NAME}: {size} pipelines of a node")
            while len(pipelines) < size:
                pipelines.append(server.create_pipeline(f"bench-{len(pipelines)}"))
                server.deploy(pipelines[-1])
            for _ in range(2):
                polls = drive(
                    server.server.url,
                    [poll(server.server.url, token) for token in tokens],
                    seconds=2,
                    warm_seconds=0.5,
                )
                assert set(polls.statuses) == {200}, str(polls.statuses)
                results.record(PIPELINES_CONFIG, 1000 / polls.rate, str(size))
                beats = drive(server.server.url, _beats(tokens, pipelines, 5000, seq), seconds=2, passes=1)
                seq += 5000
                assert set(beats.statuses) == {200}, str(beats.statuses)
                results.record(PIPELINES_BEAT, 1000 / beats.rate, str(size))


def _versions(place: Place, scale: Scale, results: Results) -> None:
    most = 1000 if scale.name == "full" else 40
    with ours.running(place) as server:
        server.enroll(100)
        pipeline = server.create_pipeline()
        url = f"{server.server.url}/api/v1/pipelines/{pipeline}/versions"
        for size in (most // 8, most // 4, most // 2, most):
            say(f"{NAME}: {size} versions of a pipeline")
            while server.deploy(pipeline) is not None and _versions_of(server, pipeline) < size:
                pass
            for _ in range(TRIES):
                results.record(VERSIONS_DEPLOY, milliseconds(lambda: server.deploy(pipeline)), str(size))
            results.record(VERSIONS_PAGE, median_ms(server.operator.session, url, {}), str(size))


def _versions_of(server: ours.Ours, pipeline: str) -> int:
    newest = server.operator.call("GET", f"/pipelines/{pipeline}/versions", limit="1")["items"]
    return int(newest[0]["version"]) if newest else 0


def _heartbeats(place: Place, scale: Scale, results: Results) -> None:
    with ours.running(place) as server:
        pipelines = [server.create_pipeline(f"bench-{number}") for number in range(3)]
        seq = 0
        for size in scale.growth:
            say(f"{NAME}: heartbeats of {size} nodes")
            tokens = list(server.enroll(size - len(server.tokens)))
            drive(server.server.url, _beats(tokens, pipelines, len(tokens), seq), seconds=60, passes=1)
            seq += len(tokens)
            for _ in range(3):
                load = drive(server.server.url, _beats(tokens, pipelines, 12_000, seq), seconds=4, passes=1)
                seq += 12_000
                assert set(load.statuses) == {200}, str(load.statuses)
                results.record(BEATS_NODES, 1000 / load.rate, str(size))


def _beats(tokens: Sequence[str], pipelines: Sequence[str], count: int, first: int = 0) -> list[bytes]:
    return [heartbeat(tokens[seq % len(tokens)], seq + 1, pipelines) for seq in range(first, first + count)]


def milliseconds(call: Callable[[], object]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000
