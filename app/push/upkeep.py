"""Keeps what the registry says of one worker true: its lease, its connections' entries, and the dead ones' gone."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import gevent
from gevent.event import Event

from app.push.connection import Connection
from app.push.entries import Entry
from app.push.hub import Hub
from app.push.presence import Registry
from app.push.presence_audit import differing
from app.push.redis_gate import RedisAwayError

if TYPE_CHECKING:
    from app.push.claims import Claims
    from app.push.records import Records
    from app.push.vitals import Vitals

LEASE_SECONDS = 3.0
AUDIT_SECONDS = 10.0
GAP_SECONDS = 6.0
REAP_SECONDS = 60.0
REAP_TURN_SECONDS = 45
"""One worker of all looks through everybody's entries; after so long the next one may."""
ENTRIES_A_WRITE = 500
"""More at once would hold up the sockets, and a worker that has once needed so much memory keeps it."""

log = logging.getLogger("signalbox.push")


class Upkeep:
    """Three greenlets of a worker, and what writes a connection's entry (hazard 21)."""

    claims: Claims
    records: Records
    vitals: Vitals

    def __init__(self, worker_id: str, label: str, registry: Registry, hub: Hub) -> None:
        self._worker_id = worker_id
        self._label = label
        self._registry = registry
        self._hub = hub
        self._lease_wanted = Event()

    def join(self, claims: Claims, records: Records, vitals: Vitals) -> None:
        """The other parts of the worker that this one needs; some of them need it."""
        self.claims, self.records, self.vitals = claims, records, vitals

    def entry(self, connection: Connection) -> Entry:
        """The connection as the registry knows it."""
        return Entry(
            fence=connection.fence,
            connection_id=connection.connection_id,
            worker_id=self._worker_id,
            transport=connection.transport,
            since_ms=connection.since_ms,
            label=self._label,
            address=connection.address,
            subscribed=connection.subscribed,
            instance=connection.instance,
        )

    def hurry(self) -> None:
        """Redis is back, perhaps empty: renew now."""
        self._lease_wanted.set()

    def renew_lease(self) -> bool:
        """Say that this worker lives; False while Redis is away."""
        try:
            self._registry.renew_lease(self._worker_id, self._label)
        except RedisAwayError as error:
            log.warning("lease not renewed worker=%s: %s", self._label, error)
            self.vitals.lease_tried(renewed=False)
            return False
        self.vitals.lease_tried(renewed=True)
        return True

    def write_entries(self, connections: Sequence[Connection]) -> None:
        """Write entries that are missing or older; close sockets whose nodes others have taken over."""
        for start in range(0, len(connections), ENTRIES_A_WRITE):
            if not self._write_some(connections[start : start + ENTRIES_A_WRITE]):
                return
        self.vitals.entries_written()

    def _write_some(self, connections: Sequence[Connection]) -> bool:
        live = {c.node_id: c for c in connections if c.fence and not c.is_closed}
        try:
            replaced = self._registry.restore({node_id: self.entry(c) for node_id, c in live.items()})
        except RedisAwayError as error:
            log.warning("presence not written worker=%s nodes=%d: %s", self._label, len(live), error)
            return False
        for node_id in replaced:
            self._hub.replace(live[node_id])
        # What ended while its entry was being written is taken back by its owner.
        for connection in live.values():
            if connection.is_closed:
                self.records.ended(connection, by_itself=False)
        return True

    def _audit(self) -> None:
        """Write this worker's entries again where they are missing, close sockets that were taken over."""
        for connection in self._hub.connections():
            if connection.fence == 0 and not connection.is_closed:
                self.claims.claim(connection)
                self.vitals.claimed_late()
        try:
            self.write_entries(differing(self._registry, self._hub.connections()))
        except RedisAwayError as error:
            log.warning("presence not audited worker=%s: %s", self._label, error)
        self.vitals.audited()

    # the greenlets

    def run_leases(self) -> None:
        """Renew the lease, for ever."""
        last, has_lease = time.monotonic(), True
        while True:
            was_lost = self._lease_wanted.wait(timeout=LEASE_SECONDS) or not has_lease
            self._lease_wanted.clear()
            if time.monotonic() - last > GAP_SECONDS:
                self._audit()  # others may have taken over meanwhile: look before saying "I live"
            last = time.monotonic()
            has_lease = self.renew_lease()
            if was_lost and has_lease:
                self._audit()  # Redis is back, perhaps empty: say at once who is here

    def run_audits(self) -> None:
        """Audit this worker's own entries, for ever."""
        while True:
            gevent.sleep(AUDIT_SECONDS)
            self._audit()

    def run_reaper(self) -> None:
        """Remove what dead workers have left, for ever."""
        while True:
            gevent.sleep(REAP_SECONDS)
            try:
                count = self._registry.reap() if self._registry.take_turn("reaping", REAP_TURN_SECONDS) else 0
            except RedisAwayError:
                continue
            if count:
                log.info("reaped entries of dead workers count=%d", count)
