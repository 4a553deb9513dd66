"""What the push channel asks the rest of the server about nodes that are connected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Standing:
    """What the database says of a node that is connected."""

    environment_id: str
    nonce: str
    """Of the environment, when this was asked."""
    is_welcome: bool
    """False for a revoked node."""
    wanted_revision: str
    is_behind: bool
    is_asked: bool = False
    """Whether an action or a request for samples waits that the node was not told of yet."""


@dataclass(frozen=True, slots=True)
class Span:
    """One channel from its opening to its end."""

    node_id: str
    transport: str
    opened_at: datetime
    ended_at: datetime
    reason: str
    worker: str
    """``host:pid``."""
    address: str


class Questions(Protocol):
    """The database, as the push channel sees it. Each call may take a while; none is made while writing."""

    def standings(self, node_ids: Sequence[str]) -> dict[str, Standing]:
        """How each node stands; one that does not exist is left out."""

    def nonces(self, environment_ids: Sequence[str]) -> dict[str, str]:
        """The nonce of each environment: another one means that its nodes may have to do something else."""

    def untold(self, environment_ids: Sequence[str]) -> set[str]:
        """The nodes of these environments that were not told yet of what waits for them: actions, requests."""

    def poll_interval_ms(self) -> int | None:
        """The interval that agents of others are to be told, who do not read it: ``None`` if it is the usual one."""

    def record_nudged(self, written: Sequence[tuple[str, str, datetime]]) -> None:
        """Nudges were written: (subject, node id, when); for subjects see ``messages.Subject``."""

    def record_seen(self, node_ids: Sequence[str]) -> None:
        """Something was heard from these nodes since the last call."""

    def record_ended(self, spans: Sequence[Span]) -> None:
        """These channels have ended."""

    def write_metrics(self) -> None:
        """Write down what this worker's heartbeats have said; asked about every few seconds."""

    def tidy_up(self) -> None:
        """Write down what time alone has changed; asked about once a minute by every worker."""
