"""What one turn of the subscriber brought, merged per node before anything is written (hazard 10). Pure."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

from app.push import messages, meters
from app.push.messages import Claimed, Close, Message, Nudge, Receipt

log = logging.getLogger("signalbox.push")


@dataclass(slots=True)
class Inbox:
    """``nudges``: for each node what to write, and what is to be known then; ``orders``: the rest."""

    nudges: dict[str, list[tuple[Message, Receipt]]] = field(default_factory=dict)
    orders: list[tuple[str, Close | Claimed]] = field(default_factory=list)


def gather(received: Iterable[tuple[str, bytes]]) -> Inbox:
    """Sort and merge *received*, pairs of node id and envelope; an envelope that is not ours is logged and dropped.

    A deploy to ten thousand nodes is ten thousand times the same bytes: each payload is read once.
    """
    inbox = Inbox()
    known: dict[bytes, tuple[Message, Receipt] | Close | Claimed | None] = {}
    for node_id, data in received:
        if data not in known:
            known[data] = _read(data)
        read = known[data]
        if isinstance(read, tuple):
            _add(inbox.nudges.setdefault(node_id, []), *read)
        elif read is not None:
            inbox.orders.append((node_id, read))
    return inbox


def _read(data: bytes) -> tuple[Message, Receipt] | Close | Claimed | None:
    try:
        envelope = messages.unpack(data)
    except ValueError as error:
        log.warning("message ignored: %s", error)
        return None
    if not isinstance(envelope, Nudge):
        return envelope
    subjects = (envelope.subject,) if envelope.subject else ()
    return envelope.message, Receipt(subjects, envelope.published_us)


def _add(waiting: list[tuple[Message, Receipt]], message: Message, receipt: Receipt) -> None:
    """Add a message to what one node is to be sent in this turn, in place of one that it can replace."""
    for index, (older, known) in enumerate(waiting):
        merged = messages.merge(older, message)
        if merged is not None:
            meters.COALESCED.inc()
            waiting[index] = (merged, known.merged(receipt))
            return
    waiting.append((message, receipt))
