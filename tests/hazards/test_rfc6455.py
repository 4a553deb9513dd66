"""RFC 6455 over a socket: each rule that a hostile client can break, its bytes cut in two wherever they can be.

What a case sends stands in ``tests/support/hostile_frames.py``. All cuts of a section are under way at once, each
on a channel of its own beside neighbours that keep the rules.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest

from tests.hazards.conftest import Fleet
from tests.support.hostile_frames import BROKEN, CLOSING, GOOD, Case
from tests.support.many_nodes import enroll_many
from tests.support.until import until
from tests.support.websocket_client import (
    CLOSE,
    PING,
    PONG,
    Frame,
    WebSocketClient,
    WebSocketRefusedError,
    frame_bytes,
)

SECTIONS = sorted({case.section for case in (*BROKEN.values(), *CLOSING.values())})
STAY_SECONDS = 2.0
CONNECT_SECONDS = 30.0


@dataclass
class Attempt:
    """One case with its bytes cut at *cut*."""

    name: str
    case: Case
    cut: int
    client: WebSocketClient

    def fault(self) -> str | None:
        """What is wrong with how the channel ended; ``None`` if all is as it must be."""
        try:
            frames = [f for f in self.client.read_rest() if not is_keepalive(f)]
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        if [f.opcode for f in frames if f.opcode != PONG] != [CLOSE] or frames[-1].opcode != CLOSE:
            return f"a close frame must be the last and only thing, but there came {frames}"
        last = frames[-1]
        if not last.fin or last.rsv or last.masked or len(last.payload) > 125:
            return f"the close frame itself is broken: {last}"
        if last.close_code != self.case.code:
            return f"{last.close_code} ({last.close_reason}) in place of {self.case.code}"
        return None


def is_keepalive(frame: Frame) -> bool:
    return frame.opcode in (PING, PONG) and frame.payload == b""


class Crowd:
    """Channels on the session's server, each of a fresh node that is up to date."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._url = f"{fleet.operator.url}/api/agent/ws"
        self._revision = fleet.agent().config().json()["configRevision"]
        self._stays_until = 0.0
        self.neighbours = self._find_neighbours()

    def connect(self, count: int) -> list[WebSocketClient]:
        tokens = enroll_many(self._fleet.server.settings, self._fleet.environment_id, count)
        clients: list[WebSocketClient] = []
        for token in tokens:
            clients.append(self._connect(token))
            self._fleet.opened.append(clients[-1])
            self._stay(clients)
        return clients

    def _stay(self, clients: Sequence[WebSocketClient] = ()) -> None:
        """Now and then a pong of *clients* and of the neighbours, whom nobody reads while others are busy for long.

        The server drops whoever was pinged and sent none within ten seconds.
        """
        if time.monotonic() < self._stays_until:
            return
        for client in [*clients, *self.neighbours]:
            client.send_frame(PONG, b"")
        self._stays_until = time.monotonic() + STAY_SECONDS

    def _connect(self, token: str) -> WebSocketClient:
        deadline = time.monotonic() + CONNECT_SECONDS
        while True:
            try:
                return WebSocketClient.connect(
                    self._url, token, headers={"X-Config-Revision": self._revision}
                )
            except WebSocketRefusedError as refused:
                if refused.answer.status != 503 or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def _find_neighbours(self) -> list[WebSocketClient]:
        """One on each worker, whichever took the connections."""
        workers: dict[str, WebSocketClient] = {}
        for _ in range(40):
            agent = self._fleet.agent()
            client = self._fleet.connect(agent)
            self._fleet.until_connected([agent])
            workers.setdefault(self._fleet.operator.node(agent.node_id)["push"]["worker"], client)
            if len(workers) == self._fleet.server.workers:
                return list(workers.values())
        raise AssertionError("no neighbour on each worker")

    def until_read(self, clients: list[WebSocketClient]) -> None:
        """Until the server's kernel has taken, and each worker has read, what *clients* have sent.

        A worker's epoll hands out what is ready in turns: a second ping is read in a later turn than the first
        one, whose turn has every socket that was ready before it.
        """
        for client in clients:
            client.wait_acknowledged()
            self._stay()
        for payload in (b"one", b"two"):
            for neighbour in self.neighbours:
                neighbour.send_frame(PING, payload)
            for neighbour in self.neighbours:
                while (frame := neighbour.read_frame()).payload != payload:
                    assert is_keepalive(frame), frame
                    if frame.opcode == PING:  # on a busy machine all this takes longer than a pong may
                        neighbour.send_frame(PONG, b"")
                assert frame.opcode == PONG

    def attempt(self, cases: dict[str, Case]) -> list[Attempt]:
        """Send each case in every split; the second part only after the first was read."""
        wanted = [(name, case, cut) for name, case in cases.items() for cut in (0, *case.cuts())]
        clients = self.connect(len(wanted))
        attempts = [Attempt(*one, client) for one, client in zip(wanted, clients, strict=True)]
        for part in (0, 1):
            for attempt in attempts:
                data = attempt.case.data[attempt.cut :] if part else attempt.case.data[: attempt.cut]
                try:
                    attempt.client.send_segment(data)
                except ConnectionError:
                    pass  # refused already by its first part, and closed; what it read tells
                self._stay()
            self.until_read([attempt.client for attempt in attempts])
        return attempts


@pytest.fixture
def crowd(fleet: Fleet) -> Iterator[Crowd]:
    """The crowd's neighbours must be undisturbed in the end: a deploy reaches them, and nothing else did."""
    crowd = Crowd(fleet)
    yield crowd
    fleet.operator.deploy(fleet.pipeline_id)
    for neighbour in crowd.neighbours:
        # A sweep that comes between the commit and the nudge tells of it first.
        assert neighbour.read_message()["reason"] in ("deploy", "resync")


@pytest.mark.parametrize("section", SECTIONS)
def test_what_breaks_a_rule_is_answered_with_its_close_code_and_the_end(crowd: Crowd, section: str) -> None:
    """In every split: the exact code, the close frame as the last thing, then the end of the TCP connection."""
    cases = {name: case for name, case in (BROKEN | CLOSING).items() if case.section == section}
    faults = {(a.name, a.cut): fault for a in crowd.attempt(cases) if (fault := a.fault()) is not None}
    assert faults == {}


def test_what_keeps_the_rules_ends_nothing(crowd: Crowd) -> None:
    """In every split around each frame's head: the ping behind it is answered with its payload, once."""
    wanted = []
    for name, frames in GOOD.items():
        data = b"".join((*frames, frame_bytes(PING, name.encode())))
        wanted += [
            (name, data, cut) for cut in Case("", (*frames, data[-40:]), None).cuts() if cut < len(data)
        ]
    clients = crowd.connect(len(wanted))
    for client, (_, data, cut) in zip(clients, wanted, strict=True):
        client.send_segment(data[:cut])
    crowd.until_read(clients)
    for client, (name, data, cut) in zip(clients, wanted, strict=True):
        client.send_segment(data[cut:])
        frames = (client.read_frame() for _ in itertools.count())
        answer = next(frame for frame in frames if not is_keepalive(frame))
        assert (answer.opcode, answer.payload) == (PONG, name.encode()), (name, cut)


def test_a_ping_is_answered_with_the_same_payload(crowd: Crowd) -> None:
    """Pings of 0, 1 and 125 bytes, each behind the other's answer; of a burst the latest at least is answered."""
    (client,) = crowd.connect(1)
    for payload in (b"x", bytes(range(125)), b"\xff" * 125):
        client.send_frame(PING, payload)
        while is_keepalive(answer := client.read_frame()):
            pass
        assert (answer.opcode, answer.payload) == (PONG, payload)
    client.send_bytes(b"".join(frame_bytes(PING, b"%d" % number) for number in range(50)))
    answers = until_payload(client, b"49")
    assert answers == sorted(set(answers), key=int)


def until_payload(client: WebSocketClient, last: bytes) -> list[bytes]:
    """The payloads of all pongs up to *last*."""
    payloads: list[bytes] = []

    def is_last() -> bool:
        frame = client.read_frame()
        if not is_keepalive(frame):
            assert frame.opcode == PONG
            payloads.append(frame.payload)
        return payloads[-1:] == [last]

    until(is_last, what="the answer to the latest ping")
    return payloads
