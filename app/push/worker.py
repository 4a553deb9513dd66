"""What a worker that holds sockets does: it hears, writes, looks and sweeps, and keeps its presence up.

Each loop is a greenlet; if one ends, the worker says so and exits, and gunicorn starts a clean one.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import gevent
from gevent.event import Event

from agent.protocol import REPLACED, CloseCode
from app.push import watchdog
from app.push.broker import Subscriber
from app.push.channels import OTHER, Channels
from app.push.claims import Claims
from app.push.connection import Connection
from app.push.fleet_watch import FleetWatch
from app.push.hub import Hub
from app.push.inbox import gather
from app.push.messages import ACTION_SUBJECT, PREFIXES, Close, Message, Receipt
from app.push.presence import Registry
from app.push.publisher import Publisher
from app.push.records import Records
from app.push.redis_gate import RedisAwayError
from app.push.redis_guard import RedisGuard
from app.push.standing import Questions, Span
from app.push.sweep import Sweep
from app.push.upkeep import Upkeep
from app.push.vitals import Vitals

ECHO_SECONDS = 2.0
LOOK_SECONDS = 0.05
DRAIN_SECONDS = 2.0
TIDY_SECONDS = 60.0
HISTORY_SECONDS = 5.0
"""How long what belongs into a history waits for others to be written with."""

log = logging.getLogger("signalbox.push")


class Worker:
    """This worker's part of the push channel; *worker_id* is new for each process start, *label* ``host:pid``."""

    def __init__(
        self,
        worker_id: str,
        label: str,
        redis_url: str,
        channels: Channels,
        publisher: Publisher,
        registry: Registry,
        questions: Questions,
        sweep_seconds: float,
        bounds: Mapping[str, float] = watchdog.BOUNDS_SECONDS,
    ) -> None:
        self.worker_id = worker_id
        self.label = label
        self._channels = channels
        self._publisher = publisher
        self._registry = registry
        self._questions = questions
        self._sweep_seconds = sweep_seconds
        self._owner_thread = threading.get_ident()
        self._loop = gevent.get_hub().loop
        self.hub = Hub(self._on_closed, self._on_written)
        self._subscriber = Subscriber(
            redis_url,
            channels,
            self._is_wanted,
            self._all_wanted,
            self._on_messages,
            self._on_subscribed,
            self._on_recovered,
        )
        self._sweep = Sweep(self.hub, questions, self._renew, label)
        self.draining = False
        self._watches: set[FleetWatch] = set()
        self._to_look: set[str] = set()
        self._look_wanted = Event()
        self._sweep_wanted = Event()
        self._has_recovered = False
        self._records = Records(registry, publisher, questions)
        self._upkeep = upkeep = Upkeep(worker_id, label, registry, self.hub)
        self.claims = Claims(registry, publisher, self.hub, upkeep.entry, self._call)
        self._guard = RedisGuard(registry.gate, lambda: self._subscriber.run_id, self._subscriber.reconnect)
        self.vitals = Vitals(
            label,
            bounds,
            sweep_seconds,
            {
                "epoll": lambda: self.hub.progressed_at,
                "subscriber": lambda: self._subscriber.progressed_at,
                "sweep": lambda: self._sweep.progressed_at,
            },
        )
        upkeep.join(self.claims, self._records, self.vitals)

    def start(self) -> None:
        """Set the greenlets to work."""
        self._upkeep.renew_lease()
        for name, run in {
            "hub": self.hub.run,
            "ticks": self._run_ticks,
            "reader": self._subscriber.run_reader,
            "flusher": self._subscriber.run_flusher,
            "leases": self._upkeep.run_leases,
            "audit": self._upkeep.run_audits,
            "echo": self._run_echo,
            "look": self._run_look,
            "sweep": self._run_sweep,
            "records": self._records.run,
            "reaper": self._upkeep.run_reaper,
            "tidying": self._run_tidying,
            "history": self._run_history,
            "guard": self._guard.run,
        }.items():
            self.spawn(name, run)
        self.vitals.watchdog.start()

    def spawn(self, name: str, run: Callable[[], None]) -> None:
        """Set a greenlet to work that this worker cannot live without."""
        self.vitals.greenlets[name] = greenlet = gevent.spawn(run)
        greenlet.link(lambda greenlet: self._ended(name, greenlet))

    def _ended(self, name: str, greenlet: Any) -> None:
        log.critical(
            "worker %s cannot go on: its %s greenlet ended: %r", self.label, name, greenlet.exception
        )
        logging.shutdown()
        os._exit(watchdog.EXIT_CODE)

    # connections come and go

    def give_up(self, connection: Connection) -> None:
        """The handshake of a claimed connection failed."""
        self._records.ended(connection, by_itself=True)

    def adopt(self, connection: Connection) -> None:
        """Hold *connection* from here on: subscribe first, look second."""
        self._call(lambda: self._adopt(connection))

    def _adopt(self, connection: Connection) -> None:
        self.hub.add(connection)
        log.info(
            "channel opened node=%s connection=%s transport=%s worker=%s address=%s revision=%s",
            connection.node_id,
            connection.connection_id,
            connection.transport,
            self.label,
            connection.address,
            connection.revision or "-",
        )
        self._subscriber.changed([connection.node_id])
        if self.draining:
            self.hub.close(connection, CloseCode.GOING_AWAY, "going away")

    def lose(self, connection: Connection, reason: str) -> None:
        """The loop that served *connection* has ended."""
        self._call(lambda: self.hub.drop(connection, reason))

    def _call(self, function: Callable[[], None]) -> None:
        """Run *function* in the hub's thread and wait for it; servers with real threads call from others."""
        if threading.get_ident() == self._owner_thread:
            function()
            return
        done = threading.Event()

        def run() -> None:
            function()
            done.set()

        self._loop.run_callback_threadsafe(run)
        if not done.wait(5.0):
            raise RuntimeError("cannot hand a connection to the hub: its thread does not answer")

    def watch(self, watch: FleetWatch) -> None:
        """Tell *watch* which nodes change, from now on."""
        self._watches.add(watch)
        self._subscriber.changed([self._channels.fleet_key])

    def unwatch(self, watch: FleetWatch) -> None:
        """No longer."""
        self._watches.discard(watch)
        self._subscriber.changed([self._channels.fleet_key])

    # the end

    def begin_drain(self) -> None:
        """Refuse new sockets from now on and close the others with ``1001``, spread over two seconds."""
        if self.draining:
            return
        self.draining = True
        self.vitals.watchdog.stop()  # gunicorn bounds the end
        for watch in list(self._watches):
            watch.notify(())
        gevent.spawn(self._drain)

    def _drain(self) -> None:
        connections = self.hub.connections()
        log.info("draining worker=%s sockets=%d", self.label, len(connections))
        deadline = time.monotonic() + DRAIN_SECONDS
        for number, connection in enumerate(connections):
            self.hub.close(connection, CloseCode.GOING_AWAY, "going away")
            share = max(0.0, deadline - time.monotonic()) / (len(connections) - number)
            gevent.sleep(min(share, 0.05))

    def finish_drain(self) -> None:
        """The worker's last act: close what came in meanwhile, take the lease and the entries back."""
        self.begin_drain()
        deadline = time.monotonic() + DRAIN_SECONDS + 1.0
        while time.monotonic() < deadline and (len(self.hub) or self.hub.is_lingering):
            gevent.sleep(0.05)
            if time.monotonic() > deadline - 1.0:
                for connection in self.hub.connections():
                    self.hub.close(connection, CloseCode.GOING_AWAY, "going away")
        self.vitals.tally.pour()
        self._write_history()
        try:
            self._records.flush()
            self._registry.end_lease(self.worker_id)
        except RedisAwayError as error:
            log.warning("lease not ended worker=%s: %s", self.label, error)

    # what hub and subscriber call; none of these yields

    def _renew(self, node_id: str) -> None:
        self._subscriber.renew(node_id)

    def _is_wanted(self, key: str) -> bool:
        if not key.startswith(OTHER):
            return self.hub.get(key) is not None
        return key == self._channels.worker_key(self.worker_id) or (
            key == self._channels.fleet_key and bool(self._watches)
        )

    def _all_wanted(self) -> list[str]:
        wanted = [*self.hub.node_ids(), self._channels.worker_key(self.worker_id)]
        if self._watches:
            wanted.append(self._channels.fleet_key)
        return wanted

    def _on_messages(self, received: list[tuple[str, bytes]]) -> None:
        """All messages of one turn: merged per node first, then one write per node (hazard 10)."""
        others = [item for item in received if item[0].startswith(OTHER)]
        for key, data in others:
            if key == self._channels.fleet_key:
                self._on_fleet_changed(data)
        inbox = (
            gather(item for item in received if not item[0].startswith(OTHER)) if others else gather(received)
        )
        for node_id, order in inbox.orders:
            connection = self.hub.get(node_id)
            if connection is None:
                continue
            if isinstance(order, Close):
                self.hub.close(connection, order.code, order.reason)
            elif connection.fence < order.fence:
                self.hub.replace(connection)
        if inbox.nudges:
            self._deliver(inbox.nudges)

    def _deliver(self, nudges: Mapping[str, Sequence[tuple[Message, Receipt]]]) -> None:
        now = time.monotonic()
        receipts: dict[int, Receipt] = {}
        for node_id, waiting in nudges.items():
            connection = self.hub.get(node_id)
            for message, receipt in waiting:
                receipts[id(receipt)] = receipt
                if connection is not None:
                    self.hub.deliver(connection, message, receipt, now)
        # One line a turn, not one a node: a deploy may concern ten thousand.
        subjects = {subject for receipt in receipts.values() for subject in receipt.subjects}
        deployments = {subject for subject in subjects if not subject.startswith(PREFIXES)}
        log.info(
            "nudges written worker=%s nodes=%d actions=%d deployments=%s",
            self.label,
            len(nudges),
            sum(subject.startswith(ACTION_SUBJECT) for subject in subjects),
            ",".join(sorted(deployments)) or "-",
        )

    def _on_fleet_changed(self, data: bytes) -> None:
        node_ids = data.decode(errors="replace").split(" ")[1:]
        for watch in self._watches:
            watch.notify(node_ids)

    def _on_subscribed(self, keys: list[str]) -> None:
        self._to_look.update(key for key in keys if not key.startswith(OTHER))
        if self._to_look:
            self._look_wanted.set()

    def _on_recovered(self) -> None:
        self._has_recovered = True
        self._sweep_wanted.set()
        self._upkeep.hurry()

    def _on_closed(self, connection: Connection, reason: str) -> None:
        self._records.ended(connection, by_itself=reason != REPLACED)
        self._subscriber.changed([connection.node_id])
        self._records.span(
            Span(
                connection.node_id,
                connection.transport,
                datetime.fromtimestamp(connection.since_ms / 1000, UTC),
                datetime.now(UTC),
                reason,
                self.label,
                connection.address,
            )
        )
        log.info(
            "channel closed node=%s connection=%s transport=%s worker=%s seconds=%.1f reason=%s",
            connection.node_id,
            connection.connection_id,
            connection.transport,
            self.label,
            time.time() - connection.since_ms / 1000,
            reason,
        )

    def _on_written(self, connection: Connection, receipt: Receipt) -> None:
        now = time.time()
        self.vitals.tally.add(receipt.published_us, now)
        self._records.written(connection, receipt.subjects, now)

    # the greenlets

    def _run_ticks(self) -> None:
        while True:
            gevent.sleep(1.0)
            self.hub.tick()
            self.vitals.ticked()

    def _run_echo(self) -> None:
        """Speak to ourselves: a subscriber that does not hear it is dead, whatever its socket says."""
        while True:
            try:
                self._publisher.publish_raw(self._channels.worker(self.worker_id), "echo")
            except RedisAwayError:
                pass  # the reader notices the silence
            gevent.sleep(ECHO_SECONDS)

    def _run_look(self) -> None:
        """New connections whose subscription is confirmed: show them, and nudge who is not up to date."""
        while True:
            self._look_wanted.wait()
            self._look_wanted.clear()
            gevent.sleep(LOOK_SECONDS)
            node_ids, self._to_look = self._to_look, set()
            fresh = [c for n in node_ids if (c := self.hub.get(n)) is not None and not c.subscribed]
            if not fresh:
                continue
            for connection in fresh:
                connection.subscribed = True
                if not connection.fence:
                    self.claims.claim(connection)  # Redis was away when it came
            self._upkeep.write_entries(fresh)
            self._sweep.look(fresh)
            for environment_id in {connection.environment_id for connection in fresh}:
                self._publisher.tell_fleet(
                    environment_id, [c.node_id for c in fresh if c.environment_id == environment_id]
                )

    def _run_sweep(self) -> None:
        while True:
            self._sweep_wanted.wait(timeout=self._sweep_seconds)
            self._sweep_wanted.clear()
            at_once, self._has_recovered = self._has_recovered, False
            self._sweep.run_once(at_once=at_once)

    def _run_history(self) -> None:
        while True:
            gevent.sleep(HISTORY_SECONDS * random.uniform(0.8, 1.2))
            self._write_history()

    def _write_history(self) -> None:
        self._records.write_spans()
        try:
            self._questions.write_metrics()
        except Exception:
            log.exception("cannot write down metrics")

    def _run_tidying(self) -> None:
        while True:
            gevent.sleep(TIDY_SECONDS)
            try:
                self._questions.tidy_up()
            except Exception:
                log.exception("cannot tidy up")
