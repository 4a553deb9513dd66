"""Heartbeats of three pipelines each, on PostgreSQL and SQLite, beside an empty view."""

from __future__ import annotations

from contextlib import ExitStack

from sqlalchemy import text

from bench import ours
from bench.figures import OURS, figure
from bench.http_requests import beside_empty, heartbeat
from bench.load import Load, drive
from bench.place import Place, say
from bench.results import Results
from bench.scale import Scale

NAME = "heartbeats"
NODES = 300
ALONE = "alone"
"""Ours with a transaction of its own for each heartbeat."""
PIPELINES = 3

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
        for (kind, _), each in beats.items():
            lost = each.lost()
            assert not lost, f"{lost} nodes' heartbeats were answered with 200 and are not in {kind}"


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
        self._first = self._seq + 1
        self._seq += count
        return [
            heartbeat(self._token(seq), seq, self._pipelines) for seq in range(self._first, self._seq + 1)
        ]

    def _token(self, seq: int) -> str:
        return self._tokens[seq % len(self._tokens)]

    def answered(self, load: Load) -> None:
        """Which of those that were made last got their 200."""
        for number, status in enumerate(load.answers):
            if status == 200:
                self._answered[self._token(self._first + number)] = self._first + number

    def lost(self) -> int:
        """Of how many nodes a newer heartbeat was answered than the database holds."""
        with self.server.engine() as connection:
            kept = dict(connection.execute(text("SELECT id, heartbeat_seq FROM node")).tuples().all())
        return sum((kept[token.split("_")[2]] or 0) < seq for token, seq in self._answered.items())
