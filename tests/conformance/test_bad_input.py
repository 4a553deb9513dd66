"""Bad input to the agent API: a 4xx with a sentence, never a 5xx, and nothing written by halves."""

import socket
import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.support.api import AgentByHand, Operator
from tests.support.database import PostgresDatabases
from tests.support.fuzzing import YAML, Fuzzing
from tests.support.server import Server
from tools.redis_server import RedisServer

TRIES = 200
"""A sample; ``python -m bench.fuzz_agent_api`` makes ten thousand."""


@pytest.fixture(scope="module")
def postgresql_fleet(
    redis_server: RedisServer,
    postgres_databases: PostgresDatabases,
    tmp_path_factory: pytest.TempPathFactory,
    prefixes: set[str],
) -> Iterator[tuple[Server, Operator]]:
    """Two workers on PostgreSQL."""
    name, url = postgres_databases.create()
    prefix = f"signalbox-test-{uuid.uuid4().hex[:12]}:"
    prefixes.add(prefix)
    settings = {
        "SIGNALBOX_DATABASE_URL": url,
        "SIGNALBOX_REDIS_URL": redis_server.url,
        "SIGNALBOX_REDIS_PREFIX": prefix,
    }
    server = Server(tmp_path_factory.mktemp("fuzzed"), settings)
    try:
        server.start()
        yield server, Operator(server.url, server.create_api_token())
    finally:
        server.close()
        postgres_databases.drop(name)


def test_whatever_is_sent_is_refused_with_a_sentence(server: Server, operator: Operator) -> None:
    """Made from the schemas and spoiled; the rows are compared before and after, the log is read in the end."""
    _fuzz(server, operator)


def test_postgresql_takes_none_of_it_amiss(postgresql_fleet: tuple[Server, Operator]) -> None:
    """Its columns have lengths, and it stores neither NUL nor half a surrogate."""
    _fuzz(*postgresql_fleet)


def test_over_long_words_are_cut_and_not_refused(postgresql_fleet: tuple[Server, Operator]) -> None:
    """Seen as a 500 on PostgreSQL, whose columns are shorter than the schema once was."""
    server, operator = postgresql_fleet
    environment = operator.create_environment(f"cut-{uuid.uuid4().hex[:8]}")["id"]
    pipeline = operator.create_pipeline(environment, "made", YAML)["id"]
    agent = AgentByHand(server.url)
    agent.enroll(operator.enrollment_token(environment))
    reported = {"pipelineId": pipeline, "version": 1, "status": "S" * 200, "error": "e" * 9000}
    answer = agent.heartbeat([reported], configRevision="r" * 200, triedRevision="t" * 200, bootId="b" * 200)
    assert answer.status_code == 200, answer.text


def _fuzz(server: Server, operator: Operator) -> None:
    fuzzing = Fuzzing(server, operator, f"fuzz-{uuid.uuid4().hex[:8]}")
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
