"""Hazard 9, resync is a herd: all subscribers are cut, and one node of a hundred is behind."""

from __future__ import annotations

from sqlalchemy import text

from bench import ours
from bench.hazards import compared, without
from bench.load import Crowd
from bench.place import Place, processor_seconds
from bench.probes import Probe
from bench.scale import Scale
from tests.support.signed_in import signed_in

SWEEP_SECONDS = 2
QUIET_SECONDS = 3.0
"""When nobody has fetched for so long, nobody else will."""
MOST_SECONDS = 45.0
LINES = 64
RULE = (
    "every connected node is nudged at once when the subscriber is back, and each sweep asks about all nodes"
)

FETCHES = compared(
    "h09_fetches", "nodes that fetch after all subscribers were cut", "nodes", "less",
    "one in a hundred was behind", RULE,
)  # fmt: skip
PAGE = compared(
    "h09_page", "slowest fleet page meanwhile", "ms", "less",
    "asked twenty times a second until nobody fetches any more",
)  # fmt: skip
SWEEP = compared(
    "h09_sweep", "processor time of an idle sweep", "ms", "less",
    f"of the workers, all else that they do in {SWEEP_SECONDS} s of idling included",
)  # fmt: skip


def run(place: Place, scale: Scale, *, kept: bool) -> dict[str, float]:
    """Sweeps that find nothing, then the cut."""
    settings = {"SIGNALBOX_SWEEP_INTERVAL": str(SWEEP_SECONDS), **without("resync", kept)}
    with ours.running(place, settings=settings) as server:
        tokens = server.enroll(scale.nodes)
        server.deploy(server.create_pipeline())
        headers = {"X-Config-Revision": server.follow()}
        _leave_behind(server, scale.nodes // 100)
        server.server.create_admin("bench@example.org", ours.PASSWORD)
        session = signed_in(server.server.url, "bench@example.org", ours.PASSWORD)
        pids = server.server.worker_pids()
        with Crowd([server.websocket_url], tokens, headers=headers) as crowd:
            assert crowd.connect(rate=1500).refused == 0
            ours.wait_until_held(server.held, scale.nodes)
            crowd.state(2 * SWEEP_SECONDS)
            idle_seconds = min(20.0, 2 * scale.idle_seconds)
            cpu = processor_seconds(pids)
            crowd.state(idle_seconds)
            sweep_ms = 1000 * (processor_seconds(pids) - cpu) / (idle_seconds / SWEEP_SECONDS)
            crowd.fetch_when_nudged(server.port, LINES, "/api/agent/config")
            crowd.forget()
            with Probe(lambda: session.get(f"{server.server.url}/", timeout=60), 0.05) as probe:
                server.store.client_kill_filter(_type="pubsub")
                fetched = _until_quiet(crowd)
        session.close()
        assert not probe.failures, f"the page failed: {probe.failures[0]}"
        return {FETCHES: fetched, PAGE: max(probe.spans_ms), SWEEP: sweep_ms}


def _leave_behind(server: ours.Ours, count: int) -> None:
    ids = [server.node_id(index) for index in range(max(1, count))]
    with server.engine() as connection:
        connection.execute(
            text("UPDATE node SET running_revision = 'old' WHERE id = ANY(:ids)"), {"ids": ids}
        )


def _until_quiet(crowd: Crowd) -> int:
    """How many have fetched when nobody does any more."""
    fetched, waited = -1, 0.0
    while waited < MOST_SECONDS and (state := crowd.state(QUIET_SECONDS)).fetched != fetched:
        fetched = state.fetched
        waited += QUIET_SECONDS
    return fetched
