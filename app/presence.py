"""Who is connected, as pages and the operator API say it: the registry, judged by what has been received.

An event stream is only ever written to, so an open one proves nothing: a peer behind a proxy may be gone while
the proxy takes every byte. A node on a stream counts as connected only with an authenticated request, its
opening among them, within two and a half heartbeat intervals (hazard 17). A WebSocket answers pings.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.database import snapshot
from app.models import Node
from app.node_status import CHUNK, Clock
from app.push.presence import ABSENT, Presence
from app.switchboard_process import switchboard


class Seen(Protocol):
    """What is read of a node to judge its stream."""

    id: str
    last_seen_at: datetime | None


def of(nodes: Iterable[Seen], clock: Clock) -> dict[str, Presence]:
    """The presence of each of *nodes*; all unknown while Redis is away."""
    seen = {node.id: node.last_seen_at for node in nodes}
    return {
        node_id: judged(presence, seen[node_id], clock)
        for node_id, presence in switchboard().presence(list(seen)).items()
    }


def connected_ids(clock: Clock) -> set[str] | None:
    """Every connected node; ``None`` while Redis is away."""
    found = switchboard().connected()
    if found is None:
        return None
    silent_before_ms = clock.stream_silent_before.timestamp() * 1000
    doubtful = [node_id for node_id, began in found.items() if began is not None and began < silent_before_ms]
    seen: dict[str, datetime | None] = {}

    def read(session: Session) -> None:
        for start in range(0, len(doubtful), CHUNK):
            ids = doubtful[start : start + CHUNK]
            seen.update(iter(session.execute(select(Node.id, Node.last_seen_at).where(Node.id.in_(ids)))))

    if doubtful:
        snapshot(read)
    silent = {node_id for node_id in doubtful if not _was_heard(seen.get(node_id), clock)}
    return found.keys() - silent


def judged(presence: Presence, last_seen_at: datetime | None, clock: Clock) -> Presence:
    """*presence*, or absence where the node is on a stream and has been silent for too long."""
    if not _is_doubtful(presence, clock):
        return presence
    if _was_heard(last_seen_at, clock):
        return presence
    return replace(ABSENT, duel=presence.duel)


def _is_doubtful(presence: Presence, clock: Clock) -> bool:
    """Whether only the node's last request can tell: a stream that was opened too long ago to prove life."""
    return bool(
        presence.connected
        and presence.transport == "sse"
        and presence.since is not None
        and presence.since < clock.stream_silent_before
    )


def _was_heard(last_seen_at: datetime | None, clock: Clock) -> bool:
    return last_seen_at is not None and last_seen_at >= clock.stream_silent_before
