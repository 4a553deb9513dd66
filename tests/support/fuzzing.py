"""Sending hostile requests to a real server, and judging each answer and what is left of it in the database."""

import json
import socket
import time
from collections import Counter
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy
from hypothesis import HealthCheck, Phase, given, settings

from tests.support.api import AgentByHand, ApiError, Operator
from tests.support.event_stream import EventStream
from tests.support.hostile_requests import HostileRequest, requests
from tests.support.server import Server
from tests.support.until import until

ANSWER_SECONDS = 20.0
YAML = "sources: {made: {type: demo_logs, format: json}}\nsinks: {gone: {type: blackhole, inputs: [made]}}\n"
OPEN_REQUEST, OPEN_TAP = "e" * 32, "f" * 32
"""Stand in bodies for what the node is asked for just then; each of that is open for a minute or two only."""
RENEWED_AFTER_SECONDS = 20.0
LEFT_OUT = {
    "account_session",
    "alembic_version",
    "alert",
    "alert_rule",
    "api_token",
    "channel_span",
    "deploy_request",
    "idempotency_key",
    "lease",
    "metrics_block",
    "notice",
    "webhook_delivery",
}
"""Schema, tokens and sessions, and what workers write by themselves, seconds after what they are made of."""
CLOCKS = {
    "last_seen_at", "last_heartbeat_at", "authenticated_at", "last_used_at", "nudged_at", "told_at", "finished_at"
}  # fmt: skip


class Fuzzing:
    """One environment with a node and a pipeline; the node is asked for samples and for a live tail all the time."""

    def __init__(self, server: Server, operator: Operator, name: str) -> None:
        self._server = server
        self._place = urlsplit(server.url)
        self._log_start = server.log.stat().st_size
        self._operator = operator
        environment = operator.create_environment(name)["id"]
        self._pipeline = operator.create_pipeline(environment, "made", YAML)["id"]
        operator.deploy(self._pipeline)
        self._enrollment_token = operator.enrollment_token(environment)
        self._node = AgentByHand(server.url)
        self._node.enroll(self._enrollment_token, "fuzzed")
        self._be_well()
        assert self._node.token is not None
        self._stream = EventStream.connect(f"{server.url}/api/agent/push", self._node.token)
        self._known = [self._pipeline, "RUNNING", "made", OPEN_REQUEST, OPEN_TAP, "edge-01"]
        self._asked: dict[str, str] = {}
        self._asked_at = float("-inf")
        self._retired: set[str] = set()
        url = server.settings["SIGNALBOX_DATABASE_URL"]
        self._engine = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        self._tables = [
            table for table in sqlalchemy.inspect(self._engine).get_table_names() if table not in LEFT_OUT
        ]
        self._socket: socket.socket | None = None
        self.statuses: Counter[str] = Counter()
        """How often each endpoint gave each status."""
        self.kinds: Counter[str] = Counter()
        """How often each kind of spoiling gave each status."""

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

        # Hypothesis leaves off early where it thinks that it has seen everything.
        while self.statuses.total() < tries:
            attempt()
        self._check_log()

    def close(self) -> None:
        """End the connections."""
        self._engine.dispose()
        self._stream.close()
        self._node.session.close()
        if self._socket is not None:
            self._socket.close()

    def _attempt(self, request: HostileRequest) -> None:
        self._renew()
        for name, current in self._asked.items():
            request.body = request.body.replace(name.encode(), current.encode())
        before = self._rows()
        status, body = self._send(request)
        self.statuses[f"{request.path} {status}"] += 1
        for kind in request.kinds:
            self.kinds[f"{kind}: {status}"] += 1
        assert 200 <= status < 500, f"{status} {body[:500]!r} for {request!r}"
        if status >= 400:
            changed = set(self._rows()) ^ set(before)
            assert not changed, f"{status}, but something was written for {request!r}: {changed}"
            if request.method != "HEAD":
                answer = json.loads(body)
                assert answer["error"].endswith("."), answer
                assert answer.get("details", [0]), answer

    def _be_well(self) -> None:
        self._node.heartbeat([{"pipelineId": self._pipeline, "version": 1, "status": "RUNNING"}])

    def _renew(self) -> None:
        """Ask the node anew, now and then: what it was asked for is answered by chance, or expires."""
        if time.monotonic() < self._asked_at + RENEWED_AFTER_SECONDS:
            return
        self._be_well()
        assert self._node.token is not None
        self._stream.close()  # one of the hostile requests may have taken its place
        self._stream = EventStream.connect(f"{self._server.url}/api/agent/push", self._node.token)
        self._retired.update(self._asked.values())
        if self._asked:
            self._operator.call("DELETE", f"/taps/{self._asked[OPEN_TAP]}")
        body = {"componentKeys": ["made"], "limit": 5}
        samples = self._operator.call("POST", f"/pipelines/{self._pipeline}/samples", body)
        tap = until(self._tapped, what="the channel's presence, and a tap", tolerate=(ApiError,))
        self._asked = {OPEN_REQUEST: samples["requestId"], OPEN_TAP: tap["requestId"]}
        self._asked_at = time.monotonic()

    def _tapped(self) -> Any:
        """A new tap; 409 until the channel's presence is known to all."""
        return self._operator.call("POST", f"/pipelines/{self._pipeline}/taps", {"componentId": "made"})

    def _rows(self) -> list[tuple[Any, ...]]:
        """All that an agent could have changed, without clocks that a good token alone moves on.

        And without requests that it is asked for no more: they expire by themselves.
        """
        rows: list[tuple[Any, ...]] = []
        with self._engine.connect() as connection:
            for table in self._tables:
                found = connection.exec_driver_sql(f'SELECT * FROM "{table}"')  # a name out of the schema
                kept = [index for index, name in enumerate(found.keys()) if name not in CLOCKS]
                rows += sorted(
                    (table, *(repr(row[index]) for index in kept))
                    for row in found
                    if self._retired.isdisjoint(str(value) for value in row)
                )
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
            has_length = not any(kind.startswith("length") for kind in request.kinds)
            if headers.get("connection", "").lower() == "close" or status != 200 or not has_length:
                self._drop()  # what else the server makes of the rest of such a request is another story
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
        return status, headers, body[:length]

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
