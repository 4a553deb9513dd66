"""Puts envelopes on nodes' channels, ten thousand as well as one."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterator, Sequence

from app.push import batches, meters
from app.push.channels import Channels
from app.push.messages import Envelope, pack, stamped
from app.push.redis_gate import RedisAwayError, RedisGate

PUBLISHES_A_BATCH = 1000

log = logging.getLogger("signalbox.push")

Batch = tuple[int, bytes]
"""How many commands, and their bytes."""


class Publisher:
    """Usable from any process."""

    def __init__(self, gate: RedisGate, channels: Channels) -> None:
        self._gate = gate
        self._channels = channels
        self._head = channels.node_head

    def publish(self, node_ids: Sequence[str], envelope: Envelope) -> int:
        """Publish *envelope* to each node; how many of them a worker with their socket took.

        :raises RedisAwayError: Redis is away; some of the first may have been told.
        """
        return self._publish(self._alike(node_ids, pack(stamped(envelope, time.time_ns() // 1000))))

    def publish_each(self, envelopes: Sequence[tuple[str, Envelope]]) -> int:
        """As ``publish``, with an envelope of its own for each node: pairs of node id and envelope.

        :raises RedisAwayError: Redis is away; some of the first may have been told.
        """
        return self._publish(self._each(envelopes, time.time_ns() // 1000))

    def publish_each_heard(self, envelopes: Sequence[tuple[str, Envelope]]) -> list[bool]:
        """As ``publish_each``, of a few; for each node whether a worker took it.

        :raises RedisAwayError: Redis is away; some of the first may have been told.
        """
        now_us = time.time_ns() // 1000
        commands = [
            ("PUBLISH", self._channels.name(node_id), pack(stamped(envelope, now_us)))
            for node_id, envelope in envelopes
        ]
        meters.PUBLISHED.inc(len(commands))
        answers = self._gate.run(lambda client: batches.answers(client, commands))
        return [isinstance(answer, int) and answer > 0 for answer in answers]

    def _publish(self, batches_of_nodes: Iterator[Batch]) -> int:
        # While a socket moves between workers both may hear it: that is still one node.
        return self._gate.run(lambda client: batches.count_taken(client, _counted(batches_of_nodes)))

    def _alike(self, node_ids: Sequence[str], data: bytes) -> Iterator[Batch]:
        """Between two ids of one length stand always the same bytes, so that joining them is all that is done."""
        behind = b"}\r\n$%d\r\n%s\r\n" % (len(data), data)
        for start in range(0, len(node_ids), PUBLISHES_A_BATCH):
            some = node_ids[start : start + PUBLISHES_A_BATCH]
            parts = []
            for length, run in itertools.groupby(some, len):
                before = self._before(length)
                parts += [before, (behind + before).join([node_id.encode() for node_id in run]), behind]
            yield len(some), b"".join(parts)

    def _each(self, envelopes: Sequence[tuple[str, Envelope]], now_us: int) -> Iterator[Batch]:
        for start in range(0, len(envelopes), PUBLISHES_A_BATCH):
            some = envelopes[start : start + PUBLISHES_A_BATCH]
            parts = []
            for node_id, envelope in some:
                data = pack(stamped(envelope, now_us))
                parts.append(
                    b"%s%s}\r\n$%d\r\n%s\r\n"
                    % (self._before(len(node_id)), node_id.encode(), len(data), data)
                )
            yield len(some), b"".join(parts)

    def _before(self, length: int) -> bytes:
        """A command up to a node's id, which has *length* bytes."""
        return b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%s" % (len(self._head) + length + 1, self._head)

    def tell_fleet(self, environment_id: str, node_ids: Sequence[str]) -> None:
        """Tell open fleet pages that these nodes have changed. Never raises: pages also look by themselves."""
        try:
            self.publish_raw(self._channels.fleet, " ".join([environment_id, *node_ids]))
        except RedisAwayError:
            log.debug("fleet pages not told of %d nodes", len(node_ids))

    def publish_raw(self, channel: str, data: str) -> None:
        """Publish on any channel.

        :raises RedisAwayError: Redis is away.
        """
        self._gate.run(lambda client: client.publish(channel, data))


def _counted(batches_of_nodes: Iterator[Batch]) -> Iterator[Batch]:
    for count, data in batches_of_nodes:
        yield count, data
        meters.PUBLISHED.inc(count)
