"""Hazard 20, uneven accept: one of four workers is killed, and the others shed what they have too much of."""

from __future__ import annotations

from collections import Counter

from app.push.presence import BUCKETS
from bench import ours
from bench.hazards import compared, without
from bench.load import Crowd
from bench.place import Place, say
from bench.scale import Scale

WORKERS = 4
MOST_SOCKETS = 4000
AT_ONCE = 40
SPREAD_SECONDS = 6.0
"""Over which the killed worker's agents come back: the one in its place boots in the first of them."""
MOST_OPEN = 99
"""Percent."""
SHED_SECONDS = 14.0
"""A worker sheds after three reports, which come every two seconds; then it may do so for some rounds."""
RULE = (
    "gunicorn's own acceptor, which takes one connection whenever the kernel wakes it; a worker sheds all above the "
    "average every two seconds, whether or not another has room, and a node as often as it comes up"
)

FULLEST = compared(
    "h20_fullest", "fullest of four workers", "× the average", "less",
    f"sockets held when those of a killed one have come back, spread over {SPREAD_SECONDS:.0f} s, of as many as "
    f"{MOST_SOCKETS}", RULE,
)  # fmt: skip
CLOSED = compared(
    "h20_closed", "sockets shed after that", "% of all", "less",
    f"closed with `1001` within {SHED_SECONDS:.0f} s, one that is closed twice counted twice",
)  # fmt: skip


def run(place: Place, scale: Scale, *, kept: bool) -> dict[str, float]:
    """Dial, kill, count, and see what is closed."""
    count = min(MOST_SOCKETS, scale.sockets)
    with ours.running(place, workers=WORKERS, settings=without("accept", kept)) as server:
        tokens = server.enroll(count)
        server.create_pipeline()
        with Crowd([server.websocket_url], tokens, headers={"X-Config-Revision": server.follow()}) as crowd:
            crowd.reconnect(SPREAD_SECONDS)
            crowd.connect(at_once=AT_ONCE)
            ours.wait_until_held(server.held, count)
            crowd.forget()
            server.server.kill_worker(server.server.worker_pids()[0])
            crowd.wait("lost", count // WORKERS // 2, 20)
            # Without the rule some are always on their way, shed by one worker and not yet at the next.
            state = crowd.wait("open", MOST_OPEN * count // 100, 60)
            assert state.open >= MOST_OPEN * count // 100, (
                f"{state.open} of {count} are open: {state.statuses}"
            )
            held = _held(server)
            state = crowd.state(SHED_SECONDS)
        say(f"hazard 20: {sorted(held.values())}, closed {dict(state.goodbyes)}")
        return {
            FULLEST: max(held.values()) / (sum(held.values()) / WORKERS),
            CLOSED: 100 * state.goodbyes.get(1001, 0) / count,
        }


def _held(server: ours.Ours) -> Counter[str]:
    """How many nodes' entries in Redis name each worker."""
    pipeline = server.store.pipeline(transaction=False)
    for number in range(BUCKETS):
        pipeline.hvals(f"signalbox:presence:{number:02x}")
    return Counter(entry.split(" ")[5] for entries in pipeline.execute() for entry in entries)
