"""A hundred thousand sockets: what they cost, that all are told, and that none is lost."""

from __future__ import annotations

import math
import secrets
import statistics
import threading
import time
from types import SimpleNamespace
from typing import Any

import redis

from app.push.entries import Entry
from app.push.presence import Registry
from app.push.presence_audit import differing
from app.push.redis_gate import RedisGate
from app.push.upkeep import ENTRIES_A_WRITE
from bench import ours
from bench.figures import figure
from bench.load import LINKS_A_PROCESS, Crowd
from bench.place import Place, processor_seconds, pss, say
from bench.results import Results
from bench.scale import Scale
from tools.redis_server import RedisServer

NAME = "large_crowd"
SOCKETS_A_WORKER = 16_000
FAN_OUTS = 3
AUDITED = 10_000
TOLD_SECONDS = 120.0

COUNT = figure("large_crowd.sockets", "sockets of the large crowd", "sockets", "-", "how many were open")
MEMORY = figure(
    "large_crowd.memory", "memory of each", "KiB", "less", "PSS of all workers, less that of the empty ones"
)
REDIS = figure(
    "large_crowd.redis", "Redis's memory of each", "bytes", "less", "`used_memory`, less that of an empty one"
)
CONNECTED = figure(
    "large_crowd.connected", "until all were connected", "s", "less", "as fast as they were answered"
)
ALL_TOLD = figure(
    "large_crowd.all_told", "all of them told", "ms", "less", "from the deploy call until the last has heard"
)  # fmt: skip
MEDIAN_TOLD = figure(
    "large_crowd.median_told", "median of them told", "ms", "less", "the same for the median node"
)
IDLE = figure(
    "large_crowd.idle", "processor time of the workers while idle", "% of a core", "less",
    "keepalive of each socket every 25 s, presence audits every 10 s, sweeps every 30 s",
)  # fmt: skip
REDIS_IDLE = figure(
    "large_crowd.redis_idle", "processor time of Redis meanwhile", "% of a core", "less", "leases, audits, echoes"
)  # fmt: skip
AUDIT = figure(
    "large_crowd.audit", "one presence audit of 10,000 sockets, the worker's part", "ms", "less",
    "processor time of reading and comparing the entries, which each worker does for its sockets every 10 s",
)  # fmt: skip
AUDIT_REDIS = figure(
    "large_crowd.audit_redis", "one presence audit of 10,000 sockets, Redis's part", "ms", "less", "the same in Redis"
)  # fmt: skip
LOST = figure(
    "large_crowd.lost",
    "sockets lost while idle",
    "sockets",
    "less",
    "in ten minutes at full scale, but those that a worker with too many sent elsewhere (1001)",
)
REACHED = figure(
    "large_crowd.reached", "sockets of the largest crowd", "sockets", "more",
    "how many were open together when they were added until one was refused or lost, or the goal was reached",
)  # fmt: skip


def measure(place: Place, scale: Scale, results: Results) -> None:
    """Once: it takes a quarter of an hour."""
    _audit(place, results)
    _crowd(place, scale, results)
    if scale.crowd_most > scale.crowd and place.has_time:
        _reach(place, scale, results)


def _crowd(place: Place, scale: Scale, results: Results) -> None:
    count = scale.crowd
    workers = max(2, math.ceil(count / SOCKETS_A_WORKER))
    say(
        f"{NAME}: {count} sockets on {workers} workers, {math.ceil(count / LINKS_A_PROCESS)} client processes"
    )
    with ours.running(place, workers=workers) as server:
        server.enroll(count)
        pipeline = server.create_pipeline()
        headers = {"X-Config-Revision": server.follow()}
        pids = server.server.worker_pids()
        with Crowd([server.websocket_url], server.tokens, headers=headers) as crowd:
            crowd.reconnect(60)
            empty, stored = pss(pids), _stored(server)
            state = crowd.connect(seconds=1200)
            results.record(CONNECTED, (state.settled_at - state.dialed_at) / 1e9)
            ours.wait_until_held(server.held, count, 300)
            say(f"{NAME}: {state.open} are open")
            state = crowd.state(15)
            results.record(COUNT, state.open)
            results.record(MEMORY, (pss(pids) - empty) / 1024 / count)
            results.record(REDIS, (_stored(server) - stored) / count)
            say(f"{NAME}: {scale.crowd_seconds:.0f} s of idling")
            began, cpu, redis_cpu = time.monotonic(), processor_seconds(pids), redis_seconds(server.store)
            crowd.forget()
            state = crowd.state(scale.crowd_seconds)
            took = time.monotonic() - began
            results.record(IDLE, 100 * (processor_seconds(pids) - cpu) / took)
            results.record(REDIS_IDLE, 100 * (redis_seconds(server.store) - redis_cpu) / took)
            say(f"{NAME}: lost {state.lost}, goodbyes {dict(state.goodbyes)}")
            results.record(LOST, state.cut)
            for number in range(FAN_OUTS):
                say(f"{NAME}: fan-out {number + 1} of {FAN_OUTS}")
                _tell_all(server, pipeline, crowd, results)


def _tell_all(server: ours.Ours, pipeline: str, crowd: Crowd, results: Results) -> None:
    crowd.forget()
    count = crowd.state().open
    thread = threading.Thread(target=server.deploy, args=(pipeline,))
    called = time.monotonic_ns()
    thread.start()
    state = crowd.wait("heard", None, TOLD_SECONDS)
    thread.join()
    assert state.heard == count, f"{state.heard} of {count} were told within {TOLD_SECONDS:.0f} s"
    spans = [(at - called) / 1e6 for at in crowd.dump("first") if at]
    results.record(ALL_TOLD, max(spans))
    results.record(MEDIAN_TOLD, statistics.median(spans))
    server.settle()


def _stored(server: ours.Ours) -> int:
    return int(server.store.info("memory")["used_memory"])


def redis_seconds(store: redis.Redis) -> float:
    """Processor time of that Redis since it began."""
    info = store.info("cpu")
    return float(info["used_cpu_sys"]) + float(info["used_cpu_user"])


def _audit(place: Place, results: Results) -> None:
    """What the audit of a worker's own entries costs when all are there already, as they nearly always are."""
    with place.redis() as server:
        _time_audits(server, results)


def _time_audits(server: RedisServer, results: Results) -> None:
    gate = RedisGate(server.url)
    registry = Registry(gate, "signalbox:")
    since = int(time.time() * 1000)
    entries = {
        secrets.token_hex(16): Entry(
            number, secrets.token_hex(8), "w" * 32, "ws", since, "host:1", "127.0.0.1", True
        )
        for number in range(1, AUDITED + 1)
    }
    ordered = list(entries.items())
    for start in range(0, AUDITED, ENTRIES_A_WRITE):
        registry.restore(dict(ordered[start : start + ENTRIES_A_WRITE]))
    held: Any = [SimpleNamespace(node_id=node_id, fence=e.fence, subscribed=True) for node_id, e in ordered]
    for _ in range(5):
        own, theirs = time.process_time(), redis_seconds(gate.client)
        assert not differing(registry, held)
        results.record(AUDIT, 1000 * (time.process_time() - own))
        results.record(AUDIT_REDIS, 1000 * (redis_seconds(gate.client) - theirs))
    gate.client.close()


def _reach(place: Place, scale: Scale, results: Results) -> None:
    """As many as there can be."""
    workers = math.ceil(scale.crowd_most / SOCKETS_A_WORKER)
    say(f"{NAME}: towards {scale.crowd_most} sockets on {workers} workers")
    with ours.running(place, workers=workers) as server:
        server.enroll(scale.crowd_most)
        server.create_pipeline()
        headers = {"X-Config-Revision": server.follow()}
        reached = 0
        with Crowd([server.websocket_url], server.tokens, headers=headers) as crowd:
            for goal in range(25_000, scale.crowd_most + 25_000, 25_000):
                state = crowd.connect(min(goal, scale.crowd_most), seconds=300)
                say(
                    f"{NAME}: {state.open} open, {state.refused} refused {dict(state.statuses)}, {state.lost} lost"
                )
                reached = max(reached, state.open)
                if state.refused or state.lost or not place.has_time:
                    break
        results.record(REACHED, reached)
