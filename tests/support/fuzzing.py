"""Sending hostile requests to a real server, and judging each answer and what is left of it in the database."""

import json
import socket
import sqlite3
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hypothesis import HealthCheck, Phase, given, settings

from tests.support.api import AgentByHand, Operator
from tests.support.hostile_requests import HostileRequest, requests
from tests.support.server import Server

ANSWER_SECONDS = 20.0
YAML = "sources: {made: {type: demo_logs, format: json}}\nsinks: {gone: {type: blackhole, inputs: [made]}}\n"
CLOCKS = {"last_seen_at", "last_heartbeat_at", "authenticated_at", "last_used_at"}


class Fuzzing:
    """One environment with a node and a pipeline on a server on SQLite."""

    def __init__(self, server: Server, operator: Operator, name: str) -> None:
        self._server = server
        self._place = urlsplit(server.url)
        self._log_start = server.log.stat().st_size
        environment = operator.create_environment(name)["id"]
        pipeline = operator.create_pipeline(environment, "made", YAML)["id"]
        operator.deploy(pipeline)
        self._enrollment_token = operator.enrollment_token(environment)
        self._node = AgentByHand(server.url)
        self._node.enroll(self._enrollment_token, "fuzzed")
        self._node.heartbeat([{"pipelineId": pipeline, "version": 1, "status": "RUNNING"}])
        tap = "0" * 32
        self._known = [pipeline, "RUNNING", "made", tap, "edge-01"]
        self._database = sqlite3.connect(f"file:{_file_of(server)}?mode=ro", uri=True)
        self._tables = [
            str(name)
            for (name,) in self._database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            if name not in ("alembic_version", "api_token")
        ]
        self._socket: socket.socket | None = None
        self.statuses: Counter[str] = Counter()
        """How often each endpoint gave each status."""

    def run(self, tries: int, *, is_random: bool) -> None:
        """AssertionError for the first answer that must not be, with its request; else the same tries each time."""
        assert self._node.token is not None
        tokens = [self._node.token] * 30 + [
            "",
            "x",
            self._node.token[:-1] + "0",
            f"vf_node_{'a' * 64}",
            "é" * 10,
        ]
        strategy = requests(self._place.netloc, tokens, self._known, self._enrollment_token)

        @settings(
            max_examples=tries,
            deadline=None,
            database=None,
            derandomize=not is_random,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(strategy)
        def attempt(request: HostileRequest) -> None:
            self._attempt(request)

        attempt()
        self._check_log()

    def close(self) -> None:
        """End the connections."""
        self._database.close()
        self._node.session.close()
        if self._socket is not None:
            self._socket.close()

    def _attempt(self, request: HostileRequest) -> None:
        before = self._rows()
        status, body = self._send(request)
        self.statuses[f"{request.path} {status}"] += 1
        assert 200 <= status < 500, f"{status} {body[:500]!r} for {request!r}"
        if status >= 400:
            assert self._rows() == before, f"{status}, but something was written for {request!r}"
            if request.method != "HEAD":
                answer = json.loads(body)
                assert answer["error"].endswith("."), answer
                assert answer.get("details", [0]), answer

    def _rows(self) -> list[tuple[Any, ...]]:
        """All that an agent could have changed, without clocks that a good token alone moves on."""
        rows: list[tuple[Any, ...]] = []
        for table in self._tables:
            cursor = self._database.execute(f'SELECT * FROM "{table}"')  # a name out of the schema
            names = [column[0] for column in cursor.description]
            kept = [index for index, name in enumerate(names) if name not in CLOCKS]
            rows += sorted((table, *(repr(row[index]) for index in kept)) for row in cursor)
        return rows

    def _send(self, request: HostileRequest) -> tuple[int, bytes]:
        """The answer's status and body. The connection is used again where the server lets it."""
        for is_fresh in (self._socket is None, True):
            if self._socket is None:
                address = (self._place.hostname, self._place.port)
                self._socket = socket.create_connection(address, timeout=ANSWER_SECONDS)
            try:
                try:
                    self._socket.sendall(request.data)
                except OSError:
                    pass  # refused before it was whole: the answer may be there all the same
                status, headers, body = self._answer()
            except OSError:
                self._drop()
                if is_fresh:
                    raise AssertionError(f"no answer to {request!r}") from None
                continue
            if headers.get("connection", "").lower() == "close" or status != 200:
                self._drop()  # what else the server makes of the rest of a refused request is another story
            return status, body
        raise AssertionError("unreachable")

    def _answer(self) -> tuple[int, dict[str, str], bytes]:
        assert self._socket is not None
        data = b""
        deadline = time.monotonic() + ANSWER_SECONDS
        while b"\r\n\r\n" not in data:
            data += self._receive(deadline)
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status, length = int(first.split(" ")[1]), int(headers.get("content-length", "0"))
        while len(body) < length:
            body += self._receive(deadline)
        return status, headers, body

    def _receive(self, deadline: float) -> bytes:
        assert self._socket is not None
        self._socket.settimeout(max(0.001, deadline - time.monotonic()))
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionError("ended before the answer")
        return data

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _check_log(self) -> None:
        with self._server.log.open("rb") as file:
            file.seek(self._log_start)
            text = file.read().decode(errors="replace")
        for sign in ("Traceback", "Exception on", " ERROR ", " CRITICAL "):
            assert sign not in text, text[max(0, text.index(sign) - 500) : text.index(sign) + 3000]


def _file_of(server: Server) -> Path:
    url = server.settings["SIGNALBOX_DATABASE_URL"]
    assert url.startswith("sqlite:///"), url
    return Path(url.removeprefix("sqlite:///"))
