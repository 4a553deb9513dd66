"""Claims of nodes in Redis, those that come together in one batch: a herd brings hundreds in the same moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from app.push import damping
from app.push.batches import script_answers
from app.push.entries import Entry, entry_in
from app.push.group_call import GroupCall
from app.push.redis_gate import RedisAwayError, RedisGate

TAKEOVERS_ALLOWED = 3
TAKEOVERS_WITHIN_MS = 60_000
"""So often may one agent take a node over from another; after that the newcomer is held off (hazard 18)."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """The node is the new connection's; ``before`` is the entry that it replaces."""

    fence: int
    before: Entry | None


@dataclass(frozen=True, slots=True)
class Contested:
    """Another agent holds the node, and too many takeovers have gone before."""

    incumbent: Entry


@dataclass(frozen=True, slots=True)
class Damped:
    """The node has come too often; nothing was claimed."""

    pause_ms: int


@dataclass(frozen=True, slots=True)
class Known:
    """What the claimer knows of older connections of the node, so that no dead one counts as taken over."""

    held: str | None
    """The one that its own worker holds: another one under that worker's name is over."""
    over: str | None = None
    """One that is known to be over."""


Wanted = tuple[str, Entry, Known | None]
"""Node id, the entry that is to stand there, and what is known."""


class Names(Protocol):
    """The keys of a node."""

    def bucket(self, node_id: str) -> str:
        """Of the hash that holds its entry."""

    def takeovers(self, node_id: str) -> str:
        """Of the connections that lost it lately."""

    def duel(self, node_id: str) -> str:
        """Of the record that two agents use its token."""

    def dials(self, node_id: str) -> str:
        """Of how often it has dialled lately."""


class ClaimScript:
    """Runs *script*, ``claim.lua``."""

    def __init__(self, gate: RedisGate, script: Any, names: Names) -> None:
        self._gate = gate
        self._script = script
        self._names = names
        self._group: GroupCall[Wanted, Claimed | Contested | Damped] = GroupCall(self._send)

    def claim(self, node_id: str, entry: Entry, known: Known | None) -> Claimed | Contested | Damped:
        """Take the node over, unless it is held off; *known* is ``None`` for a connection that is open already.

        Claims that come together are sent together; the script decides each by itself.
        """
        try:
            answer = self._group.ask((node_id, entry, known))
        except TimeoutError as error:
            raise RedisAwayError(datetime.now(UTC)) from error
        assert answer is not None
        return answer

    def claim_all(self, wanted: Sequence[Wanted]) -> list[Claimed | Contested | Damped]:
        """As ``claim``, of all these nodes."""
        calls = [self._claim_of(*each) for each in wanted]
        answers = self._gate.run(lambda client: script_answers(client, self._script, calls))
        return [_decision(*answer) for answer in answers]

    def _send(self, wanted: Sequence[Wanted]) -> Mapping[Wanted, Claimed | Contested | Damped]:
        return dict(zip(wanted, self.claim_all(wanted), strict=True))

    def _claim_of(self, node_id: str, entry: Entry, known: Known | None) -> tuple[list[str], list[str | int]]:
        """What the script is given: keys and arguments."""
        names = self._names
        keys = [names.bucket(node_id), names.takeovers(node_id), names.duel(node_id), names.dials(node_id)]
        return keys, [
            node_id,
            entry.connection_id,
            entry.worker_id,
            entry.transport,
            entry.since_ms,
            entry.label,
            entry.address or "-",
            entry.instance or "",
            int(known is not None),
            (known and known.held) or "",
            (known and known.over) or "",
            TAKEOVERS_ALLOWED,
            TAKEOVERS_WITHIN_MS,
            damping.DIALS_ALLOWED,
            damping.WITHIN_MS,
            damping.FIRST_PAUSE_MS,
            damping.LONGEST_PAUSE_MS,
            damping.REMEMBERED_MS,
        ]


def _decision(kind: bytes, number: bytes, before: bytes) -> Claimed | Contested | Damped:
    if kind == b"damped":
        return Damped(int(number))
    if kind == b"contested" and (incumbent := entry_in(before)) is not None:
        return Contested(incumbent)
    return Claimed(int(number or 0), entry_in(before))
