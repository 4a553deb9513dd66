"""What was promised, and what was measured beside it: the table of targets in `docs/bench.md`. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from bench.report import number
from bench.results import Results

Measured = Callable[[Results], float | None]


@dataclass(frozen=True)
class Target:
    """One sentence of what must be so."""

    group: int
    """The target that it is a part of."""
    what: str
    unit: str
    better: str
    """`less` or `more`."""
    bound: float
    measured: Measured


def _median(key: str) -> Measured:
    return lambda results: results.median(key)


def _share(key: str, peer: str) -> Measured:
    """Ours as a share of the peer's, less being better; round by round as all ratios."""

    def share(results: Results) -> float | None:
        ratio = results.ratio(key, peer)
        return 1 / ratio if ratio else None

    return share


def _worst(key: str) -> Measured:
    return lambda results: max(results.of(key), default=None)


def _quotient(key: str, by: str) -> Measured:
    def quotient(results: Results) -> float | None:
        above, below = results.median(key), results.median(by)
        return above / below if above is not None and below else None

    return quotient


def _apart(key: str) -> Measured:
    """The dearest of all shapes by the cheapest."""

    def apart(results: Results) -> float | None:
        medians = [results.median(key, name) for name in results.values.get(key, {})]
        found = [each for each in medians if each]
        return max(found) / min(found) if len(found) > 1 else None

    return apart


def _each(key: str) -> Measured:
    """The worst median of all contenders."""

    def worst(results: Results) -> float | None:
        medians = [results.median(key, name) for name in results.values.get(key, {})]
        return max((each for each in medians if each is not None), default=None)

    return worst


def _crowd_memory(results: Results) -> float | None:
    each, count = results.median("large_crowd.memory"), results.median("large_crowd.sockets")
    return each * count / 1024 if each is not None and count is not None else None


def _renewal(results: Results) -> float | None:
    """Percent of a core: each worker audits its sockets every ten seconds, measured for 10,000 of them."""
    parts = [results.median(f"large_crowd.{part}") for part in ("audit", "audit_redis")]
    count = results.median("large_crowd.sockets")
    if count is None or None in parts:
        return None
    return sum(part for part in parts if part is not None) * count / 10_000 / 10_000 * 100


TARGETS = (
    Target(1, "workers' memory of an idle socket", "KiB", "less", 1, _median("sockets.memory")),
    Target(1, "the same beside Node's", "of Node's", "less", 0.125, _share("sockets.memory", "node-ws")),
    Target(1, "Redis's memory for a node", "bytes", "less", 1024, _median("sockets.redis")),
    Target(2, "all told, beside Node", "of Node's", "less", 0.65, _share("sockets.all_told", "node-ws")),
    Target(
        2,
        "all told, beside plain flask-sock",
        "of its",
        "less",
        0.25,
        _share("sockets.all_told", "flask-sock"),
    ),
    Target(
        2,
        "the last node told, beside the median node",
        "×",
        "less",
        2,
        _quotient("sockets.all_told", "sockets.median_told"),
    ),
    Target(
        3,
        "one push to the agent, p99, beside Node",
        "of Node's",
        "less",
        1,
        _share("sockets.push_p99", "node-ws"),
    ),
    Target(3, "deploy call to the agent, p99", "ms", "less", 15, _median("deploys.to_agent_p99")),
    Target(4, "upgrades with a token from PostgreSQL", "/s", "more", 2000, _median("upgrades.rate")),
    Target(4, "operator's pages meanwhile, p95", "ms", "less", 200, _median("upgrades.page_p95")),
    Target(
        5,
        "agents connected to one machine of two cores",
        "sockets",
        "more",
        100_000,
        _median("large_crowd.sockets"),
    ),
    Target(5, "memory of its workers", "MiB", "less", 400, _crowd_memory),
    Target(5, "all of them told", "ms", "less", 1500, _median("large_crowd.all_told")),
    Target(
        5, "workers idle: keepalives, audits, sweeps", "% of a core", "less", 15, _median("large_crowd.idle")
    ),
    Target(5, "presence renewal of it, Redis's part included", "% of a core", "less", 5, _renewal),
    Target(5, "agents lost in ten minutes", "sockets", "less", 0, _median("large_crowd.lost")),
    Target(5, "the largest crowd", "sockets", "more", 250_000, _median("large_crowd.reached")),
    Target(
        6,
        "deploy until all have fetched, beside two empty requests a node",
        "of their time",
        "less",
        1,
        lambda results: 1 / share if (share := results.median("fetches.share")) else None,
    ),
    Target(6, "unchanged polls", "of the empty view's rate", "more", 0.6, _median("polls.share")),
    Target(
        7,
        "sustained heartbeats on PostgreSQL",
        "of the empty view's rate",
        "more",
        0.25,
        _median("heartbeats.postgresql_sustained_share"),
    ),
    Target(
        7,
        "sustained heartbeats on SQLite",
        "of the empty view's rate",
        "more",
        0.15,
        _median("heartbeats.sqlite_sustained_share"),
    ),
    Target(
        7,
        "their p99 on PostgreSQL, the worst stretch",
        "ms",
        "less",
        100,
        _worst("heartbeats.postgresql_sustained_p99"),
    ),
    Target(
        7,
        "their p99 on SQLite, the worst stretch",
        "ms",
        "less",
        100,
        _worst("heartbeats.sqlite_sustained_p99"),
    ),
    Target(8, "requests of an idle agent", "/hour", "less", 72, _median("idle_agent.requests")),
    Target(
        9,
        "one push with 2, 4 and 8 workers and two masters, the dearest by the cheapest",
        "×",
        "less",
        1.25,
        _apart("workers.push_cost"),
    ),
    Target(10, "fleet page, first page", "ms", "less", 300, _median("pages.fleet_first")),
    Target(10, "fleet page, page 200", "ms", "less", 300, _median("pages.fleet_last")),
    Target(
        10, "page 200 beside page 1", "×", "less", 1.25, _quotient("pages.fleet_last", "pages.fleet_first")
    ),
    Target(10, "list of nodes, page 200", "ms", "less", 300, _median("pages.api_last")),
    Target(11, "all back after a killed worker", "s", "less", 35, _worst("worker_killed.back")),
    Target(11, "slowest request meanwhile", "ms", "less", 1000, _worst("worker_killed.slowest")),
    Target(
        12, "a week of metrics as kept (stated: 0.3 MiB)", "KiB a node", "less", 350, _each("history.kept")
    ),
    Target(12, "a node's week drawn", "ms", "less", 200, _each("history.week")),
)


WHY: dict[str, str] = {
    "all told, beside plain flask-sock": (
        "a `write` for each socket is the kernel's work and theirs as much as ours; ours also writes a version and "
        "whom it concerns before it tells anybody"
    ),
    "deploy call to the agent, p99": (
        "eleven statements, each half a millisecond of SQLAlchemy, psycopg and gevent's loop, and 2.7 ms in which "
        "PostgreSQL matches the labels of 10,000 nodes, are 17 ms at the median; the slowest meet a presence audit, "
        "the watch, or the notes of the deploy before"
    ),
    "operator's pages meanwhile, p95": (
        "of the seven pages of a round this is the slowest; both cores are busy with upgrades, PostgreSQL and the "
        "client, and a page waits for its turn at each of its questions"
    ),
    "all of them told": (
        "a frame takes 22 µs of two cores with 10,000 sockets (Redis, the worker, the kernel, the client), so 1.1 s "
        "are the least; a quarter of a second goes before the first, and 13 processes share the two cores"
    ),
    "workers idle: keepalives, audits, sweeps": (
        "a fourth of it noted that nodes live, with 14,000 parameters, and a tenth was every worker's look at all "
        "entries each minute; both are mended since: two workers with 30,000 sockets take 4.5 % where it was 6.3"
    ),
}
"""For what is missed the reason that a profile has shown, by the target's words; shown only where it is missed."""


def verdict(target: Target, value: float | None) -> str:
    """Whether it is reached, or by how much not, and why."""
    if value is None:
        return "not measured yet"
    if value <= target.bound if target.better == "less" else value >= target.bound:
        return "reached"
    why = f": {WHY[target.what]}" if target.what in WHY else ""
    if target.bound == 0:
        return f"missed, by {number(value)}{why}"
    by = value / target.bound if target.better == "less" else target.bound / value if value else math.inf
    return f"missed, by {100 * (by - 1):.0f} %{why}"


def table(results: Results) -> str:
    """A row for each target."""
    rows = ["| | target | wanted | measured | |", "|---|---|---|---|---|"]
    for target in TARGETS:
        value = target.measured(results)
        sign = "≤" if target.better == "less" else "≥"
        bound = number(target.bound) if target.bound >= 1000 else f"{target.bound:g}"
        rows.append(
            f"| {target.group} | {target.what} | {sign} {bound} {target.unit} | {number(value)} |"
            f" {verdict(target, value)} |"
        )
    return "\n".join(rows) + "\n"
