"""Many agents' channels at once, which dial again whenever they are closed."""

import queue
import random
import selectors
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.support.many_nodes import enroll_many
from tests.support.websocket_client import (
    CLOSE,
    PING,
    PONG,
    TEXT,
    WebSocketClient,
    WebSocketClientError,
    WebSocketRefusedError,
)

DIALLERS = 6
REDIAL_SECONDS = 0.3
"""The span over which those that were closed dial again."""


def enroll(settings: Mapping[str, str], environment_id: str, count: int) -> list[tuple[str, str]]:
    """So many nodes, written to the database as enrolling them would; (node id, token) of each."""
    # A token names its owner: sbx_node_<id>_<secret>.
    return [(token.split("_")[2], token) for token in enroll_many(settings, environment_id, count)]


@dataclass
class Member:
    """One agent of the swarm."""

    node_id: str
    token: str
    client: WebSocketClient | None = None
    last_heard: float = 0.0
    """Monotonic time of its last ``config_changed``."""
    heard: int = 0
    """How many ``config_changed`` it has heard."""
    lost_at: float = 0.0
    longest_gap: float = 0.0
    """Seconds for which it had no channel, at most, since it had one first."""
    closes: list[tuple[int | None, str]] = field(default_factory=list)
    """How its channels ended; code ``None`` where no close frame came."""
    refusals: list[int] = field(default_factory=list)


class Swarm:
    """The members; each dials one of *urls* at random, again after each end, until ``close``."""

    def __init__(self, urls: Sequence[str], nodes: Sequence[tuple[str, str]], revision: str) -> None:
        """*revision* is what all of them say they run, for ever."""
        self.urls = list(urls)
        self.members = [Member(node_id, token) for node_id, token in nodes]
        self._revision = revision
        self._due: queue.Queue[Member | None] = queue.Queue()
        self._fresh: queue.Queue[Member] = queue.Queue()
        self._is_closed = False
        self._threads = [threading.Thread(target=self._read, daemon=True)]
        self._threads += [threading.Thread(target=self._dial, daemon=True) for _ in range(DIALLERS)]

    def __enter__(self) -> "Swarm":
        for thread in self._threads:
            thread.start()
        for member in self.members:
            self._due.put(member)
        return self

    def __exit__(self, *_: object) -> None:
        self._is_closed = True
        for _ in range(DIALLERS):
            self._due.put(None)
        for thread in self._threads:
            thread.join(15)
        for member in self.members:
            if member.client is not None:
                member.client.close()

    def connected(self) -> int:
        """How many have a channel now."""
        return sum(1 for member in self.members if member.client is not None)

    def heard_since(self, moment: float) -> int:
        """How many have been told of a change after *moment* (monotonic)."""
        return sum(1 for member in self.members if member.last_heard >= moment)

    def _dial(self) -> None:
        while (member := self._due.get()) is not None and not self._is_closed:
            url = random.choice(self.urls)
            headers = {"X-Config-Revision": self._revision}
            try:
                client = WebSocketClient.connect(f"{url}/api/agent/ws", member.token, headers=headers)
            except (WebSocketClientError, OSError) as error:
                if isinstance(error, WebSocketRefusedError):
                    member.refusals.append(error.answer.status)
                self._later(member)
                continue
            if member.lost_at:
                member.longest_gap = max(member.longest_gap, time.monotonic() - member.lost_at)
            member.client = client
            self._fresh.put(member)

    def _later(self, member: Member) -> None:
        timer = threading.Timer(random.uniform(0.05, REDIAL_SECONDS), self._due.put, [member])
        timer.daemon = True
        timer.start()

    def _read(self) -> None:
        selector = selectors.DefaultSelector()
        with selector:
            while not self._is_closed:
                while not self._fresh.empty():
                    fresh = self._fresh.get()
                    assert fresh.client is not None
                    selector.register(fresh.client.socket, selectors.EVENT_READ, fresh)
                    self._take(selector, fresh)  # what came behind the handshake
                for key, _ in selector.select(0.02):
                    self._take(selector, key.data)

    def _take(self, selector: selectors.BaseSelector, member: Member) -> None:
        client = member.client
        assert client is not None
        try:
            while True:
                frame = client.read_frame(0.0)
                if frame.opcode == PING:
                    client.send_frame(PONG, frame.payload)
                elif frame.opcode == TEXT and frame.json()["type"] == "config_changed":
                    member.last_heard = time.monotonic()
                    member.heard += 1
                elif frame.opcode == CLOSE:
                    self._lose(selector, member, (frame.close_code, frame.close_reason))
                    return
        except TimeoutError:
            return
        except (WebSocketClientError, OSError):
            self._lose(selector, member, (None, ""))

    def _lose(self, selector: selectors.BaseSelector, member: Member, end: tuple[int | None, str]) -> None:
        assert member.client is not None
        selector.unregister(member.client.socket)
        member.client.close()
        member.client, member.lost_at = None, time.monotonic()
        member.closes.append(end)
        self._later(member)
