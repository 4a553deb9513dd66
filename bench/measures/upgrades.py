"""Many agents connect at once: what an operator notices meanwhile."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import requests

from bench import ours
from bench.figures import figure
from bench.load import Crowd
from bench.place import Place, say
from bench.probes import Probe
from bench.results import Results, percentile
from bench.scale import Scale
from tests.support.signed_in import signed_in

NAME = "upgrades"

RATE = figure(
    "upgrades.rate", "upgrades a second beside an operator", "/s", "more",
    "handshakes with full authentication from PostgreSQL while an operator looks at a page four times a second",
)  # fmt: skip
PAGE_P95 = figure(
    "upgrades.page_p95", "operator's pages meanwhile, p95", "ms", "less",
    "the fleet, a node and a pipeline in turn, while all of them connect"
)  # fmt: skip
QUIET_P95 = figure(
    "upgrades.quiet_p95", "operator's pages with all connected, p95", "ms", "less",
    "the same when nothing else happens",
)  # fmt: skip
QUIET_SECONDS = 5


def measure(place: Place, scale: Scale, results: Results) -> None:
    """Each round a crowd that connects as fast as it is answered, and goes without a word."""
    with ours.running(place) as server:
        server.enroll(scale.nodes)
        pipeline = server.create_pipeline()
        headers = {"X-Config-Revision": server.follow()}
        server.server.create_admin("bench@example.org", ours.PASSWORD)
        session = signed_in(server.server.url, "bench@example.org", ours.PASSWORD)
        look = _looks(session, server.server.url, server.node_id(0), pipeline)
        for number in range(scale.rounds):
            if not place.has_time:
                return
            say(f"{NAME}: round {number + 1} of {scale.rounds}, {scale.nodes} sockets")
            with Crowd([server.websocket_url], server.tokens, headers=headers) as crowd:
                with Probe(look, 0.25) as busy:
                    state = crowd.connect()
                assert state.refused == 0, f"refused: {state.statuses}"
                ours.wait_until_held(server.held, scale.nodes)
                with Probe(look, 0.25) as quiet:
                    crowd.state(QUIET_SECONDS)
            assert not busy.failures + quiet.failures, (
                f"the page failed: {(busy.failures + quiet.failures)[0]}"
            )
            results.record(RATE, scale.nodes / ((state.settled_at - state.dialed_at) / 1e9))
            results.record(PAGE_P95, percentile(busy.spans_ms, 0.95))
            results.record(QUIET_P95, percentile(quiet.spans_ms, 0.95))
            server.wait_until_empty()
        session.close()


def _looks(
    session: requests.Session, url: str, node_id: str, pipeline_id: str
) -> Callable[[], requests.Response]:
    """What an operator opens, one page after the other."""
    pages = itertools.cycle((f"{url}/", f"{url}/nodes/{node_id}", f"{url}/pipelines/{pipeline_id}"))
    return lambda: session.get(next(pages), timeout=60)
