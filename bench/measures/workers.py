"""What one push costs with more workers, and with a second master."""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack
from pathlib import Path

from bench import ours
from bench.figures import figure
from bench.load import Crowd
from bench.place import Place, processor_seconds, say
from bench.results import Results
from bench.scale import Scale
from tests.support.server import Server

NAME = "workers"
SOCKETS = 1000
PUSHES = 5000
EVERY_SECONDS = 0.002
"""Between two of one worker's: of a burst it would read many at once, the more the fewer workers there are."""
IDLE_SECONDS = 10
"""As long as an audit's turn."""
SHAPES = {"2 workers": (2, 1), "4 workers": (4, 1), "8 workers": (8, 1), "2 × 2 workers": (2, 2)}

COST = figure(
    "workers.push_cost", "one push, processor time of all workers", "µs", "-",
    f"of {PUSHES} messages, 500 a second for each worker, less what the same time costs idle; with more workers or "
    "masters (a second machine is one) it must stay the same, since a worker hears only its own nodes' channels",
)  # fmt: skip
P50 = figure("workers.push_p50", "one push, median", "ms", "-", "from `PUBLISH` to the client")


def measure(place: Place, scale: Scale, results: Results) -> None:
    """Each shape has its turn in each round."""
    for number in range(scale.rounds):
        for name, (workers, masters) in SHAPES.items():
            if not place.has_time:
                return
            say(f"{NAME}: round {number + 1}, {name}")
            with ours.running(place, workers=workers) as server, ExitStack() as others:
                urls = [server.websocket_url]
                pids = server.server.worker_pids()
                for other in range(1, masters):
                    second = _another(others, server, place, workers, other)
                    urls.append(f"ws://127.0.0.1:{second.url.rpartition(':')[2]}/api/agent/ws")
                    pids += second.worker_pids()
                cost, p50 = _push(server, urls, pids)
            results.record(COST, cost, name)
            results.record(P50, p50, name)


def _another(others: ExitStack, first: ours.Ours, place: Place, workers: int, number: int) -> Server:
    folder: Path = others.enter_context(place.folder())
    second = Server(folder, first.server.settings, workers=workers, application="bench.application:app")
    others.callback(second.close)
    return second.start()


def _push(server: ours.Ours, urls: list[str], pids: list[int]) -> tuple[float, float]:
    """Microseconds of processor time, and milliseconds until it is read."""
    server.enroll(SOCKETS)
    server.create_pipeline()
    with Crowd(urls, server.tokens, headers={"X-Config-Revision": server.follow()}) as crowd:
        assert crowd.connect().refused == 0
        ours.wait_until_held(server.held, SOCKETS)
        crowd.state(2)
        spans = []
        for number in range(100):
            crowd.forget()
            called = time.monotonic_ns()
            server.publish_one(number)
            crowd.wait("heard", 1, 5)
            spans.append((crowd.dump("first")[number] - called) / 1e6)
        crowd.forget()
        began, cpu = time.monotonic(), processor_seconds(pids)
        for number in range(PUSHES):
            server.publish_one(number % SOCKETS)
            next_at = began + (number + 1) * EVERY_SECONDS / len(pids)
            time.sleep(max(0.0, next_at - time.monotonic()))
        crowd.wait("heard", SOCKETS, 10)
        took, busy = time.monotonic() - began, processor_seconds(pids) - cpu
        cpu = processor_seconds(pids)
        crowd.state(IDLE_SECONDS)
        idle = (processor_seconds(pids) - cpu) / IDLE_SECONDS * took
    return max(0.0, busy - idle) / PUSHES * 1e6, statistics.median(spans)
