"""Hazard 28, group commit poison: what no database can store, and heartbeats of the same nodes in two workers."""

from __future__ import annotations

from bench import ours
from bench.hazards import compared, without
from bench.http_requests import heartbeat
from bench.load import Load, drive
from bench.place import Place, say
from bench.scale import Scale

NODES = 300
FEW_NODES = 24
POISON_EVERY = 100
POISON = "a\0b"
"""A status that PostgreSQL cannot store."""
PIPELINES = 3
MOST_RATE = 3000
"""Of heartbeats that are made beforehand, for a second."""
RULE = (
    "texts are stored as they come, rows are locked in the order in which heartbeats came, there is no search for "
    "the culprit, and no transaction is tried again"
)

ANSWERED = compared(
    "h28_answered", f"good heartbeats taken where one in {POISON_EVERY} is poisoned", "%", "more",
    "answered with `200`, of those that hold nothing that PostgreSQL cannot store", RULE,
)  # fmt: skip
P99 = compared(
    "h28_p99", f"heartbeats of {FEW_NODES} nodes in two workers, p99", "ms", "less",
    "32 at once, so that two workers write the same rows all the time; PostgreSQL looks for deadlocks after a second",
)  # fmt: skip
FAILED = compared(
    "h28_failed", "of these, not answered with `200`", "%", "less", "their transactions were a deadlock's victims"
)  # fmt: skip


def run(place: Place, scale: Scale, *, kept: bool) -> dict[str, float]:
    """First the poison, then the contention."""
    seconds = 2 * scale.load_seconds
    with ours.running(place, settings=without("commits", kept)) as server:
        tokens = server.enroll(NODES)
        pipelines = [server.create_pipeline(f"bench-{number}") for number in range(PIPELINES)]
        count = int(seconds * MOST_RATE)
        poisoned = [number for number in range(count) if number % POISON_EVERY == 0]
        beats = [
            heartbeat(
                tokens[number % NODES],
                number + 1,
                pipelines,
                status="RUNNING" if number % POISON_EVERY else POISON,
            )
            for number in range(count)
        ]
        load = drive(server.server.url, beats, seconds=seconds, passes=1)
        good = [status for number, status in enumerate(load.answers) if status and number % POISON_EVERY]
        say(f"hazard 28: {len(poisoned)} poisoned at most, answers {load.statuses}")
        few = [
            heartbeat(tokens[number * 7 % FEW_NODES], count + number + 1, pipelines)
            for number in range(count)
        ]
        contended = drive(server.server.url, few, seconds=seconds, passes=1)
        say(f"hazard 28: few nodes, answers {contended.statuses}")
        return {
            ANSWERED: 100 * good.count(200) / len(good),
            P99: contended.p99_ms,
            FAILED: 100 * (1 - _share_of_200(contended)),
        }


def _share_of_200(load: Load) -> float:
    return load.statuses.get(200, 0) / sum(load.statuses.values())
