"""Heartbeats of three pipelines each, on PostgreSQL and SQLite, beside an empty view."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from sqlalchemy import text

from bench import ours
from bench.figures import OURS, figure
from bench.http_requests import CONNECTIONS, EMPTY, beside_empty, heartbeat
from bench.load import Load, drive
from bench.place import Place, say
from bench.results import Results
from bench.scale import Scale

NAME = "heartbeats"
NODES = 300
ALONE = "alone"
"""Ours with a transaction of its own for each heartbeat."""
PIPELINES = 3
STRETCH_SECONDS = 20.0
STRETCH_MOST_RATE = 2500
"""Of heartbeats that are made beforehand, for a second; what is not needed is thrown away."""

SHARES, RATES, P99S, CPUS = (
    {
        kind: figure(f"heartbeats.{kind.lower()}_{name}", f"heartbeats on {kind}{title}", unit, better, what)
        for kind in ("PostgreSQL", "SQLite")
    }
    for name, title, unit, better, what in (
        ("share", "", "share", "more", "answered with `200` and stored, as a share of the empty view's rate"),
        ("rate", "", "/s", "more", "the same as a rate, which depends on the machine"),
        ("p99", ", p99", "ms", "less", "with 32 at once all the time"),
        ("cpu", ", processor time of each", "µs", "less", "of the workers, without PostgreSQL's"),
    )
)
SUSTAINED_SHARES, SUSTAINED_P99S = (
    {
        kind: figure(
            f"heartbeats.{kind.lower()}_sustained_{name}",
            f"sustained heartbeats on {kind}{title}",
            unit,
            better,
            what,
        )
        for kind in ("PostgreSQL", "SQLite")
    }
    for name, title, unit, better, what in (
        (
            "share", "", "share", "more",
            f"for minutes (300 s at full scale, 120 s at medium) in stretches of {STRETCH_SECONDS:.0f} s, one right "
            "after the other, 32 at once, as a share of the empty view's rate before and after",
        ),
        ("p99", ", p99", "ms", "less", "of each of these stretches"),
    )
)  # fmt: skip


def measure(place: Place, scale: Scale, results: Results) -> None:
    """Both databases have their turn in each round. Each heartbeat that was answered is looked for afterwards."""
    commits = [OURS, ALONE] if scale.name == "full" else [OURS]
    with ExitStack() as running:
        beats = {}
        for kind in SHARES:
            for name in commits:
                settings = {"BENCH_ALONE": "1"} if name == ALONE else {}
                server = running.enter_context(ours.running(place, database=kind, settings=settings))
                beats[kind, name] = Beats(server)
        for number in range(scale.rounds):
            for (kind, name), each in beats.items():
                if not place.has_time:
                    break
                say(f"{NAME}: round {number + 1} of {scale.rounds}, {kind}, {name}")
                one = beside_empty(each.server.server, each.make, scale.load_seconds, passes=1)
                assert set(one.load.statuses) == {200}, f"heartbeats were answered with {one.load.statuses}"
                each.answered(one.load)
                results.record(SHARES[kind], one.share, name)
                results.record(RATES[kind], one.load.rate, name)
                results.record(P99S[kind], one.load.p99_ms, name)
                results.record(CPUS[kind], one.cpu_us, name)
        for kind in SHARES:
            if scale.sustained_seconds and place.has_time:
                say(f"{NAME}: {scale.sustained_seconds:.0f} s without a pause, {kind}")
                _sustain(beats[kind, OURS], kind, scale.sustained_seconds, results)
        for (kind, _), each in beats.items():
            lost = each.lost()
            assert not lost, f"{lost} nodes' heartbeats were answered with 200 and are not in {kind}"


def _sustain(beats: Beats, kind: str, seconds: float, results: Results) -> None:
    """While one stretch is sent the next is made."""
    url = beats.server.server.url
    stretch = min(STRETCH_SECONDS, seconds)
    count = int(stretch * STRETCH_MOST_RATE)
    empty = drive(url, [EMPTY], connections=CONNECTIONS, seconds=2, warm_seconds=0.5).rate
    rates = []
    with ThreadPoolExecutor(1) as maker:
        upcoming = maker.submit(beats.made, count)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            first, requests = upcoming.result()
            upcoming = maker.submit(beats.made, count)
            load = drive(url, requests, connections=CONNECTIONS, seconds=stretch, passes=1)
            assert set(load.statuses) == {200}, f"heartbeats were answered with {load.statuses}"
            beats.answered(load, first)
            rates.append(load.rate)
            results.record(SUSTAINED_P99S[kind], load.p99_ms)
    empty = (empty + drive(url, [EMPTY], connections=CONNECTIONS, seconds=2, warm_seconds=0.5).rate) / 2
    results.record(SUSTAINED_SHARES[kind], sum(rates) / len(rates) / empty)


class Beats:
    """Heartbeats of many nodes in turn, and how far each node's have been answered."""

    def __init__(self, server: ours.Ours, nodes: int = NODES, pipelines: int = PIPELINES) -> None:
        self.server = server
        self._tokens = server.enroll(nodes)
        self._pipelines = [server.create_pipeline(f"bench-{number}") for number in range(pipelines)]
        self._seq = 0
        self._first = 0
        self._answered: dict[str, int] = {}
        drive(server.server.url, self.make(3 * nodes), passes=1, seconds=60)  # each token once to each worker

    def make(self, count: int) -> list[bytes]:
        """So many more, each newer than all before."""
        self._first, requests = self.made(count)
        return requests

    def made(self, count: int) -> tuple[int, list[bytes]]:
        """The same, and the number of the first."""
        first = self._seq + 1
        self._seq += count
        return first, [
            heartbeat(self._token(seq), seq, self._pipelines) for seq in range(first, self._seq + 1)
        ]

    def _token(self, seq: int) -> str:
        return self._tokens[seq % len(self._tokens)]

    def answered(self, load: Load, first: int | None = None) -> None:
        """Which of those that were made last, or from *first* on, got their 200."""
        first = self._first if first is None else first
        for number, status in enumerate(load.answers):
            if status == 200:
                self._answered[self._token(first + number)] = first + number

    def lost(self) -> int:
        """Of how many nodes a newer heartbeat was answered than the database holds."""
        with self.server.engine() as connection:
            kept = dict(connection.execute(text("SELECT id, heartbeat_seq FROM node")).tuples().all())
        return sum((kept[token.split("_")[2]] or 0) < seq for token, seq in self._answered.items())
