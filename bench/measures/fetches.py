"""A deploy to all: until every node has fetched its new configuration, beside an empty view."""

from __future__ import annotations

import threading
import time

from bench import ours
from bench.figures import figure
from bench.http_requests import EMPTY
from bench.load import Crowd, drive
from bench.place import Place, say
from bench.results import Results
from bench.scale import Scale

NAME = "fetches"
LINES = 64
SECONDS = 180.0

ALL = figure(
    "fetches.all", "all have fetched", "s", "less",
    "from the start of the deploy call until the last node, nudged through its socket, has read its new "
    "configuration; 64 kept connections for all of them",
)  # fmt: skip
SHARE = figure(
    "fetches.share", "deploy until all have fetched", "share", "more",
    "how long two requests a node to an empty view of the same server take over the same number of connections, by "
    "how long it takes until all have fetched: over 1 the whole deploy is cheaper than twice as many empty requests",
)  # fmt: skip
NODES = figure("fetches.nodes", "nodes that fetch", "nodes", "-", "connected, and all targets of the deploy")
CLIENT = figure(
    "fetches.client", "load client while all fetch", "% of a core", "-", "what the client itself takes"
)


def measure(place: Place, scale: Scale, results: Results) -> None:
    """Deploys of a changed pipeline, empty requests between them."""
    with (
        ours.contender(place, scale.nodes) as contender,
        Crowd(contender.urls, contender.tokens, headers=contender.headers) as crowd,
    ):
        crowd.reconnect(1)
        crowd.connect(rate=1500)
        ours.wait_until_held(contender.held, scale.nodes)
        port = int(contender.urls[0].rpartition(":")[2].partition("/")[0])
        url = f"http://127.0.0.1:{port}"
        crowd.fetch_when_nudged(port, LINES, "/api/agent/config")
        before = _empty(url, scale.nodes)
        for number in range(scale.rounds):
            if not place.has_time:
                return
            say(f"{NAME}: round {number + 1} of {scale.rounds}, {scale.nodes} nodes")
            crowd.forget()
            cpu = crowd.state().cpu
            thread = threading.Thread(target=contender.deploy)
            called = time.monotonic_ns()
            thread.start()
            state = crowd.wait("fetched", scale.nodes, SECONDS)
            thread.join()
            assert state.fetched == scale.nodes, f"{state.fetched} of {scale.nodes} have fetched, {state}"
            took = (max(crowd.dump("fetched")) - called) / 1e9
            contender.settle()
            after = _empty(url, scale.nodes)
            results.record(ALL, took)
            results.record(NODES, scale.nodes)
            results.record(SHARE, (before + after) / 2 / took)
            results.record(CLIENT, 100 * (state.cpu - cpu) / took)
            before = after


def _empty(url: str, nodes: int) -> float:
    """Seconds for two empty requests a node."""
    return drive(url, [EMPTY] * (2 * nodes), connections=LINES, seconds=SECONDS, passes=1).seconds
