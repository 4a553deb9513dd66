"""Hazards 14, 15 and 16: a socket goes from gunicorn to the hub whole, or not at all; and it is told goodbye."""

import signal
import threading

import pytest
import requests

from tests.hazards.conftest import Fleet
from tests.support.websocket_client import (
    PING,
    PONG,
    WebSocketClient,
)


def test_no_byte_of_anybody_else_reaches_a_handed_over_socket(fleet: Fleet) -> None:
    """Hazard 14: gunicorn that still owned the descriptor would close it, or answer on it, under its number.

    Sockets come and go by the hundred amid plain requests; each that stays hears its own nudges and nothing else.
    """
    agents = fleet.agents(20)
    staying: dict[str, WebSocketClient] = {}
    stop = threading.Event()
    failures: list[str] = []

    def plain_requests() -> None:
        while not stop.is_set():
            answer = requests.get(f"{fleet.operator.url}/healthz", timeout=30)
            if answer.status_code != 200:
                failures.append(answer.text)

    others = [threading.Thread(target=plain_requests) for _ in range(3)]
    for thread in others:
        thread.start()
    try:
        for _ in range(5):
            for agent in agents:
                passing = agent.connect()
                passing.reset() if agents.index(agent) % 2 else passing.close()
        for agent in agents:
            staying[agent.node_id] = fleet.connect(agent)
        fleet.until_connected(agents)
        for _ in range(5):
            pushed = fleet.operator.deploy(fleet.pipeline_id)
            assert pushed["pushed"] == len(agents)
            for client in staying.values():
                # On a slow machine a sweep may have come between, whose nudge is one more of these.
                assert client.read_message()["type"] == "config_changed"
    finally:
        stop.set()
        for thread in others:
            thread.join(30)
    assert failures == []


def test_an_established_channel_outlives_the_requests_time_limits(fleet: Fleet) -> None:
    """Hazard 14: past gunicorn's keep-alive limit of five seconds the socket is nobody's but the hub's."""
    agent = fleet.agent()
    client = fleet.connect(agent)
    with pytest.raises(TimeoutError):
        client.read_message(seconds=8)
    fleet.operator.deploy(fleet.pipeline_id)
    assert client.read_message()["reason"] == "deploy"


def test_a_ping_is_answered_and_a_close_too(fleet: Fleet) -> None:
    """The hub speaks the protocol: the ping's payload comes back, the close code too, then the end."""
    client = fleet.connect(fleet.agent(), up_to_date=False)
    assert client.read_message()["reason"] == "connected"
    client.send_frame(PING, b"are you there")
    frame = client.read_frame()
    assert (frame.opcode, frame.payload) == (PONG, b"are you there")
    client.send_close(1000, "done")
    assert client.read_close().close_code == 1000
    assert client.read_end() == b""


def test_every_socket_is_told_goodbye_when_the_server_stops(own_fleet: Fleet) -> None:
    """Hazard 15: gunicorn does not see these sockets; without the drain they end without a close frame."""
    agents = own_fleet.agents(60)
    clients = [own_fleet.connect(agent) for agent in agents]
    own_fleet.until_connected(agents)
    server = own_fleet.server
    server.process.send_signal(signal.SIGTERM)
    codes = [client.read_close().close_code for client in clients]
    assert codes == [1001] * 60
    assert server.process.wait(30) == 0
    log = server.log.read_text()
    assert "graceful timeout" not in log
