"""What one turn of the subscriber brought, merged per node before anything is written (hazard 10). Pure."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

from app.push import messages, meters
from app.push.messages import Claimed, Close, Envelope, Message, Nudge

log = logging.getLogger("signalbox.push")


@dataclass(slots=True)
class Inbox:
    """``nudges``: for each node what to write, and the deployments that want to know; ``orders``: the rest."""

    nudges: dict[str, list[tuple[Message, tuple[str, ...]]]] = field(default_factory=dict)
    orders: list[tuple[str, Close | Claimed]] = field(default_factory=list)


def gather(received: Iterable[tuple[str, bytes]]) -> Inbox:
    """Sort and merge *received*, pairs of node id and envelope; an envelope that is not ours is logged and dropped.

    A deploy to ten thousand nodes is ten thousand times the same bytes: each payload is read once.
    """
    inbox = Inbox()
    known: dict[bytes, Envelope | None] = {}
    for node_id, data in received:
        if data not in known:
            known[data] = _read(data)
        envelope = known[data]
        if isinstance(envelope, Nudge):
            ids: tuple[str, ...] = (envelope.deployment_id,) if envelope.deployment_id else ()
            _add(inbox.nudges.setdefault(node_id, []), envelope.message, ids)
        elif envelope is not None:
            inbox.orders.append((node_id, envelope))
    return inbox


def _read(data: bytes) -> Envelope | None:
    try:
        return messages.unpack(data)
    except ValueError as error:
        log.warning("message ignored: %s", error)
        return None


def _add(
    waiting: list[tuple[Message, tuple[str, ...]]], message: Message, deployment_ids: tuple[str, ...]
) -> None:
    """Add a message to what one node is to be sent in this turn, in place of one that it can replace."""
    for index, (older, ids) in enumerate(waiting):
        merged = messages.merge(older, message)
        if merged is not None:
            meters.COALESCED.inc()
            waiting[index] = (merged, tuple(dict.fromkeys(ids + deployment_ids)))
            return
    waiting.append((message, deployment_ids))
