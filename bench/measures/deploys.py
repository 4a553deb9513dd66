"""One deploy to one node: from the call to the agent, with many idle sockets beside it."""

from __future__ import annotations

import statistics
import threading
import time

from bench import ours
from bench.figures import figure
from bench.load import Crowd
from bench.place import Place, say
from bench.results import Results, percentile
from bench.scale import Scale

NAME = "deploys"

TO_AGENT_P50 = figure(
    "deploys.to_agent_p50", "deploy call to agent, median", "ms", "less",
    "from the start of the call that deploys to one of many connected nodes until that one has read its nudge",
)  # fmt: skip
TO_AGENT_P99 = figure(
    "deploys.to_agent_p99", "deploy call to agent, p99", "ms", "less", "the same, 99 of 100"
)


def measure(place: Place, scale: Scale, results: Results) -> None:
    """As many deploys a round as `scale.pushes` has pushes, at most 200, one after the other."""
    with ours.running(place) as server:
        server.enroll(scale.nodes)
        node_id = server.node_id(7)
        server.operator.call("PATCH", f"/nodes/{node_id}", {"labels": {"role": "one"}})
        pipeline = server.create_pipeline(selector="role=one")
        headers = {"X-Config-Revision": server.follow()}
        with Crowd([server.websocket_url], server.tokens, headers=headers) as crowd:
            crowd.reconnect(1)
            crowd.connect(rate=1500)
            ours.wait_until_held(server.held, scale.nodes)
            for number in range(scale.rounds):
                if not place.has_time:
                    return
                say(f"{NAME}: round {number + 1} of {scale.rounds}, {scale.nodes} sockets")
                spans = [_deploy(server, pipeline, crowd) for _ in range(min(200, scale.pushes))]
                results.record(TO_AGENT_P50, statistics.median(spans))
                results.record(TO_AGENT_P99, percentile(spans, 0.99))


def _deploy(server: ours.Ours, pipeline: str, crowd: Crowd) -> float:
    """Milliseconds from the call to the agent."""
    crowd.forget()
    answered: list[int] = []
    thread = threading.Thread(target=lambda: answered.append(server.deploy(pipeline)))
    called = time.monotonic_ns()
    thread.start()
    state = crowd.wait("heard", 1, 10)
    thread.join()
    assert state.heard == 1, f"{state.heard} nodes have heard of a deploy to one, pushed {answered}"
    return (max(crowd.dump("first")) - called) / 1e6
