"""What sockets cost and how fast all of them are told, ours beside the peers, in turn."""

from __future__ import annotations

import statistics
import threading
import time
from contextlib import AbstractContextManager
from dataclasses import replace

from bench import ours, peers
from bench.contender import Contender
from bench.figures import OURS, figure
from bench.load import Crowd, LoadError
from bench.place import Place, processor_seconds, pss, say
from bench.results import Results, percentile
from bench.scale import Scale

NAME = "sockets"
WARM = 400
"""Sockets that are open before memory is counted: then all is imported and a burst of dials was served."""
TOLD_SECONDS = 60.0
FIRST_SETTLE_SECONDS = 3.0

MEMORY = figure(
    "sockets.memory", "memory of an idle socket", "KiB", "less",
    "PSS of the workers with all sockets idle, less what it was with the first 400, by socket",
)  # fmt: skip
REDIS = figure(
    "sockets.redis", "Redis's memory for a node", "bytes", "less",
    "`used_memory` with all sockets idle, less what it was with the first 400, by socket: presence and subscription",
)  # fmt: skip
UPGRADES = figure(
    "sockets.upgrades", "upgrades a second", "/s", "more",
    "WebSocket handshakes, each with a token of its own that is looked up (ours in PostgreSQL, the peers' in Redis), "
    "200 under way",
)  # fmt: skip
IDLE = figure(
    "sockets.idle", "processor time while idle", "% of a core", "less",
    "of all workers while nothing happens: pings, presence, and ours sweeps",
)  # fmt: skip
PUSH_P50 = figure(
    "sockets.push_p50", "one push, median", "ms", "less",
    "from before `PUBLISH` on one node's channel until the client has read the frame",
)  # fmt: skip
PUSH_P99 = figure("sockets.push_p99", "one push, p99", "ms", "less", "the same, 99 of 100")
MEDIAN_TOLD = figure(
    "sockets.median_told", "median node told", "ms", "less",
    "from the start of the call that tells all until the median client has read its frame",
)  # fmt: skip
ALL_TOLD = figure(
    "sockets.all_told", "all told", "ms", "less",
    "from the start of the call that tells all (ours: a deploy, with its version row and its transaction) until the "
    "last client has read its frame; each node's message is published on a channel or room of its own, and the next "
    "call begins when nothing of the last one is left to be written down",
)  # fmt: skip
CALL = figure("sockets.call", "the call that tells all", "ms", "less", "how long its caller waits")
CLIENT_TOLD = figure(
    "sockets.client_told", "load client while all are told", "% of a core", "-",
    "what the measuring client itself takes while the fan-out runs",
)  # fmt: skip
CLIENT_UPGRADES = figure(
    "sockets.client_upgrades", "load client while connecting", "% of a core", "-",
    "what the measuring client itself takes while it connects",
)  # fmt: skip


def measure(place: Place, scale: Scale, results: Results) -> None:
    """Rounds, in each of which every contender has its turn; the order is turned round by round."""
    names = [OURS, *(name for name in peers.PEERS if _may_run(name, results))]
    for number in range(scale.rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            if not place.has_time:
                say(f"{NAME}: no time for more than {number} of {scale.rounds} rounds")
                results.facts.setdefault("leftOut", []).append(f"{NAME}: what was to follow round {number}")
                return
            say(f"{NAME}: round {number + 1} of {scale.rounds}, {name}, {scale.sockets} sockets")
            scale_now = scale if number < scale.idle_rounds else replace(scale, idle_seconds=0)
            if not _try_turn(place, name, scale_now, results):
                names = [each for each in names if each != name]


def _may_run(name: str, results: Results) -> bool:
    reason = peers.missing(name)
    if reason is not None:
        say(f"{NAME}: {name} is left out: {reason}")
        results.facts.setdefault("leftOut", []).append(f"{name}: {reason}")
    return reason is None


def _try_turn(place: Place, name: str, scale: Scale, results: Results) -> bool:
    """One turn, or after a failure another; False if that fails, too. Nothing is kept of one that failed."""
    for is_last in (False, True):
        own = Results()
        try:
            with _contender(place, name, scale.sockets) as contender:
                turn(contender, scale, own)
        except (AssertionError, LoadError, OSError, RuntimeError) as error:
            say(f"{NAME}: {name} failed{'' if is_last else ', once more'}: {error}")
            if is_last:
                results.facts.setdefault("failed", []).append(f"{NAME}, {name}: {error}".splitlines()[0])
            continue
        results.add(own)
        return True
    return False


def _contender(place: Place, name: str, count: int) -> AbstractContextManager[Contender]:
    return ours.contender(place, count) if name == OURS else peers.contender(place, name, count)


def turn(contender: Contender, scale: Scale, results: Results) -> None:
    """All figures of one contender, once; AssertionError where a socket was refused, lost or not told."""
    name = contender.name
    with Crowd(
        contender.urls, contender.tokens, dialect=contender.dialect, headers=contender.headers
    ) as crowd:
        crowd.connect(WARM)
        ours.wait_until_held(contender.held, WARM)
        time.sleep(1)
        memory, stored = pss(contender.pids), _redis_bytes(contender)
        before = crowd.state()
        crowd.reconnect(1)
        state = crowd.connect()
        count = len(contender.tokens) - WARM
        assert state.refused == 0, f"{name} refused {state.statuses}"
        took = (state.settled_at - state.dialed_at) / 1e9
        results.record(UPGRADES, count / took, name)
        results.record(CLIENT_UPGRADES, 100 * (state.cpu - before.cpu) / took, name)
        ours.wait_until_held(contender.held, len(contender.tokens))
        crowd.state(FIRST_SETTLE_SECONDS)  # let what belongs to connecting pass
        results.record(MEMORY, (pss(contender.pids) - memory) / 1024 / count, name)
        results.record(REDIS, (_redis_bytes(contender) - stored) / count, name)
        if scale.idle_seconds:
            _idle(contender, crowd, scale.idle_seconds, results)
        _push(contender, crowd, scale.pushes, results)
        for _ in range(scale.fan_outs):
            _tell_all(contender, crowd, results)


def _redis_bytes(contender: Contender) -> int:
    return int(contender.store.info("memory")["used_memory"])


def _idle(contender: Contender, crowd: Crowd, seconds: float, results: Results) -> None:
    cpu, since = processor_seconds(contender.pids), time.monotonic()
    state = crowd.state(seconds)
    spent = processor_seconds(contender.pids) - cpu
    results.record(IDLE, 100 * spent / (time.monotonic() - since), contender.name)
    assert state.cut == 0, f"{contender.name} lost {state.cut} idle sockets: {state.goodbyes}"


def _push(contender: Contender, crowd: Crowd, count: int, results: Results) -> None:
    spans = []
    for number in range(count):
        index = number * 7919 % len(contender.tokens)
        crowd.forget()
        called = time.monotonic_ns()
        contender.publish_one(index)
        state = crowd.wait("heard", 1, 5)
        assert state.heard == 1, f"{contender.name}: a push to one node was heard by {state.heard}"
        spans.append((crowd.dump("first")[index] - called) / 1e6)
    results.record(PUSH_P50, statistics.median(spans), contender.name)
    results.record(PUSH_P99, percentile(spans, 0.99), contender.name)


def _tell_all(contender: Contender, crowd: Crowd, results: Results) -> None:
    name, count = contender.name, len(contender.tokens)
    crowd.forget()
    time.sleep(0.5)
    before = crowd.state()
    answered: list[tuple[int, int]] = []

    def call() -> None:
        pushed = contender.deploy()
        answered.append((time.monotonic_ns(), pushed))

    thread = threading.Thread(target=call)
    called = time.monotonic_ns()
    thread.start()
    state = crowd.wait("heard", count, TOLD_SECONDS)
    thread.join()
    assert state.heard == count, f"{name}: {state.heard} of {count} were told within {TOLD_SECONDS:.0f} s"
    assert answered, f"{name}: the call that tells all has failed"
    assert answered[0][1] == count, f"{name}: {answered[0][1]} of {count} pushed"
    spans = [(at - called) / 1e6 for at in crowd.dump("first")]
    results.record(MEDIAN_TOLD, statistics.median(spans), name)
    results.record(ALL_TOLD, max(spans), name)
    results.record(CALL, (answered[0][0] - called) / 1e6, name)
    results.record(CLIENT_TOLD, 100 * (state.cpu - before.cpu) / (max(spans) / 1000), name)
    contender.settle()
