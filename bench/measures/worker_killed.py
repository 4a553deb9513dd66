"""A worker of two is killed with half of all sockets: until they are back, and what others notice."""

from __future__ import annotations

import time
from contextlib import ExitStack

import requests

from bench import ours
from bench.figures import figure
from bench.load import Crowd
from bench.place import Place, say
from bench.probes import Probe
from bench.results import Results
from bench.scale import Scale
from tests.support.signed_in import signed_in
from tests.support.until import until

NAME = "worker_killed"
MOST_SECONDS = 180.0

BACK = figure(
    "worker_killed.back", "all back after a killed worker", "s", "less",
    "from SIGKILL to one of two workers until the last of its sockets is open again; agents come back with the "
    "spread that the server told them, then full jitter from 1 to 30 s, and do as `Retry-After` says; as shipped, "
    "`SIGNALBOX_UPGRADE_RATE` included",
)  # fmt: skip
LOST = figure(
    "worker_killed.lost", "sockets of the killed worker", "sockets", "-", "how many had to come back"
)
SLOWEST = figure(
    "worker_killed.slowest", "slowest request meanwhile", "ms", "less",
    "of the fleet page, `/healthz` and a node's configuration, each ten times a second until all are back; a request "
    "that was on its way in the killed worker is not counted",
)  # fmt: skip
FAILED = figure(
    "worker_killed.failed", "requests that failed meanwhile", "requests", "less",
    "those that were on their way in the killed worker, at most one of each kind",
)  # fmt: skip


def measure(place: Place, scale: Scale, results: Results) -> None:
    """Each round another worker, with all sockets open again."""
    with ours.running(place, settings={"SIGNALBOX_UPGRADE_RATE": "1000"}) as server:
        server.enroll(scale.nodes)
        server.create_pipeline()
        headers = {"X-Config-Revision": server.follow()}
        server.server.create_admin("bench@example.org", ours.PASSWORD)
        spread = server.config().json()["reconnectSpreadMs"] / 1000
        with Crowd([server.websocket_url], server.tokens, headers=headers) as crowd:
            crowd.reconnect(spread)
            crowd.connect(rate=800)
            state = crowd.wait("open", scale.nodes, 120)
            assert state.open == scale.nodes, f"{state.open} of {scale.nodes} are open: {state.statuses}"
            for number in range(scale.rounds):
                if not place.has_time:
                    return
                say(
                    f"{NAME}: round {number + 1} of {scale.rounds}, {scale.nodes} sockets, spread {spread:.1f} s"
                )
                _round(server, crowd, scale.nodes, results)


def _round(server: ours.Ours, crowd: Crowd, nodes: int, results: Results) -> None:
    ours.wait_until_held(server.held, nodes)
    crowd.forget()
    session = signed_in(server.server.url, "bench@example.org", ours.PASSWORD)
    session.headers["Connection"] = "close"
    asks = (
        lambda: session.get(f"{server.server.url}/", timeout=60),
        lambda: requests.get(f"{server.server.url}/healthz", headers={"Connection": "close"}, timeout=60),
        lambda: server.config(3),
    )
    victim = server.server.worker_pids()[0]
    with ExitStack() as probing:
        probes = [probing.enter_context(Probe(ask)) for ask in asks]
        killed = time.monotonic_ns()
        server.server.kill_worker(victim)
        crowd.wait("lost", nodes // 3, 30)
        state = crowd.wait("open", nodes, MOST_SECONDS)
    session.close()
    assert state.open == nodes, f"{state.open} of {nodes} are back after {MOST_SECONDS:.0f} s: {state}"
    lost, opened = crowd.dump("lost"), crowd.dump("opened")
    back = max(at for at, was_lost in zip(opened, lost, strict=True) if was_lost)
    results.record(BACK, (back - killed) / 1e9)
    results.record(LOST, state.lost)
    results.record(SLOWEST, max(max(probe.spans_ms) for probe in probes))
    results.record(FAILED, sum(len(probe.failures) for probe in probes))
    until(lambda: len(server.server.worker_pids()) == 2, seconds=60, what="the worker in its place")
