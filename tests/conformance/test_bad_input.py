"""Bad input to the agent API: a 4xx with a sentence, never a 5xx, and nothing written by halves."""

import socket
from urllib.parse import urlsplit

import pytest

from tests.support.api import Operator
from tests.support.fuzzing import Fuzzing
from tests.support.server import Server

TRIES = 200
"""A sample; ``python -m bench.fuzz_agent_api`` makes ten thousand."""


def test_whatever_is_sent_is_refused_with_a_sentence(server: Server, operator: Operator) -> None:
    """Made from the schemas and spoiled; the rows are compared before and after, the log is read in the end."""
    fuzzing = Fuzzing(server, operator, "fuzz")
    try:
        fuzzing.run(TRIES, is_random=False)
    finally:
        fuzzing.close()
    assert any(status.endswith("200") for status in fuzzing.statuses), "or nothing was ever taken"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"POST /api/agent/heartbeat HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
        (
            b"POST /api/agent/heartbeat HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
            400,
        ),
        (b"POST /api/agent/heartbeat HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n{}", 400),
        (b"POST /api/agent/heartbeat HTTP/1.1\r\nHost: x\r\nExpect: 200-ok\r\n\r\n", 417),
        (b"GET /api/agent/config HTTP/1.1\r\nHost x\r\n\r\n", 400),
        (b"GET /api/agent/config HTTP/9.9\r\nHost: x\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"GET /api/agent/" + b"x" * 5000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET /api/agent/config HTTP/1.1\r\n" + b"A: b\r\n" * 300 + b"\r\n", 431),
    ],
    ids=[
        "coding",
        "two lengths",
        "no number",
        "expectation",
        "header",
        "version",
        "line",
        "long line",
        "many headers",
    ],
)
def test_what_is_no_http_gets_a_sentence_too(server: Server, request_bytes: bytes, status: int) -> None:
    """No view sees it; gunicorn itself would answer with HTML, and to an unknown coding with 501."""
    place = urlsplit(server.url)
    with socket.create_connection((place.hostname, place.port), timeout=10) as connection:
        connection.sendall(request_bytes)
        answer = b""
        while data := connection.recv(65536):
            answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    assert int(head.split(b" ")[1]) == status, answer
    assert b"application/json" in head
    assert body.startswith(b'{"error": "')
    assert body.endswith(b'."}')
