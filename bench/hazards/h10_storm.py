"""Hazard 10, a storm of deploys: more messages than a worker could write one by one."""

from __future__ import annotations

import time

import hiredis

from app.push import messages
from app.push.channels import Channels
from app.push.publisher import Publisher
from app.push.redis_gate import RedisGate
from bench import ours
from bench.hazards import compared, without
from bench.load import Crowd
from bench.place import Place, processor_seconds
from bench.scale import Scale

SHOWER_MESSAGES = {"tiny": 10_000}
MOST_SHOWER_MESSAGES = 100_000
"""Few enough that what a worker has not read yet always finds room in Redis."""
STORM_MESSAGES = {"tiny": 30_000}
MOST_STORM_MESSAGES = 190_000
"""A fourth more bytes than Redis keeps for a subscriber: who reads a third of them meanwhile is never cut."""
QUIET_SECONDS = 8.0
"""Without the rule a worker reads for seconds before it writes anything."""
MOST_SECONDS = 60.0
PORTION = 64 * 1024
AT_ONCE = 16 * 1024 * 1024
RULE = (
    "all bytes that are there are fed to the reader at once, and each message is written before the next one is "
    "looked at"
)

LAG = compared(
    "h10_lag", "last frame after a shower of deploys", "ms", "less",
    f"from the end of {MOST_SHOWER_MESSAGES:,} messages to all nodes of one worker, published as fast as Redis takes "
    "them, until the last socket has read its last frame", RULE,
)  # fmt: skip
COST = compared(
    "h10_cost", "processor time of a message in a shower", "µs", "less", "of the worker, by message published"
)
FRAMES = compared(
    "h10_frames",
    "frames that a node reads of a shower",
    "frames",
    "less",
    "those that meet in one turn are one",
)
CUTS = compared(
    "h10_cuts", "subscribers that Redis cut in a storm", "times", "less",
    f"of {MOST_STORM_MESSAGES:,} messages at once, 40 MB, where it keeps 32 for a subscriber",
)  # fmt: skip
TOLD = compared(
    "h10_told", "nodes that hear the last deploy of a storm", "%", "more",
    "by its push; what a subscriber had not read when it was cut is lost, and found by the next sweep",
)  # fmt: skip
READER = compared(
    "h10_reader", "a message read by hiredis", "µs", "less",
    f"fed {PORTION // 1024} KiB at a time", f"{AT_ONCE >> 20} MiB at once",
)  # fmt: skip


def run(place: Place, scale: Scale, *, kept: bool) -> dict[str, float]:
    """One worker holds all; the messages are published as the switchboard publishes a deploy's."""
    with ours.running(place, workers=1, settings=without("storm", kept)) as server:
        tokens = server.enroll(scale.nodes)
        server.create_pipeline()
        headers = {"X-Config-Revision": server.follow()}
        ids = [server.node_id(index) for index in range(len(tokens))]
        pids = server.server.worker_pids()
        with Crowd([server.websocket_url], tokens, headers=headers) as crowd:
            crowd.reconnect(1)
            assert crowd.connect(rate=1500).refused == 0
            ours.wait_until_held(server.held, len(ids))
            crowd.forget()
            cpu = processor_seconds(pids)
            times = max(1, SHOWER_MESSAGES.get(scale.name, MOST_SHOWER_MESSAGES) // len(ids))
            _, published_at = _publish(server, ids, times)
            frames = _until_quiet(crowd, QUIET_SECONDS)
            shower = {
                LAG: max(0.1, (max(crowd.dump("last")) - published_at) / 1e6),
                COST: 1e6 * (processor_seconds(pids) - cpu) / (times * len(ids)),
                FRAMES: frames / len(ids),
            }
            assert _cuts(server) == 0, "a shower has cut the subscriber"
            crowd.forget()
            times = max(1, STORM_MESSAGES.get(scale.name, MOST_STORM_MESSAGES) // len(ids))
            last_began_at, _ = _publish(server, ids, times)
            _until_quiet(crowd, QUIET_SECONDS)
            told = sum(at >= last_began_at for at in crowd.dump("last"))
        return {
            **shower,
            CUTS: _cuts(server),
            TOLD: 100 * told / len(ids),
            READER: _reader_us(PORTION if kept else AT_ONCE),
        }


def _cuts(server: ours.Ours) -> int:
    return server.server.log.read_text().count("subscriber lost")


def _until_quiet(crowd: Crowd, seconds: float) -> int:
    """How many frames have been read when for so long no more come."""
    count, waited = -1, 0.0
    while waited < MOST_SECONDS and (state := crowd.state(seconds)).messages != count:
        count = state.messages
        waited += seconds
    return count


def _publish(server: ours.Ours, ids: list[str], times: int) -> tuple[int, int]:
    """When the last deploy's messages began and when Redis had taken them, in nanoseconds."""
    gate = RedisGate(server.server.settings["SIGNALBOX_REDIS_URL"])
    publisher = Publisher(gate, Channels("signalbox:"))
    nudge = messages.Nudge(messages.config_changed("deploy", "p" * 32), None)
    began_at = 0
    for _ in range(times):
        began_at = time.monotonic_ns()
        publisher.publish(ids, nudge)
    published_at = time.monotonic_ns()
    gate.client.close()
    return began_at, published_at


def _reader_us(portion: int) -> float:
    """What one message costs when so many bytes are fed before any is taken."""
    channel = b"signalbox:node:{" + b"n" * 32 + b"}"
    data = b"nudge - config_changed " + b"x" * 90
    reply = b"*3\r\n$7\r\nmessage\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n" % (len(channel), channel, len(data), data)
    count = AT_ONCE // len(reply)
    stream = reply * count
    reader = hiredis.Reader()
    began = time.process_time()
    for start in range(0, len(stream), portion):
        reader.feed(stream[start : start + portion])
        while reader.gets() is not False:
            pass
    return 1e6 * (time.process_time() - began) / count
