"""This worker's sockets: one epoll for all of them, one timer wheel, writes that never block.

An idle socket costs a descriptor and a ``Connection``: no greenlet, no request, no database session. The table of
descriptors is the wheel as well: each number has its turn, so that whoever connects together is spread.
Nothing in here yields between two sockets of one turn, so a closed descriptor's number cannot come back
within the turn that closed it (hazard 14).
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable

import gevent
from gevent import monkey

from agent.protocol import PONG_GRACE_SECONDS, REPLACED, CloseCode
from app.push import frames, meters
from app.push.connection import OUTBOX_DEADLINE_SECONDS, Connection, Outbox, OutboxFullError, Waiting
from app.push.hangup import has_hung_up
from app.push.messages import NO_RECEIPT, Message, Receipt

# gevent takes epoll out of ``select``, so that its own loop is used. Ours hangs in that loop as one descriptor.
_epoll, _IN, _OUT, _RDHUP = monkey.get_original("select", ["epoll", "EPOLLIN", "EPOLLOUT", "EPOLLRDHUP"])
_socket = monkey.get_original("socket", "socket")

KEEPALIVE_TURNS = {"ws": 25, "sse": 10}
"""Seconds between two keepalives of one socket, by transport; well under the smallest idle timeout on the way
(60 s). Nothing ever comes back on an event stream: only bytes that nobody acknowledges tell that it is dead."""
STRIDE = 7
"""From one turn of the wheel to the next, in descriptors: neighbours, opened together, come at different times."""
READ_BYTES = 16 * 1024
EVENTS_A_TURN = 512
FEW_EVENTS = 64
PAUSE_SECONDS = 0.02
"""After a turn that brought so few events the next one waits a little, for more to come with it: thousands of idle
agents answer pings one by one, and waking up for each costs three times what reading it does. Nothing that is written
waits for it, but for the rest of what a slow agent did not take at once."""
LINGER_SECONDS = 2.0
"""How long a socket that was told goodbye may take to close, so that it reads the goodbye first."""

log = logging.getLogger("signalbox.push")

OnClosed = Callable[[Connection, str], None]
OnWritten = Callable[[Connection, Receipt], None]


class Hub:
    """The sockets that this worker holds, by node and by descriptor.

    *on_closed* is called once for each connection that ends, *on_written* for each message that the kernel
    has taken whole. Neither may yield.
    """

    def __init__(self, on_closed: OnClosed, on_written: OnWritten) -> None:
        self._on_closed = on_closed
        self._on_written = on_written
        self._poll = _epoll()
        self._by_node: dict[str, Connection] = {}
        self._by_fd: list[Connection | None] = []
        """Descriptors are small numbers, the lowest free one each time: eight bytes each, where a dict has ninety."""
        self._lingering: dict[int, float] = {}
        self._turn = 0
        self._came_at = 0.0
        self._clogged: set[Connection] = set()
        # What the ticks write and the epoll must bring back: a loop without sockets moves, too.
        self._pulse = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll.register(self._pulse, _IN)
        self.progressed_at = time.monotonic()
        """Monotonic time at which the epoll last brought something, the tick's pulse at least."""

    def __len__(self) -> int:
        return len(self._by_node)

    @property
    def is_lingering(self) -> bool:
        """Whether a socket that was told goodbye is still open."""
        return bool(self._lingering)

    def get(self, node_id: str) -> Connection | None:
        """The node's connection, if this worker holds it."""
        return self._by_node.get(node_id)

    def connections(self) -> list[Connection]:
        """All connections, as they are now."""
        return list(self._by_node.values())

    def node_ids(self) -> list[str]:
        """The nodes whose sockets this worker holds."""
        return list(self._by_node)

    def add(self, connection: Connection) -> None:
        """Take over *connection*; its descriptor, if it has one, is ours from here on."""
        held = self._by_node.get(connection.node_id)
        if held is not None and held.fence <= connection.fence:
            self.replace(held)
        connection.last_received = self._moment()
        is_late = held is not None and held.fence > connection.fence
        if not is_late:
            self._by_node[connection.node_id] = connection
        if connection.fd >= 0:
            os.set_blocking(connection.fd, False)
            self._by_fd += [None] * (connection.fd + 1 - len(self._by_fd))
            self._by_fd[connection.fd] = connection
            self._poll.register(connection.fd, _IN | _RDHUP)
        meters.SOCKETS.labels(connection.transport).inc()
        meters.CONNECTS.labels(connection.transport).inc()
        if is_late:  # two handshakes of one node have crossed: the newer claim stays
            self.close(connection, CloseCode.NORMAL, REPLACED)

    def _moment(self) -> float:
        """The time (monotonic), in one number for all who come within a hundredth of a second: each has 24 bytes."""
        now = time.monotonic()
        if now - self._came_at > 0.01:
            self._came_at = now
        return self._came_at

    # writing

    def deliver(
        self,
        connection: Connection,
        message: Message,
        receipt: Receipt = NO_RECEIPT,
        now: float | None = None,
    ) -> None:
        """Write *message* now, or queue it for as long as the agent is slow.

        Whoever writes to many at once says what *now* (monotonic) is: one number for all, in time and in memory.
        """
        if connection.is_closed:
            return
        if now is None:
            now = time.monotonic()
        connection.last_nudged = now
        if connection.loop is not None:
            if connection.loop.put(connection.encoded(message)):
                self._on_written(connection, receipt)
            else:
                self.drop(connection, "outbox full")
            return
        if connection.outbox is not None:
            self._queue(connection, message, receipt)
            return
        data = connection.encoded(message)
        written = self._write(connection, data)
        if written == len(data):
            self._on_written(connection, receipt)
        elif written >= 0:
            outbox = Outbox(since=now)
            if written:
                # A frame that was begun must be finished before anything else.
                outbox.pinned, outbox.pinned_receipt = data[written:], receipt
            else:
                outbox.waiting.append(Waiting(message, receipt))
            self._clog(connection, outbox)

    def _queue(self, connection: Connection, message: Message, receipt: Receipt) -> None:
        assert connection.outbox is not None
        try:
            if connection.outbox.add(message, receipt):
                meters.COALESCED.inc()
        except OutboxFullError:
            self.drop(connection, "outbox full")

    def _control(self, connection: Connection, data: bytes) -> None:
        """Write a control frame; one that the kernel does not take at all is not worth queueing."""
        if connection.outbox is not None:
            return
        written = self._write(connection, data)
        if 0 < written < len(data):
            self._clog(connection, Outbox(since=time.monotonic(), pinned=data[written:]))

    def _write(self, connection: Connection, data: bytes) -> int:
        """How many bytes the kernel took; -1 if the connection is gone."""
        try:
            return os.write(connection.fd, data)
        except BlockingIOError:
            return 0
        except OSError as error:
            self.drop(connection, f"write failed: {error.strerror}")
            return -1

    def _clog(self, connection: Connection, outbox: Outbox) -> None:
        connection.outbox = outbox
        self._clogged.add(connection)
        self._poll.modify(connection.fd, _IN | _OUT | _RDHUP)

    def _flush(self, connection: Connection) -> None:
        """The kernel takes bytes again: finish the pinned frame, then what waits."""
        outbox = connection.outbox
        if outbox is None:
            return
        while True:
            if outbox.pinned:
                written = self._write(connection, outbox.pinned)
                if written < 0:
                    return
                outbox.pinned = outbox.pinned[written:]
                if outbox.pinned:
                    return
            if outbox.pinned_receipt is not None:
                self._on_written(connection, outbox.pinned_receipt)
                outbox.pinned_receipt = None
            if not outbox.waiting:
                break
            item = outbox.waiting.popleft()
            data = connection.encoded(item.message)
            written = self._write(connection, data)
            if written < 0:
                return
            if written == len(data):
                self._on_written(connection, item.receipt)
            elif written == 0:
                outbox.waiting.appendleft(item)
                return
            else:
                outbox.pinned, outbox.pinned_receipt = data[written:], item.receipt
                return
        connection.outbox = None
        self._clogged.discard(connection)
        self._poll.modify(connection.fd, _IN | _RDHUP)

    # ending

    def close(self, connection: Connection, code: int, reason: str) -> None:
        """Say goodbye and end the connection; it may take two seconds to read that."""
        if connection.is_closed:
            return
        if connection.loop is not None:
            connection.loop.put(connection.goodbye(code, reason))
            connection.loop.end(at_once=False)
            self._forget(connection, reason)
            return
        if connection.outbox is None:
            written = self._write(connection, connection.goodbye(code, reason))
            if written < 0:
                return
        self._linger(connection, reason)

    def replace(self, connection: Connection) -> None:
        """Close *connection* for a newer one of its node; one that is over already has just ended."""
        if not self.drop_if_over(connection):
            self.close(connection, CloseCode.NORMAL, REPLACED)

    def drop_if_over(self, connection: Connection) -> bool:
        """Look whether the peer has gone before epoll says so, and drop *connection* if that is so (hazard 21)."""
        if connection.is_closed or connection.fd < 0:
            return connection.is_closed
        if not has_hung_up(connection.fd):
            return False
        self.drop(connection, "agent closed")
        return True

    def drop(self, connection: Connection, reason: str) -> None:
        """End the connection without a word: nobody is there to read one."""
        if connection.is_closed:
            return
        if connection.loop is not None:
            self._forget(connection, reason)
            connection.loop.end(at_once=True)
            return
        self._forget(connection, reason)
        self._shut(connection.fd)

    def _linger(self, connection: Connection, reason: str) -> None:
        self._forget(connection, reason)
        descriptor = _socket(fileno=connection.fd)
        try:
            descriptor.shutdown(1)  # no more from us; what the peer still sends is read and thrown away
        except OSError:
            pass  # the peer is gone already
        finally:
            descriptor.detach()
        self._lingering[connection.fd] = time.monotonic() + LINGER_SECONDS
        self._poll.modify(connection.fd, _IN | _RDHUP)

    def _forget(self, connection: Connection, reason: str) -> None:
        connection.is_closed = True
        connection.outbox = None
        self._clogged.discard(connection)
        if self._by_node.get(connection.node_id) is connection:
            del self._by_node[connection.node_id]
        if 0 <= connection.fd < len(self._by_fd) and self._by_fd[connection.fd] is connection:
            self._by_fd[connection.fd] = None
        meters.SOCKETS.labels(connection.transport).dec()
        meters.CLOSES.labels(reason.partition(":")[0]).inc()
        self._on_closed(connection, reason)

    def _shut(self, fd: int) -> None:
        self._lingering.pop(fd, None)
        self._poll.unregister(fd)
        os.close(fd)

    # the loop

    def run(self) -> None:
        """Serve what the sockets say, for ever. One greenlet."""
        loop = gevent.get_hub().loop
        watcher = loop.io(self._poll.fileno(), 1)
        try:
            while True:
                gevent.get_hub().wait(watcher)
                has_few = self.turn() < FEW_EVENTS
                gevent.sleep(PAUSE_SECONDS if has_few and not self._clogged else 0)
        finally:
            watcher.close()

    def turn(self) -> int:
        """Handle what is ready now, without waiting; how many sockets that were."""
        held, count = self._by_fd, len(self._by_fd)
        ready = [
            (fd, held[fd] if fd < count else None, event) for fd, event in self._poll.poll(0, EVENTS_A_TURN)
        ]
        self.progressed_at = now = time.monotonic()
        for fd, connection, event in ready:
            if connection is None:
                if fd in self._lingering:
                    self._drain(fd)
                elif fd == self._pulse:
                    os.eventfd_read(fd)
            elif not connection.is_closed:
                if event & _OUT:
                    self._flush(connection)
                if event & ~_OUT and not connection.is_closed:
                    self._read(connection, now)
        return len(ready)

    def _drain(self, fd: int) -> None:
        try:
            if os.read(fd, READ_BYTES):
                return
        except BlockingIOError:
            return
        except OSError:
            pass  # reset by the peer: as good as closed
        self._shut(fd)

    def _read(self, connection: Connection, now: float) -> None:
        try:
            data = os.read(connection.fd, READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self.drop(connection, f"read failed: {error.strerror}")
            return
        if not data:
            self.drop(connection, "agent closed")
            return
        if connection.transport == "sse":
            connection.last_received = now
            return
        try:
            received = connection.receive(data, now)
        except frames.FrameError as error:
            self.close(connection, error.code, error.reason)
            return
        if received.close is not None:
            self._control(connection, received.close)
            if not connection.is_closed:
                self._linger(connection, "agent closed")
        elif received.ping is not None:
            self._control(connection, frames.pong(received.ping))

    def tick(self) -> None:
        """Once a second: keepalives of one slot of the wheel, and the deadlines."""
        now = time.monotonic()
        self._turn += 1
        os.eventfd_write(self._pulse, 1)
        for connection in self._due("ws", self._turn - int(PONG_GRACE_SECONDS)):
            if connection.is_pong_due:
                self.drop(connection, "no pong")
        for transport in KEEPALIVE_TURNS:
            for connection in self._due(transport, self._turn):
                connection.is_pong_due = transport == "ws"
                self._control(connection, connection.keepalive())
        for connection in list(self._clogged):
            if connection.outbox is not None and now - connection.outbox.since > OUTBOX_DEADLINE_SECONDS:
                self.drop(connection, "too slow")
        for fd in [fd for fd, deadline in self._lingering.items() if now > deadline]:
            self._shut(fd)

    def _due(self, transport: str, turn: int) -> list[Connection]:
        """Those whose keepalive is written in this *turn*."""
        turns = KEEPALIVE_TURNS[transport]
        first = turn * STRIDE % turns
        return [c for c in self._by_fd[first::turns] if c is not None and c.transport == transport]

    def heard_since(self, moment: float) -> list[str]:
        """The nodes from which a byte came after *moment* (monotonic)."""
        return [node_id for node_id, c in self._by_node.items() if c.last_received > moment]
