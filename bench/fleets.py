"""What fleets of four sizes need, reckoned from what was measured: the first table of the sizing page. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable

from app.fleet_size import stretched_ms
from app.upgrade_rate import spread_ms
from bench.measures import growth
from bench.report import number
from bench.results import Results

SIZES = (10, 1000, 10_000, 100_000)
SOCKETS_A_WORKER = 10_000
"""`SIGNALBOX_MAX_SOCKETS` as shipped."""
UPGRADES_A_WORKER = 1000
"""`SIGNALBOX_UPGRADE_RATE` as shipped."""
HEARTBEAT_BUDGET = 500
IDLE_HEARTBEAT_MS = 60_000
IDLE_POLL_SECONDS = 300
CONNECTIONS_A_WORKER = 38
"""Of PostgreSQL at most: 30 of requests, 4 of the sweep, 4 of what else goes on in the background."""
SUBSCRIBER_MB = 32
"""What Redis may hold for a subscriber that does not read."""
UNKNOWN = "–"


def workers(nodes: int) -> int:
    """Two at least, so that one can be replaced."""
    return max(2, math.ceil(nodes / SOCKETS_A_WORKER))


def table(results: Results) -> list[str]:
    """A row for each need, a column for each size."""
    heads = [f"{number(size)} nodes" for size in SIZES]
    lines = [f"| | {' | '.join(heads)} |", f"|---|{'---|' * len(SIZES)}"]
    for what, need in NEEDS:
        lines.append(f"| {what} | {' | '.join(need(results, size) for size in SIZES)} |")
    return lines


def _text(value: float | None, unit: str) -> str:
    return UNKNOWN if value is None else f"{number(value)} {unit}"


def _a_node(results: Results, key: str) -> float | None:
    """What one more node costs, from the largest and the smallest size of a curve."""
    points = growth.points(results, key)
    if len(points) < 2:
        return None
    (small, cost), (large, more) = points[0], points[-1]
    return (more - cost) / (large - small)


def _memory(results: Results, nodes: int) -> float | None:
    """MiB of all workers."""
    empty, each = results.median(growth.EMPTY_MEMORY), results.median("sockets.memory")
    if each is None:
        a_node = _a_node(results, growth.CONNECTIONS_MEMORY)
        each = a_node * 1024 if a_node is not None else None
    if empty is None or each is None:
        return None
    return empty / 2 * workers(nodes) + each * nodes / 1024


def _redis(results: Results, nodes: int) -> float | None:
    """MiB, of which the most is room for subscribers that stand still."""
    each = results.median("sockets.redis") or results.median("large_crowd.redis")
    return None if each is None else each * nodes / 2**20 + SUBSCRIBER_MB * workers(nodes)


def _heartbeats(nodes: int) -> float:
    """A second."""
    return nodes * 1000 / stretched_ms(IDLE_HEARTBEAT_MS, nodes, HEARTBEAT_BUDGET)


def _cores(results: Results, nodes: int) -> float | None:
    """Percent of a core while nothing happens: heartbeats in workers and PostgreSQL, polls, idle sockets."""
    beat = [
        statistics.median(each) if (each := [cost for _, cost in growth.points(results, key)]) else None
        for key in (growth.BEATS_CPU, growth.BEATS_DATABASE_CPU)
    ]
    poll = results.median("polls.cpu")
    points = growth.points(results, growth.CONNECTIONS_IDLE)
    if poll is None or None in beat or not points:
        return None
    size, idle = points[-1]
    beats = _heartbeats(nodes) * sum(each for each in beat if each is not None) / 1e4
    return beats + nodes / IDLE_POLL_SECONDS * poll / 1e4 + idle * nodes / size


def _disk(results: Results, nodes: int) -> float | None:
    """MiB with a week of metrics, three pipelines a node."""
    each, kept = _a_node(results, growth.BEATS_DISK), results.median("history.kept", "on PostgreSQL")
    return None if each is None or kept is None else nodes * (each + kept / 1024)


def _fetched(results: Results, nodes: int) -> float | None:
    """Seconds until a deploy to all is fetched, by two workers' rate."""
    seconds, size = results.median("fetches.all"), results.median("fetches.nodes")
    return None if seconds is None or not size else seconds * nodes / size


NEEDS: tuple[tuple[str, Callable[[Results, int], str]], ...] = (
    ("machines for the server, so that one may fail", lambda _, nodes: "1 or 2" if nodes < 10_000 else "2"),
    ("workers in all", lambda _, nodes: str(workers(nodes))),
    ("memory of the workers", lambda results, nodes: _text(_memory(results, nodes), "MiB")),
    (
        "processor time at rest, PostgreSQL's included",
        lambda results, nodes: _text(_cores(results, nodes), "% of a core"),
    ),
    (
        "descriptors of a worker (`LimitNOFILE`)",
        lambda _, nodes: number(math.ceil(nodes / workers(nodes)) + 1000),
    ),
    ("Redis, `maxmemory`", lambda results, nodes: _text(_redis(results, nodes), "MiB")),
    ("PostgreSQL, disk with a week of metrics", lambda results, nodes: _text(_disk(results, nodes), "MiB")),
    ("PostgreSQL, `max_connections`", lambda _, nodes: number(CONNECTIONS_A_WORKER * workers(nodes) + 10)),
    ("heartbeats a second at rest", lambda _, nodes: number(_heartbeats(nodes))),
    (
        "a node reports every",
        lambda _, nodes: f"{stretched_ms(IDLE_HEARTBEAT_MS, nodes, HEARTBEAT_BUDGET) // 1000} s",
    ),
    (
        "all links back after a restart within",
        lambda _, nodes: f"{spread_ms(nodes, UPGRADES_A_WORKER * workers(nodes)) / 1000:.0f} s",
    ),
    (
        "a deploy to all is fetched by two busy workers within",
        lambda results, nodes: _text(_fetched(results, nodes), "s"),
    ),
)
