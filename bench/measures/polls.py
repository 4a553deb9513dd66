"""Unchanged configurations: polls that are answered `304`, beside an empty view."""

from __future__ import annotations

from bench import ours
from bench.figures import figure
from bench.http_requests import beside_empty, poll
from bench.load import drive
from bench.place import Place, say
from bench.results import Results
from bench.scale import Scale

NAME = "polls"
NODES = 100
PIPELINES = 3

SHARE = figure(
    "polls.share", "unchanged polls", "share", "more",
    "`304` answers a second, of nodes in turn over 32 kept connections, as a share of an empty Flask view's of the "
    "same server, asked in the same way just before and just after",
)  # fmt: skip
RATE = figure(
    "polls.rate", "unchanged polls", "/s", "more", "the same as a rate, which depends on the machine"
)
P99 = figure("polls.p99", "unchanged polls, p99", "ms", "less", "with 32 at once all the time")
EMPTY_RATE = figure(
    "polls.empty", "an empty view", "/s", "-", "the unit: the same server's view that returns ''"
)
CPU = figure(
    "polls.cpu", "processor time of an unchanged poll", "µs", "less", "of the workers, without PostgreSQL's"
)
EMPTY_CPU = figure("polls.empty_cpu", "processor time of an empty request", "µs", "-", "of the workers")
CLIENT = figure(
    "polls.client", "load client while polling", "% of a core", "-", "what the client itself takes"
)


def measure(place: Place, scale: Scale, results: Results) -> None:
    """On PostgreSQL, each node with a configuration of three pipelines."""
    with ours.running(place) as server:
        tokens = server.enroll(NODES)
        for number in range(PIPELINES):
            server.deploy(server.create_pipeline(f"bench-{number}"))
        requests = [
            poll(server.server.url, token, server.config(index).headers["ETag"])
            for index, token in enumerate(tokens)
        ]
        drive(server.server.url, requests, passes=3, seconds=60)  # each token once to each worker
        for number in range(scale.rounds):
            if not place.has_time:
                return
            say(f"{NAME}: round {number + 1} of {scale.rounds}")
            one = beside_empty(server.server, lambda _: requests, scale.load_seconds)
            assert set(one.load.statuses) == {304}, f"polls were answered with {one.load.statuses}"
            results.record(SHARE, one.share)
            results.record(RATE, one.load.rate)
            results.record(P99, one.load.p99_ms)
            results.record(EMPTY_RATE, one.empty_rate)
            results.record(CPU, one.cpu_us)
            results.record(EMPTY_CPU, one.empty_cpu_us)
            results.record(CLIENT, 100 * one.load.client_cores)
