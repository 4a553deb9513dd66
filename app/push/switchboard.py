"""The one thing that the rest of the server knows of the push channel.

In every process it publishes and answers who is connected; in a worker that holds sockets it also knows that
``worker``.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import gevent

from agent.protocol import CloseCode
from app.push import messages
from app.push.channels import Channels
from app.push.connection import Connection, Transport
from app.push.fleet_watch import FleetWatch
from app.push.hub import Hub
from app.push.loads import Loads
from app.push.messages import Close, Message, Nudge, Subject
from app.push.presence import Presence, Registry
from app.push.publisher import Publisher
from app.push.redis_gate import RedisAwayError, RedisGate
from app.push.shedding import Shedding
from app.push.standing import Questions
from app.push.taps import Tap, TapReaper, Taps
from app.push.worker import Worker

log = logging.getLogger("signalbox.push")


@dataclass(frozen=True, slots=True)
class NudgeOutcome:
    """``pushed``: for how many nodes a worker with their socket took the nudge; ``error``: why for none."""

    pushed: int
    error: str | None


class Switchboard:
    """See the module. Connects to Redis when it is first asked something."""

    def __init__(
        self, redis_url: str, prefix: str, questions: Questions, sweep_seconds: float, max_sockets: int
    ) -> None:
        self._redis_url = redis_url
        self._questions = questions
        self._sweep_seconds = sweep_seconds
        self._max_sockets = max_sockets
        self.gate = RedisGate(redis_url)
        self._channels = Channels(prefix)
        self._registry = Registry(self.gate, prefix)
        self._publisher = Publisher(self.gate, self._channels)
        self._loads = Loads(self.gate, prefix)
        self.taps = Taps(self.gate, prefix)
        self.worker: Worker | None = None

    # in every process

    def nudge(
        self, node_ids: Sequence[str], message: Message, subject: Subject | None = None
    ) -> NudgeOutcome:
        """Publish *message* to the nodes. Never raises: what is not pushed is polled."""
        return self._nudged(lambda: self._publisher.publish(node_ids, Nudge(message, subject)))

    def nudge_each(self, nudges: Sequence[tuple[str, Message, Subject]]) -> NudgeOutcome:
        """As ``nudge``, with a message of its own for each node: node id, message, and who wants to know."""
        envelopes = [(node_id, Nudge(message, subject)) for node_id, message, subject in nudges]
        return self._nudged(lambda: self._publisher.publish_each(envelopes))

    def _nudged(self, publish: Callable[[], int]) -> NudgeOutcome:
        try:
            return NudgeOutcome(publish(), None)
        except RedisAwayError as error:
            return NudgeOutcome(0, f"{error} Nodes learn of it by polling, or once Redis is back.")

    def close(self, node_ids: Sequence[str], code: int, reason: str) -> None:
        """Close the nodes' sockets, whichever workers hold them; without Redis the sweep does it later."""
        try:
            if code == CloseCode.POLICY:
                self._registry.forget(node_ids)  # gone from the page before the goodbye is said
            self._publisher.publish(node_ids, Close(code, reason))
        except RedisAwayError as error:
            log.warning("sockets not closed now nodes=%d reason=%s: %s", len(node_ids), reason, error)

    def presence(self, node_ids: Sequence[str]) -> dict[str, Presence]:
        """The presence of each node; unknown while Redis is away, and until its return has been digested."""
        try:
            found = self._registry.of(node_ids)
        except RedisAwayError as error:
            return dict.fromkeys(node_ids, Presence(connected=None, unknown_since=error.since))
        since = self.gate.unsure_since
        if since is None:
            return found
        unknown = Presence(connected=None, unknown_since=since)
        return {node: presence if presence.connected else unknown for node, presence in found.items()}

    def connected(self) -> dict[str, int | None] | None:
        """Every node with a channel, as ``Registry.connected`` says; ``None`` while nobody can say of the others."""
        try:
            found = self._registry.connected()
        except RedisAwayError:
            return None
        return found if self.gate.unsure_since is None else None

    @property
    def unknown_since(self) -> datetime | None:
        """Since when nobody can say who is connected; ``None`` while Redis answers."""
        return self.gate.unsure_since

    def publish_fleet_changed(self, environment_id: str, node_ids: Iterable[str]) -> None:
        """Tell open fleet pages, in every worker, that something about these nodes has changed."""
        self._publisher.tell_fleet(environment_id, list(node_ids))

    # in a worker

    @property
    def hub(self) -> Hub | None:
        """This worker's sockets; ``None`` in a process that holds none."""
        return self.worker.hub if self.worker is not None else None

    @property
    def draining(self) -> bool:
        """Whether this worker has been told to go."""
        return self.worker is not None and self.worker.draining

    def start(self, worker_id: str, label: str) -> None:
        """Make this process a worker that holds sockets, served by the calling thread's gevent loop."""
        self.worker = Worker(
            worker_id,
            label,
            self._redis_url,
            self._channels,
            self._publisher,
            self._registry,
            self._questions,
            self._sweep_seconds,
        )
        self.worker.start()
        self.worker.spawn("shedding", Shedding(self.worker, self._loads, self._max_sockets).run)
        self.worker.spawn("taps", TapReaper(self.taps, self._stop_tap).run)

    def _stop_tap(self, tap: Tap) -> None:
        self.nudge([tap.node_id], messages.tap_stop(tap.request_id))

    def start_in_thread(self, worker_id: str, label: str) -> None:
        """As ``start``, in a native thread of its own: for servers whose threads are not greenlets."""
        ready = threading.Event()

        def run() -> None:
            self.start(worker_id, label)
            ready.set()
            while True:
                gevent.sleep(3600)

        threading.Thread(target=run, name="switchboard", daemon=True).start()
        if not ready.wait(10.0):
            raise RuntimeError("cannot start the push channel: its thread does not come up")

    def claim(self, connection: Connection) -> None:
        """Claim the node for a new *connection*, before its handshake is answered.

        :raises HeldOffError: another agent holds the node, or this one comes too often.
        """
        assert self.worker is not None
        self.worker.claims.admit(connection)

    def watch_fleet(self) -> FleetWatch:
        """A context manager that hears which nodes have changed anywhere."""
        if self.worker is None:
            return FleetWatch(lambda watch: None, lambda watch: None)
        return FleetWatch(self.worker.watch, self.worker.unwatch)


def new_connection(
    node_id: str,
    environment_id: str,
    transport: Transport,
    address: str,
    revision: str | None,
    instance: str | None,
    since_ms: int | None = None,
) -> Connection:
    """A connection of the node that nothing knows of yet.

    Whoever makes many at once says *since_ms* when (wall clock): one number for all, in memory, too.
    """
    return Connection(
        node_id=node_id,
        # Equal in thousands of connections: one string for all of them.
        environment_id=sys.intern(environment_id),
        connection_id=_short(os.urandom(8)),
        fence=0,
        transport=transport,
        since_ms=since_ms if since_ms is not None else now_ms(),
        address=sys.intern(address.replace(" ", "") or "-"),
        revision=sys.intern(revision) if revision is not None else None,
        instance=_short(hashlib.sha256(instance.encode()).digest()) if instance is not None else None,
    )


def now_ms() -> int:
    """Milliseconds of the wall clock."""
    return int(time.time() * 1000)


def _short(data: bytes) -> str:
    """Sixty bits in twelve characters: enough to tell the connections and runs of one node's agent apart.

    Every socket keeps two of these, here and in Redis, for as long as it is open.
    """
    return base64.b32encode(data[:8])[:12].decode().lower()


__all__ = ["NudgeOutcome", "Presence", "Switchboard", "new_connection", "now_ms"]
