"""Every form of the push channel passes the same tests (hazard 14).

A WebSocket or an event stream, handed to the hub, by gunicorn or before gunicorn reads it, or served by a loop of
its own where a socket cannot be handed over: gunicorn with its own TLS, and the development server with its real
threads.
"""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest
import requests

from tests.hazards.conftest import Fleet
from tests.hazards.test_rfc6455 import Attempt, is_keepalive
from tests.support.api import AgentByHand
from tests.support.doors import Channel, DevelopmentServer, Door
from tests.support.event_stream import EventStreamError
from tests.support.hostile_frames import BROKEN, CLOSING, GOOD
from tests.support.many_nodes import enroll_many
from tests.support.server import Server
from tests.support.tls_server import TlsServer, self_signed
from tests.support.until import until
from tests.support.websocket_client import (
    PING,
    PONG,
    TEXT,
    Frame,
    WebSocketClient,
    WebSocketClientError,
    WebSocketRefusedError,
    frame_bytes,
    handshake_headers,
    upgrade_request,
)

WEBSOCKETS = ["handed over", "handed over by gunicorn", "TLS", "development server"]
NOT_PLAIN = {"Cookie": "caf\xe9"}
"""What no agent sends, so that the handshake does not go the short way."""
FORMS = [*WEBSOCKETS, "stream handed over", "stream over TLS"]


@pytest.fixture(scope="module")
def tls_server(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsServer]:
    """The session's installation once more, behind gunicorn's own TLS."""
    folder = tmp_path_factory.mktemp("tls")
    other = TlsServer(folder, server.settings, self_signed(folder))
    try:
        other.start()
        yield other
    finally:
        other.close()


@pytest.fixture(scope="module")
def development_server(
    server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DevelopmentServer]:
    """And once more in one process with real threads."""
    other = DevelopmentServer(tmp_path_factory.mktemp("flask"), server.settings)
    yield other
    other.close()


@pytest.fixture(scope="module")
def doors(server: Server, tls_server: TlsServer, development_server: DevelopmentServer) -> dict[str, Door]:
    return {
        "handed over": Door(server),
        "handed over by gunicorn": Door(server, more=NOT_PLAIN),
        "TLS": Door(tls_server),
        "development server": Door(development_server),
        "stream handed over": Door(server, "sse"),
        "stream over TLS": Door(tls_server, "sse"),
    }


@pytest.fixture(params=FORMS)
def door(request: pytest.FixtureRequest, doors: dict[str, Door]) -> Door:
    return doors[request.param]


@pytest.fixture(params=WEBSOCKETS)
def websocket_door(request: pytest.FixtureRequest, doors: dict[str, Door]) -> Door:
    return doors[request.param]


def opened(fleet: Fleet, channel: Channel) -> Channel:
    """Closed with the fleet."""
    fleet.opened.append(channel.client)
    return channel


def test_a_channel_hears_what_it_must_and_ends_as_it_must(fleet: Fleet, door: Door) -> None:
    """Behind: told at once. Then a deploy. Then revoked: 1008, the badge is gone, and no other channel opens."""
    agent = fleet.agent()
    channel = opened(fleet, door.open(agent, up_to_date=False))
    assert channel.read_message()["reason"] == "connected"
    fleet.until_connected([agent])
    push = fleet.operator.node(agent.node_id)["push"]
    assert push["transport"] == door.transport
    assert fleet.operator.deploy(fleet.pipeline_id)["pushed"] == 1
    message = channel.read_message()
    assert message == {"type": "config_changed", "pipelineId": fleet.pipeline_id, "reason": "deploy"}
    fleet.operator.call("POST", f"/nodes/{agent.node_id}/revoke")
    assert channel.read_goodbye() == (1008, "revoked")
    with pytest.raises((WebSocketClientError, EventStreamError)):
        channel.read_message()
    with pytest.raises((WebSocketRefusedError, EventStreamError)):
        door.open(agent, up_to_date=False)


def test_one_live_channel_whatever_its_form(fleet: Fleet, doors: dict[str, Door]) -> None:
    """From each form to the next: the newer one ends the older with 1000 replaced, and hears the next deploy."""
    for former, latter in pairwise([*FORMS, *FORMS[:2]]):
        agent = fleet.agent()  # another one each time: who replaces himself too often is held off
        older = opened(fleet, doors[former].open(agent))
        fleet.until_connected([agent])
        newer = opened(fleet, doors[latter].open(agent))
        assert older.read_goodbye() == (1000, "replaced"), latter
        fleet.until_connected([agent])
        assert fleet.operator.deploy(fleet.pipeline_id)["pushed"] >= 1
        # The badge comes before the look, which may find this very deploy: a nudge more, and the first.
        reasons = [newer.read_message()["reason"]]
        if reasons == ["connected"]:
            reasons.append(newer.read_message()["reason"])
        assert reasons[-1] == "deploy", latter


def opened_together(door: Door) -> int:
    """How many handshakes its server has answered on the short way."""
    text = requests.get(f"{door.server.url}/metrics", timeout=10).text
    found = re.search(r"^signalbox_push_opened_together_total ([\d.]+)$", text, re.M)
    return int(float(found[1])) if found else 0


def test_plain_handshakes_go_the_short_way_and_others_do_not(fleet: Fleet, doors: dict[str, Door]) -> None:
    """So the forms are tested that they are called by. Both are of one server, which counts once it has answered."""
    before = opened_together(doors["handed over"])

    def counted() -> int:
        return opened_together(doors["handed over"]) - before

    for name in ("handed over by gunicorn", "handed over"):
        for agent in fleet.agents(3):
            opened(fleet, doors[name].open(agent))
    until(lambda: counted() >= 3, what="the plain ones to be counted")
    assert counted() == 3, "the others went the short way too"


def test_a_bad_token_is_refused_before_the_answer(door: Door) -> None:
    """401, and neither a 101 nor a stream."""
    for token in (None, "sbx_node_0_" + "0" * 64):
        if door.transport == "ws":
            client, answer = door.upgrade(token)
            client.close()
            assert answer.status == 401
        else:
            with pytest.raises(EventStreamError) as refused:
                door.open(AgentByHand(door.server.url, token), up_to_date=False)
            assert refused.value.status == 401


def test_neither_compression_nor_a_subprotocol_is_agreed_to(fleet: Fleet, websocket_door: Door) -> None:
    """Both cost memory, and none of them is spoken here."""
    client, answer = websocket_door.upgrade(
        fleet.agent().token, Sec_WebSocket_Extensions="permessage-deflate", Sec_WebSocket_Protocol="mqtt"
    )
    fleet.opened.append(client)
    assert answer.status == 101
    assert not {"sec-websocket-extensions", "sec-websocket-protocol"} & set(answer.headers)


def test_bytes_behind_the_handshake_are_refused_not_swallowed(fleet: Fleet, websocket_door: Door) -> None:
    """Hazard 16: what the server's own parser has read already would vanish with it."""
    client = WebSocketClient(websocket_door.dial())
    fleet.opened.append(client)
    url = f"{websocket_door.server.url}/api/agent/ws"
    request = upgrade_request(url, handshake_headers(url, fleet.agent().token))
    client.send_bytes(request + frame_bytes(TEXT, b"early"))
    assert client.read_answer().status == 400


def test_every_ending_has_its_close_code(fleet: Fleet, websocket_door: Door) -> None:
    """All that test_rfc6455 shows in every split, here in one piece, all of it at once; and then the end."""
    cases = BROKEN | CLOSING
    revision = fleet.agent().config().json()["configRevision"]
    tokens = enroll_many(fleet.server.settings, fleet.environment_id, len(cases))
    attempts = []
    for (name, case), token in zip(cases.items(), tokens, strict=True):
        client = websocket_door.websocket(token, revision)
        fleet.opened.append(client)
        attempts.append(Attempt(name, case, 0, client))
        client.send_bytes(case.data)
    assert {a.name: fault for a in attempts if (fault := a.fault()) is not None} == {}


def test_what_keeps_the_rules_ends_nothing(fleet: Fleet, websocket_door: Door) -> None:
    """One after the other on one channel, and the ping behind each is answered with its payload."""
    agent = fleet.agent()
    client = websocket_door.websocket(agent.token, agent.config().json()["configRevision"])
    fleet.opened.append(client)
    for name, frames in GOOD.items():
        for frame in (*frames, frame_bytes(PING, name.encode())):
            client.send_bytes(frame)
        while is_keepalive(answer := client.read_frame()):
            pass
        assert (answer.opcode, answer.payload) == (PONG, name.encode())
    fleet.until_connected([agent])
    fleet.operator.deploy(fleet.pipeline_id)
    assert client.read_message()["reason"] == "deploy"


@pytest.mark.long
def test_a_ping_and_a_pong_keep_the_channel_and_who_does_not_answer_loses_it(
    fleet: Fleet, doors: dict[str, Door]
) -> None:
    """All forms at once: within 30 s a ping and an unsolicited pong; a nudge meanwhile waits for no pong."""
    deploying = threading.Lock()

    def connect(name: str) -> WebSocketClient:
        client = doors[name].open(fleet.agent()).client
        assert isinstance(client, WebSocketClient)
        fleet.opened.append(client)
        return client

    def next_but_nudges(client: WebSocketClient, seconds: float) -> Frame:
        """The next other frame; all of it, nudges too, within *seconds*."""
        end = time.monotonic() + seconds
        while (frame := client.read_frame(max(0.01, end - time.monotonic()))).opcode == TEXT:
            pass
        return frame

    def be_silent(client: WebSocketClient) -> None:
        assert [next_but_nudges(client, 31).opcode for _ in range(2)] == [PING, PONG]
        with deploying:
            fleet.operator.deploy(fleet.pipeline_id)
        assert client.read_frame().opcode == TEXT
        with pytest.raises(WebSocketClientError, match="ended"):
            next_but_nudges(client, 15)

    def answer(client: WebSocketClient) -> None:
        assert [next_but_nudges(client, 31).opcode for _ in range(2)] == [PING, PONG]
        client.send_frame(PONG)
        deadline = time.monotonic() + 11
        while (left := deadline - time.monotonic()) > 0:
            with pytest.raises(TimeoutError):
                next_but_nudges(client, left)
        client.send_frame(PING, b"still there?")
        while is_keepalive(frame := next_but_nudges(client, 30)):
            pass
        assert (frame.opcode, frame.payload) == (PONG, b"still there?")

    with ThreadPoolExecutor(8) as threads:
        ends = {
            (name, do.__name__): threads.submit(do, connect(name))
            for name in WEBSOCKETS
            for do in (be_silent, answer)
        }
    assert {which: error for which, end in ends.items() if (error := end.exception())} == {}


def test_a_server_that_stops_says_so(server: Server, fleet: Fleet, tmp_path: Path) -> None:
    """1001 in the forms that serve themselves; test_sockets and test_event_stream show it for the hub's."""
    other = TlsServer(tmp_path, server.settings, self_signed(tmp_path))
    try:
        other.start()
        agents = fleet.agents(6)
        channels = [
            opened(fleet, Door(other, ("ws", "sse")[number % 2]).open(agent))
            for number, agent in enumerate(agents)
        ]
        fleet.until_connected(agents)
        other.process.send_signal(signal.SIGTERM)
        assert {channel.read_goodbye() for channel in channels} == {(1001, "going away")}
        assert other.process.wait(30) == 0
        until(
            lambda: not any(fleet.operator.node(agent.node_id)["push"]["connected"] for agent in agents),
            what="the badges' end",
        )
    finally:
        other.close()
