"""Hazard 29, the reconnect herd: all agents have lost their links together and come back."""

from __future__ import annotations

from contextlib import ExitStack

from bench import ours
from bench.hazards import compared
from bench.load import Crowd
from bench.place import Place, say
from bench.probes import Probe
from bench.results import percentile
from bench.scale import Scale
from tests.support.signed_in import signed_in

MOST_SECONDS = 45.0
"""For the dials, and as long again for those that were turned away."""
JITTER_SECONDS = 1.0
"""The first pause of an agent that is told nothing."""
RULE = f"they come within {JITTER_SECONDS:.0f} s, and each is admitted to the database at once"

PAGE_P95 = compared(
    "h29_page_p95", "fleet page while all agents come back, p95", "ms", "less",
    "agents spread themselves over `reconnectSpreadMs`, and beyond `SIGNALBOX_UPGRADE_RATE` a worker answers `503` "
    "with `Retry-After`", RULE,
)  # fmt: skip
SLOWEST = compared(
    "h29_slowest", "slowest poll of an agent meanwhile", "ms", "less", "a configuration, asked ten times a second"
)  # fmt: skip
HANDSHAKE = compared(
    "h29_handshake", "slowest handshake of the herd", "ms", "less", "of those that were let in, from the dial on"
)  # fmt: skip
BACK = compared(
    "h29_back", "until all agents are back", "s", "-",
    "what the rule costs: nobody is behind meanwhile, since agents poll where they have no link",
)  # fmt: skip


def run(place: Place, scale: Scale, *, kept: bool) -> dict[str, float]:
    """Dials of all nodes, evenly over the time that they take."""
    settings = {"SIGNALBOX_UPGRADE_RATE": "1000"} if kept else {}
    with ours.running(place, settings=settings) as server:
        tokens = server.enroll(scale.sockets)
        server.create_pipeline()
        headers = {"X-Config-Revision": server.follow()}
        spread = server.config().json()["reconnectSpreadMs"] / 1000 if kept else JITTER_SECONDS
        server.server.create_admin("bench@example.org", ours.PASSWORD)
        session = signed_in(server.server.url, "bench@example.org", ours.PASSWORD)
        asks = (lambda: session.get(f"{server.server.url}/", timeout=60), lambda: server.config(3))
        with Crowd([server.websocket_url], tokens, headers=headers) as crowd:
            crowd.reconnect(spread)
            with ExitStack() as probing:
                page, poll = (probing.enter_context(Probe(ask)) for ask in asks)
                dialed_at = crowd.connect(
                    rate=scale.sockets / spread, at_once=scale.sockets, seconds=MOST_SECONDS
                ).dialed_at
                state = crowd.wait("open", scale.sockets, MOST_SECONDS)
            assert state.open == scale.sockets, f"{state.open} of {scale.sockets} are open: {state.statuses}"
            back = (max(crowd.dump("opened")) - dialed_at) / 1e9
            handshake = max(crowd.dump("shook")) / 1e6
        session.close()
        say(f"hazard 29: spread {spread:.0f} s, back after {back:.1f} s, refused {state.statuses}")
        assert not page.failures + poll.failures, (page.failures + poll.failures)[0]
        return {
            PAGE_P95: percentile(page.spans_ms, 0.95),
            SLOWEST: max(poll.spans_ms),
            HANDSHAKE: handshake,
            BACK: back,
        }
