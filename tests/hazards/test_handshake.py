"""The opening handshake over a socket (RFC 6455, section 4): 101 for what keeps the rules, else a 4xx."""

from __future__ import annotations

import json

import pytest

from tests.hazards.conftest import Fleet
from tests.support.api import AgentByHand
from tests.support.many_nodes import enroll_many
from tests.support.websocket_client import (
    PING,
    PONG,
    Answer,
    WebSocketClient,
    WebSocketClientError,
    accept_for,
    frame_bytes,
    handshake_headers,
)

Lines = dict[str, str | None]
"""Fields to replace, or to take away where they are ``None``."""

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # of RFC 6455, section 1.3

REFUSED: dict[str, tuple[int, str, Lines, list[str], bytes]] = {
    # status, request line, changed fields, added lines, what follows
    "no key": (400, "", {"Sec-WebSocket-Key": None}, [], b""),
    "an empty key": (400, "", {"Sec-WebSocket-Key": ""}, [], b""),
    "a key of the wrong length": (400, "", {"Sec-WebSocket-Key": "c2hvcnQ="}, [], b""),
    "a key that is not base64": (400, "", {"Sec-WebSocket-Key": "not base64 at all!!!!!!!"}, [], b""),
    "a key that is not ASCII": (400, "", {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jé=="}, [], b""),
    "two keys": (400, "", {}, [f"Sec-WebSocket-Key: {KEY}"], b""),
    "no version": (400, "", {"Sec-WebSocket-Version": None}, [], b""),
    "another version": (400, "", {"Sec-WebSocket-Version": "8"}, [], b""),
    "a list of versions": (400, "", {"Sec-WebSocket-Version": "13, 8"}, [], b""),
    "two versions": (400, "", {}, ["Sec-WebSocket-Version: 8"], b""),
    "a version that is nearly 13": (400, "", {"Sec-WebSocket-Version": "013"}, [], b""),
    "no Upgrade": (400, "", {"Upgrade": None}, [], b""),
    "an Upgrade to something else": (400, "", {"Upgrade": "h2c"}, [], b""),
    "no Connection": (400, "", {"Connection": None}, [], b""),
    "a Connection without upgrade": (400, "", {"Connection": "keep-alive"}, [], b""),
    "no Host": (400, "", {"Host": None}, [], b""),
    "a Host that is no host": (400, "", {"Host": "a..b"}, [], b""),
    "two Hosts": (400, "", {}, ["Host: other.example"], b""),
    "HTTP/1.0": (400, "GET /api/agent/ws HTTP/1.0", {}, [], b""),
    "a POST": (405, "POST /api/agent/ws HTTP/1.1", {}, ["Content-Length: 0"], b""),
    "a body": (400, "", {}, ["Content-Length: 3"], b"abc"),
    "a body that never comes": (400, "", {}, ["Content-Length: 3"], b""),
    "a chunked body": (400, "", {}, ["Transfer-Encoding: chunked"], b"3\r\nabc\r\n0\r\n\r\n"),
    "a field of 10,000 bytes": (431, "", {}, ["Cookie: " + "x" * 10_000], b""),
    "200 fields": (431, "", {}, [f"X-Field-{number}: x" for number in range(200)], b""),
    "a field without a name": (400, "", {}, [": x"], b""),
    "control characters in a field": (400, "", {}, ["Cookie: a\x0bb\x0cc\x01d"], b""),
    "a zero byte in a field": (400, "", {}, ["Cookie: a\0b"], b""),
}

ACCEPTED: dict[str, tuple[Lines, list[str]]] = {
    "the handshake of RFC 6455's example": ({"Sec-WebSocket-Key": KEY}, []),
    "names and words in another case": (
        {"Upgrade": None, "Connection": None}, ["UPGRADE: WebSocket", "cOnNeCtIoN: keep-alive, UPGRADE"],
    ),
    "an Origin": ({}, ["Origin: https://evil.example"]),
    "subprotocols": ({}, ["Sec-WebSocket-Protocol: mqtt, graphql-ws"]),
    "a subprotocol that is not ASCII": ({}, ["Sec-WebSocket-Protocol: caf\xe9"]),
    "compression": ({}, ["Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x-\xe9"]),
    "a Host that is not ASCII": ({"Host": "caf\xe9"}, []),
    "a Connection that is not ASCII": ({"Connection": "Upgrade, caf\xe9"}, []),
    "a field of 8,000 bytes": ({}, ["Cookie: " + "x" * 8_000]),
    "80 fields": ({}, [f"X-Field-{number}: {'x' * 500}" for number in range(80)]),
    "a cookie that is not ASCII": ({}, ["Cookie: caf\xe9"]),
}  # fmt: skip


def request_bytes(
    agent: AgentByHand, line: str = "", changed: Lines | None = None, added: list[str] | None = None
) -> bytes:
    headers: Lines = {**handshake_headers(f"{agent.url}/api/agent/ws", agent.token), **(changed or {})}
    lines = [line or "GET /api/agent/ws HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join([*lines, *(added or []), "", ""]).encode("latin-1")


def answers_a_ping(client: WebSocketClient) -> bool:
    client.send_frame(PING, b"there?")
    try:
        while (frame := client.read_frame()).payload != b"there?":
            pass
    except (WebSocketClientError, TimeoutError):
        return False
    return frame.opcode == PONG


def test_a_handshake_that_breaks_the_rules_is_refused_and_one_that_keeps_them_is_not(fleet: Fleet) -> None:
    """Never a 101 and never a 500 for what section 4.2.1 forbids; nothing else in a request stands in the way.

    What was refused is not shown as connected. A version that is not 13 is told which one is (section 4.4).
    """
    faults: dict[str, object] = {}
    refused = []
    for name, (status, line, changed, added, behind) in REFUSED.items():
        agent = fleet.agent()
        answer = fleet.dial(request_bytes(agent, line, changed, added) + behind).read_answer()
        refused.append(agent)
        if answer.status != status:
            faults[name] = answer
        if "version" in name and answer.headers.get("sec-websocket-version") != "13":
            faults[name] = answer
    head = fleet.agent()
    url = f"{fleet.operator.url}/api/agent/ws"
    answer_to_head = head.session.head(url, headers=handshake_headers(url, head.token), timeout=30)
    if answer_to_head.status_code != 400:
        faults["a HEAD"] = answer_to_head
    for name, (changed, added) in ACCEPTED.items():
        client = fleet.dial(request_bytes(fleet.agent(), "", changed, added))
        answer = client.read_answer()
        extra = set(answer.headers) & {"sec-websocket-protocol", "sec-websocket-extensions"}
        if answer.status != 101 or extra:
            faults[name] = answer
        elif not answers_a_ping(client):
            faults[name] = "the ping was not answered"
    assert faults == {}
    assert [agent for agent in refused if fleet.operator.node(agent.node_id)["push"]["connected"]] == []


def test_the_answer_to_the_example_s_key_is_the_example_s(fleet: Fleet) -> None:
    """RFC 6455, section 1.3."""
    answer = fleet.dial(request_bytes(fleet.agent(), "", {"Sec-WebSocket-Key": KEY})).read_answer()
    assert accept_for(KEY) == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert answer.status == 101
    assert answer.headers["sec-websocket-accept"] == accept_for(KEY)
    assert answer.headers["upgrade"].lower() == "websocket"
    assert answer.headers["connection"].lower() == "upgrade"


def test_no_byte_that_comes_with_the_handshake_is_swallowed(fleet: Fleet) -> None:
    """Hazard 16, in every split of the handshake and a ping behind it: refused, or read; never lost.

    What arrives in one portion with the end of the request is in gunicorn's buffer, which the hub never sees: 400.
    What comes after the 101 is the hub's. A ping that no 400 refused is answered.
    """
    early = frame_bytes(PING, b"there?")
    length = len(request_bytes(fleet.agent()))
    cuts = [*range(1, length, 40), *range(length - 6, length + len(early))]
    tokens = enroll_many(fleet.server.settings, fleet.environment_id, len(cuts))
    dialled = []  # soon: a request that is not here whole within gunicorn's keep-alive limit is given up
    for cut, token in zip(cuts, tokens, strict=True):
        data = request_bytes(AgentByHand(fleet.operator.url, token)) + early
        assert len(data) == length + len(early)
        client = fleet.dial(b"")
        client.send_segment(data[:cut])
        dialled.append((client, data[cut:]))
    for client, _ in dialled:
        client.wait_acknowledged()
    answers: list[Answer] = []
    for cut, (client, rest) in zip(cuts, dialled, strict=True):
        if cut == length:
            answers.append(client.read_answer())
        try:
            client.send_segment(rest)
        except ConnectionError:
            pass  # refused already
        if cut != length:
            answers.append(client.read_answer())
        if answers[-1].status == 101:
            while (frame := client.read_frame()).payload != b"there?":
                pass
            assert frame.opcode == PONG
        else:
            assert "error" in json.loads(answers[-1].body)
    assert [(cut, answer.status) for cut, answer in zip(cuts, answers, strict=True)] == [
        (cut, 101 if cut == length else 400) for cut in cuts
    ]


@pytest.mark.parametrize("token", [None, "nonsense", "sbx_node_0_" + "0" * 64, "sbx_enroll_0_" + "0" * 64])
def test_a_bad_token_is_refused_before_the_upgrade(fleet: Fleet, token: str | None) -> None:
    """A plain 401, not a 101 and a close."""
    client = fleet.dial(request_bytes(AgentByHand(fleet.operator.url, token)))
    assert client.read_answer().status == 401
