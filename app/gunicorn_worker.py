"""gunicorn's gevent worker, with two habits of its own: it accepts evenly, and it leaves without a gap.

All workers share the master's listening socket, so what waits in its queue outlives every one of them (ADR 10).
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import gevent
from gevent import monkey
from gevent.server import StreamServer
from gevent.socket import socket as GeventSocket
from gevent.socket import wait_read
from gunicorn.util import write_nonblock
from gunicorn.workers.ggevent import GeventWorker

from app import switchboard_process
from app.agent_api.short_upgrade import ShortUpgrades
from app.crew import State, crew, has_freer
from app.malformed_requests import answer_to

_plain_socket = monkey.get_original("socket", "socket")

YIELD_SECONDS = 0.004
"""How long a worker leaves a connection to one that holds less, before it takes it all the same."""
REPLACEMENT_SECONDS = 8.0
"""How long a worker that is to go stays for those that are booting; well inside ``graceful_timeout``."""
LOOK_SECONDS = 0.05
LAST_ACCEPTS = 1000


class Address:
    """Where a socket listens. gunicorn asks for that once more with each connection, also after it was closed."""

    def __init__(self, listener: Any) -> None:
        self._name = listener.getsockname()

    def getsockname(self) -> Any:
        """As the socket's own."""
        return self._name


class Acceptor(StreamServer):  # type: ignore[misc]
    """Takes connections for one worker from one listening socket, one at a time, the freest worker first.

    Without that the kernel wakes all workers, always in the same order (hazard 20).
    """

    max_accept = 1

    def __init__(self, worker: HubWorker, listener: Any, spawn: Any, **more: Any) -> None:
        ssl_options = {name: more[name] for name in ("ssl_context",) if name in more}
        self.serve = partial(worker.handle, Address(listener))
        """Have gunicorn serve a connection and its peer's address."""
        super().__init__(listener, handle=self.serve, spawn=spawn, **ssl_options)
        self.spawn = spawn.spawn
        """Run a function in a greenlet for which the worker waits when it leaves."""
        self._worker = worker
        self._is_early = False
        """Whether the connection that was accepted last has said nothing yet."""
        self._yielding_until: float | None = None
        worker.acceptors.append(self)

    def do_read(self) -> tuple[Any, Any] | None:
        """The next connection and its peer, unless it is one of those handshakes that come in thousands."""
        try:
            fd, peer = self.socket._accept()  # as gevent's own
        except BlockingIOError:
            return None
        kind = (self.socket.family, self.socket.type, self.socket.proto)
        client = _plain_socket(*kind, fd)
        is_taken = self._is_taken(client, peer)
        if is_taken:
            return None
        self._is_early = is_taken is None
        return GeventSocket(*kind, fileno=client.detach()), peer

    def do_handle(self, client: Any, peer: Any) -> None:
        """Have gunicorn serve a connection; one that has said nothing yet may turn out to be such a handshake."""
        if self._is_early:
            self.spawn(self._wait_and_handle, client, peer)
        else:
            super().do_handle(client, peer)

    def _is_taken(self, client: Any, peer: Any) -> bool | None:
        upgrades = self._worker.upgrades
        return upgrades is not None and not self.ssl_enabled and upgrades.take(client, peer, self)

    def _wait_and_handle(self, client: Any, peer: Any) -> None:
        try:
            wait_read(client.fileno(), self._worker.cfg.keepalive, TimeoutError())
        except (TimeoutError, OSError):
            client.close()  # as gunicorn does it: without a word to who says nothing
            return
        fd = client.fileno()
        plain = _plain_socket(client.family, client.type, client.proto, fd)
        if self._is_taken(plain, peer):
            client.detach()
            return
        plain.detach()
        self.serve(client, peer)

    def _do_read(self) -> None:
        now = time.monotonic()
        if self._worker.should_yield() and (self._yielding_until is None or now < self._yielding_until):
            # A request that ends has us look again too early: the same moment stays the end of the waiting.
            self._yielding_until = self._yielding_until or now + YIELD_SECONDS
            self._wait(self._yielding_until - now)
            return
        self._yielding_until = None
        super()._do_read()
        self._worker.publish_load()

    def _wait(self, seconds: float) -> None:
        """Look away for a moment, at the end of which ``_do_read`` finds what nobody else has taken."""
        self.stop_accepting()
        self._timer = self.loop.timer(seconds)
        self._timer.start(self._look_again)

    def _look_again(self) -> None:
        """The others were busy, or somebody has taken it."""
        if self.started and not self._worker.has_stopped_accepting:
            self.stop_accepting()
            self._yielding_until = None
            super()._do_read()
            self.start_accepting()

    def start_accepting(self) -> None:
        """Not again once the worker leaves: a connection that ends would have the pool start it."""
        if not self._worker.has_stopped_accepting:
            super().start_accepting()

    def close(self) -> None:
        """Let go of the listening socket; where nobody else will, answer what waits in its queue first."""
        if not self.closed and self.started and not crew().loads(self._worker.slot):
            self.stop_accepting()
            self.max_accept = LAST_ACCEPTS
            super()._do_read()
        super().close()


class HubWorker(GeventWorker):  # type: ignore[misc]
    """A worker that holds agents' sockets beside its requests."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.slot: int | None = None
        """In the crew; given by the master before the fork."""
        self.acceptors: list[Acceptor] = []
        self.has_stopped_accepting = False
        self.upgrades: ShortUpgrades | None = None
        self._is_leaving = False
        # gunicorn makes one of these for each listening socket, and calls it as it would gevent's pywsgi.
        self.server_class = partial(Acceptor, self)

    def run(self) -> None:
        """Serve, until the end."""
        self.upgrades = ShortUpgrades(self.wsgi)
        super().run()

    # accepting

    @property
    def load(self) -> int:
        """How many connections this worker holds: agents' channels, and requests under way or waited for."""
        hub = switchboard_process.of(self.wsgi).hub
        waiting = len(self.upgrades) if self.upgrades is not None else 0
        return (
            waiting
            + (len(hub) if hub is not None else 0)
            + sum(len(acceptor.pool) for acceptor in self.acceptors)
        )

    def publish_load(self) -> None:
        """Let the others see what this worker holds."""
        if not self._is_leaving:
            crew().write(self.slot, State.ACCEPTING, self.load)

    def should_yield(self) -> bool:
        """Whether the connection that waits is better left to another worker for a moment."""
        self.publish_load()
        return has_freer(self.load, crew().loads(self.slot))

    def notify(self) -> None:
        """Once a second, from the worker's main loop."""
        super().notify()
        self.publish_load()

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer what is no HTTP with a sentence, and never with a 5xx, which gunicorn has for some of it."""
        answer = answer_to(exc)
        if answer is None:
            super().handle_error(req, client, addr, exc)
            return
        self.log.warning("Invalid request from ip=%s: %s", addr[0] if addr else "", str(exc)[:200])
        try:
            write_nonblock(client, answer)
        except OSError:
            pass  # gone already

    # leaving

    def handle_exit(self, sig: int, frame: Any) -> None:
        """SIGTERM: leave in order. The master of a reload sends it again every second."""
        if self._is_leaving:
            return
        self._is_leaving = True
        crew().write(self.slot, State.LEAVING, 0)
        if self.booted:
            gevent.spawn(self._leave)
        else:
            self.alive = False

    def handle_quit(self, sig: int, frame: Any) -> None:
        """SIGINT and SIGQUIT: leave in a hurry, but not without the sockets' goodbye (``worker_exit``)."""
        self._is_leaving = True
        crew().write(self.slot, State.LEAVING, 0)
        if self.booted:
            self._begin_drain()
        super().handle_quit(sig, frame)

    def _leave(self) -> None:
        """Serve on while the replacements boot; then accept nothing more, say goodbye, and let requests end."""
        deadline = time.monotonic() + REPLACEMENT_SECONDS
        while self.alive and crew().is_booting() and time.monotonic() < deadline:
            gevent.sleep(LOOK_SECONDS)
        self.has_stopped_accepting = True
        for acceptor in self.acceptors:
            acceptor.stop_accepting()
        self._begin_drain()
        self.alive = False  # from here on each answer says "Connection: close"

    def _begin_drain(self) -> None:
        worker = switchboard_process.of(self.wsgi).worker
        if worker is not None:
            worker.begin_drain()
