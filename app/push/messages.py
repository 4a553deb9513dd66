"""What the server pushes to agents, and how it travels between the server's processes.

A message is encoded once, however many sockets it is written to.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from agent.protocol import MessageType, Reason, encode
from app.push import frames
from app.push.taps import Tap


@dataclass(frozen=True)
class Message:
    """One JSON object for agents; ``text`` is its encoding."""

    text: str
    type: str

    @cached_property
    def frame(self) -> bytes:
        """As a WebSocket text frame."""
        return frames.text(self.text.encode())

    @cached_property
    def event(self) -> bytes:
        """As a server-sent event."""
        return f"event: {self.type}\ndata: {self.text}\n\n".encode()

    @cached_property
    def fields(self) -> dict[str, Any]:
        """The object."""
        value: dict[str, Any] = json.loads(self.text)
        return value


def make(fields: dict[str, Any]) -> Message:
    """The message with these *fields*; ``type`` is one of them."""
    return Message(encode(fields), str(fields["type"]))


def config_changed(reason: str, pipeline_id: str | None = None, spread_ms: int | None = None) -> Message:
    """Tell an agent to fetch its configuration, after a random share of *spread_ms* where given."""
    fields: dict[str, Any] = {"type": MessageType.CONFIG_CHANGED.value}
    if pipeline_id is not None:
        fields["pipelineId"] = pipeline_id
    fields["reason"] = str(reason)
    if spread_ms:
        fields["spreadMs"] = spread_ms
    return make(fields)


def action(fields: dict[str, str]) -> Message:
    """Ask an agent to do something once; *fields* are ``action``, ``actionId`` and what belongs to it."""
    return make({"type": MessageType.ACTION.value, **fields})


def sample_request(fields: dict[str, Any]) -> Message:
    """Ask an agent for samples; *fields* are ``requestId``, ``pipelineId``, ``componentKeys``, ``limit``."""
    return make({"type": MessageType.SAMPLE_REQUEST.value, **fields})


def poll_interval(interval_ms: int) -> Message:
    """Tell an agent its new poll interval in milliseconds."""
    return make({"type": MessageType.POLL_INTERVAL.value, "intervalMs": interval_ms})


def tap_start(tap: Tap) -> Message:
    """Ask an agent for the events of one component."""
    return make(
        {
            "type": MessageType.TAP_START.value,
            "requestId": tap.request_id,
            "pipelineId": tap.pipeline_id,
            "componentId": tap.component_id,
        }
    )


def tap_stop(request_id: str) -> Message:
    """Tell an agent that nobody wants them any more."""
    return make({"type": MessageType.TAP_STOP.value, "requestId": request_id})


CONNECTED = config_changed(Reason.CONNECTED)
RESYNC = config_changed(Reason.RESYNC)


def merge(older: Message, newer: Message) -> Message | None:
    """The one message that says what both say; ``None`` if the newer cannot replace the older.

    Only ``config_changed`` replaces its like. Two of different pipelines become one without ``pipelineId``.
    """
    if older.type != MessageType.CONFIG_CHANGED or newer.type != MessageType.CONFIG_CHANGED:
        return None
    if older.fields.get("pipelineId") == newer.fields.get("pipelineId"):
        return newer
    spread = max(older.fields.get("spreadMs", 0), newer.fields.get("spreadMs", 0))
    return config_changed(Reason.RESYNC, spread_ms=spread) if spread else RESYNC


Subject = str
"""What wants to know that its message was written: a deployment's id, or a prefix and an action's or request's."""
ACTION_SUBJECT = "action-"
SAMPLE_SUBJECT = "sample-"
PREFIXES = (ACTION_SUBJECT, SAMPLE_SUBJECT)
"""What has none of these is a deployment's id."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What is to be known once a message is written: who asks, and since when it is on its way."""

    subjects: tuple[Subject, ...] = ()
    published_us: int | None = None
    """Microseconds of the publisher's wall clock; ``None`` for what was not published."""

    def merged(self, newer: Receipt) -> Receipt:
        """The receipt of one message in place of two; it has been on its way since the older was published."""
        both = [us for us in (self.published_us, newer.published_us) if us is not None]
        subjects = tuple(dict.fromkeys(self.subjects + newer.subjects))
        return Receipt(subjects, min(both, default=None))


NO_RECEIPT = Receipt()


# Between processes: one line on a node's channel, a kind and its fields.


@dataclass(frozen=True)
class Nudge:
    """Write ``message`` to the node's socket; ``subject`` wants to know when that was done."""

    message: Message
    subject: Subject | None
    published_us: int | None = None
    """When it was published: microseconds of the publisher's wall clock; ``None`` from an older release."""


@dataclass(frozen=True)
class Close:
    """Close the node's socket with a code and a reason."""

    code: int
    reason: str


@dataclass(frozen=True)
class Claimed:
    """A newer connection of the node took over with ``fence``: an older one closes itself."""

    fence: int
    address: str = field(default="")


Envelope = Nudge | Close | Claimed


def stamped(envelope: Envelope, now_us: int) -> Envelope:
    """*envelope* with the time at which it is published, where it carries one."""
    return replace(envelope, published_us=now_us) if isinstance(envelope, Nudge) else envelope


def pack(envelope: Envelope) -> bytes:
    """*envelope* as it travels on a node's channel."""
    if isinstance(envelope, Nudge):
        # Behind the subject, where a release that does not know the time takes it for part of an unknown id.
        stamp = f"@{envelope.published_us}" if envelope.published_us is not None else ""
        subject = f"{envelope.subject or '-'}{stamp}"
        return f"nudge {subject} {envelope.message.type} {envelope.message.text}".encode()
    if isinstance(envelope, Close):
        return f"close {envelope.code} {envelope.reason}".encode()
    return f"claimed {envelope.fence} {envelope.address}".encode()


def unpack(data: bytes) -> Envelope:
    """The envelope in *data*.

    :raises ValueError: not one of ours.
    """
    kind, _, rest = data.decode().partition(" ")
    if kind == "nudge":
        stamped_subject, type_, text = rest.split(" ", 2)
        subject, _, stamp = stamped_subject.partition("@")
        message = Message(text, type_)
        if not isinstance(message.fields, dict):
            raise ValueError("cannot read a message that is not an object")
        published_us = int(stamp) if stamp else None
        return Nudge(message, None if subject == "-" else subject, published_us)
    if kind == "close":
        code, _, reason = rest.partition(" ")
        return Close(int(code), reason)
    if kind == "claimed":
        fence, _, address = rest.partition(" ")
        return Claimed(int(fence), address)
    raise ValueError(f"cannot read an envelope of kind {kind[:20]!r}")
