"""Who gets a node: claims before the handshake is answered, and the newcomers that are held off instead."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from app.push import messages
from app.push.claim_script import Claimed, Contested, Damped, Known
from app.push.connection import Connection
from app.push.damping import Dials
from app.push.entries import Entry
from app.push.hub import Hub
from app.push.presence import Registry
from app.push.publisher import Publisher
from app.push.redis_gate import RedisAwayError

DUEL_RETRY_SECONDS = 60
LOOK_AGAIN_SECONDS = 0.1
LOOKS_AGAIN = 5
"""So long may another worker take to say that the incumbent's socket was dead already (``Records``)."""

log = logging.getLogger("signalbox.push")


class HeldOffError(Exception):
    """The node may not be claimed just now: a sentence, the refusal's name in metrics, and seconds to wait."""

    def __init__(self, sentence: str, reason: str, retry_after: int) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.reason = reason
        self.retry_after = retry_after


class Claims:
    """The claims of one worker. *call* runs a function in the hub's thread."""

    def __init__(
        self,
        registry: Registry,
        publisher: Publisher,
        hub: Hub,
        entry_of: Callable[[Connection], Entry],
        call: Callable[[Callable[[], None]], None],
    ) -> None:
        self._registry = registry
        self._publisher = publisher
        self._hub = hub
        self._entry_of = entry_of
        self._call = call
        self._dials = Dials()

    def admit(self, connection: Connection) -> None:
        """Take the node over for a connection that is not answered yet; without Redis the audit claims it later.

        A takeover counts only where another agent's live socket loses: not for the same instance, and not where
        the old socket was dead. VectorFlow's agents name no instance, and two of them may share an address; but
        one that comes back has let go of its old socket, whose end the worker that holds it sees.

        :raises HeldOffError: another agent holds the node, or this one comes too often.
        """
        try:
            claimed = self._judge(connection)
        except RedisAwayError as error:
            log.warning("presence not claimed node=%s: %s", connection.node_id, error)
            self._check_pause(self._dials.pause_ms(connection.node_id, time.monotonic()))
            return
        self._take(connection, claimed)

    def admit_all(self, connections: Sequence[Connection]) -> list[bool]:
        """As ``admit``, of those who come together, once each: whether each may go on.

        The others are no worse off than if they had not been asked for: ``admit`` says why, and may yet let them in.

        :raises RedisAwayError: some may have been claimed.
        """
        wanted = [
            (each.node_id, self._entry_of(each), Known(held=self._held(each.node_id))) for each in connections
        ]
        answers = list(zip(connections, self._registry.claim_all(wanted), strict=True))
        taken = [(each, answer) for each, answer in answers if isinstance(answer, Claimed)]
        for connection, claimed in taken:
            connection.fence = claimed.fence
        self._tell([(each, claimed.before) for each, claimed in taken if claimed.before is not None])
        return [isinstance(answer, Claimed) for _, answer in answers]

    def claim(self, connection: Connection) -> None:
        """Take the node over for a connection that is open already: Redis was away when it came."""
        try:
            claimed = self._registry.claim(connection.node_id, self._entry_of(connection), None)
        except RedisAwayError as error:
            log.warning("presence not claimed node=%s: %s", connection.node_id, error)
            return
        if isinstance(claimed, Claimed):
            self._take(connection, claimed)

    def _judge(self, connection: Connection) -> Claimed:
        node_id, over, looks = connection.node_id, None, 0
        while True:
            known = Known(held=self._held(node_id), over=over)
            answer = self._registry.claim(node_id, self._entry_of(connection), known)
            if isinstance(answer, Claimed):
                return answer
            if isinstance(answer, Damped):
                self._check_pause(answer.pause_ms)
            elif not self._registry.is_alive(answer.incumbent.worker_id):
                over = answer.incumbent.connection_id
            elif looks < LOOKS_AGAIN:
                looks += 1
                time.sleep(LOOK_AGAIN_SECONDS)
            else:
                self._hold_off(connection, answer)

    def _held(self, node_id: str) -> str | None:
        """The connection of the node that this worker holds, if its peer is still there."""
        held: list[str] = []

        def look() -> None:
            connection = self._hub.get(node_id)
            if connection is not None and not self._hub.drop_if_over(connection):
                held.append(connection.connection_id)

        self._call(look)
        return held[0] if held else None

    def _take(self, connection: Connection, claimed: Claimed) -> None:
        connection.fence = claimed.fence
        if claimed.before is not None:
            self._tell([(connection, claimed.before)])

    def _tell(self, takeovers: Sequence[tuple[Connection, Entry]]) -> None:
        """Whoever held these nodes before, of whom the entries are, hears that they have lost them."""
        if not takeovers:
            return
        news = [(each.node_id, messages.Claimed(each.fence, each.address)) for each, _ in takeovers]
        try:
            heard = self._publisher.publish_each_heard(news)
            unheard = [pair for pair, is_heard in zip(takeovers, heard, strict=True) if not is_heard]
            alive = self._registry.alive({before.worker_id for _, before in unheard})
            # What a dead worker held was lost by it, not to us.
            self._registry.forgive(
                (each.node_id, before.connection_id)
                for each, before in unheard
                if before.worker_id not in alive
            )
        except RedisAwayError as error:
            log.warning(
                "takeover not told node=%s: %s", ",".join(each.node_id for each, _ in takeovers), error
            )

    def _hold_off(self, connection: Connection, contested: Contested) -> None:
        addresses = (contested.incumbent.address, connection.address)
        if self._registry.record_duel(connection.node_id, addresses):
            log.warning(
                "duel: two agents use one identity node=%s connected=%s held_off=%s",
                connection.node_id,
                *addresses,
            )
            self._publisher.tell_fleet(connection.environment_id, [connection.node_id])
        raise HeldOffError(
            "Two agents use this node's token; as long as the other one is connected, this one is held off.",
            "duel",
            DUEL_RETRY_SECONDS,
        )

    @staticmethod
    def _check_pause(pause_ms: int) -> None:
        if pause_ms > 0:
            seconds = -(-pause_ms // 1000)
            raise HeldOffError(
                f"This node has connected too often within a few seconds; it may try again in {seconds} s.",
                "damped",
                seconds,
            )
