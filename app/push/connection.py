"""One agent's push channel as this worker sees it: who it is, what waits to be written, what was read.

No system call in here; ``hub`` reads and writes.
"""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from app.push import frames, messages
from app.push.messages import Message, Receipt

Transport = Literal["ws", "sse"]

MAX_WAITING_BYTES = 64 * 1024
OUTBOX_DEADLINE_SECONDS = 20.0
MAX_LOOP_FRAMES = 200
LOOP_LOOK_SECONDS = 0.5
"""How soon a loop that waits for bytes sees that it is to end."""
INBOUND_BYTES_A_MINUTE = 1024 * 1024
INBOUND_FRAMES_A_MINUTE = 600


class OutboxFullError(Exception):
    """More waits for a slow agent than is worth keeping: it reads everything again when it comes back."""


@dataclass(slots=True)
class Waiting:
    """A message that the kernel has not taken yet, and what is to be known when it has."""

    message: Message
    receipt: Receipt


@dataclass(slots=True)
class Outbox:
    """What waits to be written: the rest of a frame that was begun (pinned), then whole messages."""

    since: float
    """Monotonic time at which the first byte had to wait."""
    pinned: bytes = b""
    pinned_receipt: Receipt | None = None
    """What is to be known when the pinned nudge is out; ``None`` for a control frame."""
    waiting: deque[Waiting] = field(default_factory=deque)

    def add(self, message: Message, receipt: Receipt) -> bool:
        """Queue *message*; True if it took the place of an older one.

        :raises OutboxFullError: too much waits already.
        """
        for item in self.waiting:
            merged = messages.merge(item.message, message)
            if merged is not None:
                item.message = merged
                item.receipt = item.receipt.merged(receipt)
                return True
        size = len(self.pinned) + sum(len(item.message.text) + 64 for item in self.waiting)
        if size + len(message.text) > MAX_WAITING_BYTES:
            raise OutboxFullError
        self.waiting.append(Waiting(message, receipt))
        return False


class LoopEnd:
    """What a channel's own loop takes its bytes from, where the socket cannot be handed to the hub.

    *abort* ends the socket under a loop that hangs in a write. Neither method waits.
    """

    def __init__(self, abort: Callable[[], None]) -> None:
        self._queue: queue.Queue[bytes] = queue.Queue(MAX_LOOP_FRAMES)
        self._abort = abort
        self.is_over = False

    def put(self, data: bytes) -> bool:
        """Queue *data*; False if the loop is too slow for it."""
        try:
            self._queue.put_nowait(data)
        except queue.Full:
            return False
        return True

    def end(self, *, at_once: bool) -> None:
        """The loop is to end, *at_once* or once it has written what it has."""
        self.is_over = True
        self.put(b"")  # wakes it
        if at_once:
            self._abort()

    def get(self, seconds: float) -> bytes | None:
        """The next bytes to write; ``None`` or nothing if there are none within *seconds*, or no more at all."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return self._queue.get_nowait()
            except queue.Empty:
                left = deadline - time.monotonic()
            if self.is_over or left <= 0:
                return None
            try:
                return self._queue.get(timeout=min(left, LOOP_LOOK_SECONDS))
            except queue.Empty:
                continue


@dataclass(slots=True, eq=False)
class Connection:
    """One live channel. Compared by identity; ``connection_id`` names it everywhere."""

    node_id: str
    environment_id: str
    connection_id: str
    fence: int
    """Set by the claim; of two connections of a node the one with the higher fence is the living one."""
    transport: Transport
    since_ms: int
    address: str
    revision: str | None
    """``X-Config-Revision`` of the handshake: what the agent said it runs."""
    instance: str | None = None
    """``X-Agent-Instance`` of the handshake: which run of the agent it is, where the agent says so."""
    fd: int = -1
    """The handed-over descriptor; -1 where flask-sock's own loop serves the channel."""
    loop: LoopEnd | None = None
    """The other end of a channel that a loop of its own serves; ``None`` where the hub holds the descriptor."""
    subscribed: bool = False
    is_pong_due: bool = False
    is_closed: bool = False
    last_received: float = 0.0
    """Monotonic time of the last byte from the agent."""
    last_nudged: float = -1e9
    settled_nonce: str | None = None
    """The nonce of its environment under which the node was last found to have done what it should."""
    buffer: bytearray | None = None
    fragments: frames.Fragments | None = None
    outbox: Outbox | None = None
    inbound_minute: int = 0
    """The minute of the budget, less whole multiples of 256: Python keeps one object for each small number."""
    inbound_bytes: int = 0
    inbound_frames: int = 0

    def encoded(self, message: Message) -> bytes:
        """The bytes of *message* on this channel."""
        return message.frame if self.transport == "ws" else message.event

    def keepalive(self) -> bytes:
        """The bytes that keep this channel open."""
        return frames.KEEPALIVE if self.transport == "ws" else b": keepalive\n\n"

    def goodbye(self, code: int, reason: str) -> bytes:
        """The bytes that end this channel."""
        if self.transport == "ws":
            return frames.close(code, reason)
        return messages.make({"type": "close", "code": code, "reason": reason}).event

    def receive(self, data: bytes, now: float) -> frames.Received:
        """Take in *data* that the agent sent.

        :raises frames.FrameError: it broke the protocol or sent more than an agent has reason to.
        """
        self.last_received = now
        if len(data) == frames.BARE_PONG_BYTES and data.startswith(frames.BARE_PONG) and self.buffer is None:
            received = frames.RECEIVED_PONG  # all that an idle agent ever sends
        else:
            received = self._read(data)
        minute = int(now // 60) & 0xFF
        if minute != self.inbound_minute:
            self.inbound_minute, self.inbound_bytes, self.inbound_frames = minute, 0, 0
        self.inbound_bytes += len(data)
        self.inbound_frames += received.frames
        if self.inbound_bytes > INBOUND_BYTES_A_MINUTE or self.inbound_frames > INBOUND_FRAMES_A_MINUTE:
            raise frames.FrameError(1008, "too much sent")
        if received.pong:
            self.is_pong_due = False
        return received

    def _read(self, data: bytes) -> frames.Received:
        if self.buffer is None:
            self.buffer = bytearray(data)
        else:
            self.buffer += data
        received, self.fragments = frames.read(self.buffer, self.fragments)
        if not self.buffer:
            self.buffer = None
        return received
