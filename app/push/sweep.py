"""Lost nudges are found, not hoped against: the look at a new connection, and the sweep over all of them."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable, Sequence

import gevent

from agent.protocol import REVOKED, CloseCode
from app.push import messages, meters
from app.push.connection import Connection
from app.push.hub import Hub
from app.push.standing import Questions, Standing

AGAIN_AFTER_SECONDS = (30.0, 60.0, 120.0, 300.0)
"""A node that stays behind is nudged again after these; the last one repeats (hazard 8)."""
RECENTLY_NUDGED_SECONDS = 20.0
NODES_A_QUERY = 500
WHOLE_EVERY = 10
"""Every so many sweeps ask about all nodes; those between only where something can have changed (hazard 9)."""
NUDGES_A_STEP = 200
STEP_SECONDS = 0.1
"""Pacing: at most so many nudges in each step, so that a resync is no herd (hazard 9)."""

log = logging.getLogger("signalbox.push")


class Patience:
    """Remembers how often each node that stays behind was nudged again. Pure."""

    def __init__(self) -> None:
        self._times: dict[str, int] = {}
        self._not_before: dict[str, float] = {}

    def due(self, behind: Iterable[str], now: float) -> list[str]:
        """Those of *behind* whose turn it is at *now*; forgets all others."""
        still_behind = set(behind)
        for node_id in [node_id for node_id in self._times if node_id not in still_behind]:
            del self._times[node_id], self._not_before[node_id]
        due = [node for node in sorted(still_behind) if now >= self._not_before.get(node, 0.0)]
        for node_id in due:
            times = self._times.get(node_id, 0)
            # One second early, so that a sweep that comes every 30 s is never just too early for the next.
            self._not_before[node_id] = (
                now + AGAIN_AFTER_SECONDS[min(times, len(AGAIN_AFTER_SECONDS) - 1)] - 1
            )
            self._times[node_id] = times + 1
        return due

    def is_new(self, node_id: str) -> bool:
        """Whether the node was found behind for the first time just now."""
        return self._times.get(node_id) == 1


class Sweep:
    """Looks at the connections of one hub. *renew* subscribes to a node's channel again."""

    def __init__(self, hub: Hub, questions: Questions, renew: Callable[[str], None], label: str) -> None:
        self._hub = hub
        self._questions = questions
        self._renew = renew
        self._label = label
        self._patience = Patience()
        self._heard_since = time.monotonic()
        self._last_begun = time.monotonic()
        self._count = 0
        self.progressed_at = time.monotonic()
        """Monotonic time of the last step: a question answered or given up, a portion of nudges."""

    def look(self, fresh: Sequence[Connection]) -> None:
        """Nudge those new connections, heard by now, whose agents do not run what they should or are to act."""
        for start in range(0, len(fresh), NODES_A_QUERY):
            chunk = fresh[start : start + NODES_A_QUERY]
            standings = self._ask([connection.node_id for connection in chunk])
            for connection in chunk:
                standing = None if standings is None else standings.get(connection.node_id)
                if standings is not None and self._send_away(connection, standing):
                    continue
                is_up_to_date = standing is not None and connection.revision == standing.wanted_revision
                if standing is None or not is_up_to_date or standing.is_asked:
                    self._hub.deliver(connection, messages.CONNECTED)
                else:
                    _settle(connection, standing)
        self._tell_interval([each for each in fresh if each.instance is None and not each.is_closed])

    def _tell_interval(self, others: Sequence[Connection]) -> None:
        """An agent that is not ours may hear of a changed interval in no other way."""
        try:
            interval_ms = self._questions.poll_interval_ms() if others else None
        except Exception:
            log.exception("cannot ask the database for the poll interval")
            return
        if interval_ms is not None:
            for connection in others:
                self._hub.deliver(connection, messages.poll_interval(interval_ms))

    def run_once(self, *, at_once: bool) -> None:
        """Nudge all connections that are behind, paced; *at_once* also those whose next turn has not come.

        So are those for whose nodes an action or request waits that was not handed over: a lost push is found here.
        A node that was found up to date is asked about again once its environment's nonce is another one, which
        is so after everything that changes what it must do or ends its token. Every tenth sweep trusts nobody.
        """
        now = self.progressed_at = time.monotonic()
        heard, self._heard_since = self._hub.heard_since(self._heard_since), now
        last_begun, self._last_begun = self._last_begun, now
        behind: list[str] = []
        in_question = self._in_question()
        for start in range(0, len(in_question), NODES_A_QUERY):
            chunk = in_question[start : start + NODES_A_QUERY]
            standings = self._ask([connection.node_id for connection in chunk])
            self.progressed_at = time.monotonic()
            if standings is None:
                continue
            for connection in chunk:
                standing = standings.get(connection.node_id)
                if not connection.is_closed and not self._send_away(connection, standing):
                    assert standing is not None
                    _settle(connection, standing)
                    if standing.is_behind or standing.is_asked:
                        behind.append(connection.node_id)
        due, fresh = self._patience.due(behind, now), self._patience.is_new
        if at_once:
            # What was lost with the subscriber may have been lost right after a nudge that was not.
            self._nudge(behind, although_recent=True)
        else:
            # Deaf is who was not told since the last sweep, which found it up to date: not who is only slow.
            deaf = [n for n in due if fresh(n) and (c := self._hub.get(n)) and c.last_nudged < last_begun]
            self._nudge(due)
            meters.DEAF.inc(len(deaf))
        self._record_seen(heard)

    def _in_question(self) -> list[Connection]:
        """The connections whose nodes may have to be told something."""
        held = self._hub.connections()
        self._count += 1
        if held and self._count % WHOLE_EVERY:
            try:
                environment_ids = sorted({connection.environment_id for connection in held})
                nonces = self._questions.nonces(environment_ids)
                asked = self._questions.untold(environment_ids)
            except Exception:
                log.exception("cannot ask the database what has changed for %d nodes", len(held))
                return []
            finally:
                self.progressed_at = time.monotonic()
            held = [
                c
                for c in held
                if c.settled_nonce is None
                or c.settled_nonce != nonces.get(c.environment_id)
                or c.node_id in asked
            ]
        meters.SWEPT.inc(len(held))
        return held

    def _send_away(self, connection: Connection, standing: Standing | None) -> bool:
        """Close a connection whose node was revoked, deleted or moved; True if so."""
        if standing is None or not standing.is_welcome:
            self._hub.close(connection, CloseCode.POLICY, REVOKED)
            return True
        if standing.environment_id != connection.environment_id:
            self._hub.close(connection, CloseCode.POLICY, "moved")
            return True
        return False

    def _ask(self, node_ids: Sequence[str]) -> dict[str, Standing] | None:
        """How the nodes stand; ``None`` if the database does not say: then a look nudges, a sweep waits."""
        try:
            return self._questions.standings(node_ids)
        except Exception:
            log.exception("cannot ask the database about %d nodes", len(node_ids))
            return None

    def _nudge(self, node_ids: Sequence[str], *, although_recent: bool = False) -> None:
        """Nudge, paced. A node that is behind although it was told may be deaf: subscribe to it again."""
        count = 0
        for node_id in node_ids:
            connection = self._hub.get(node_id)
            if connection is None:
                continue
            is_recent = time.monotonic() - connection.last_nudged < RECENTLY_NUDGED_SECONDS
            if is_recent and not although_recent:
                continue
            self._renew(node_id)
            self._hub.deliver(connection, messages.RESYNC)
            meters.RESENT.inc()
            count += 1
            if count % NUDGES_A_STEP == 0:
                self.progressed_at = time.monotonic()
                gevent.sleep(STEP_SECONDS)
        if count:
            log.info("sweep nudged worker=%s nodes=%d", self._label, count)

    def _record_seen(self, node_ids: Sequence[str]) -> None:
        for start in range(0, len(node_ids), NODES_A_QUERY):
            try:
                self._questions.record_seen(node_ids[start : start + NODES_A_QUERY])
            except Exception:
                log.exception("cannot write when %d nodes were last seen", len(node_ids))
            self.progressed_at = time.monotonic()


def _settle(connection: Connection, standing: Standing) -> None:
    """Remember that the node has done what it should, if that is so."""
    # One string for all nodes of an environment.
    connection.settled_nonce = None if standing.is_behind else sys.intern(standing.nonce)
