"""The server as the agent sees it: its requests, each with a deadline for the whole of it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import requests

from agent.protocol import (
    CONFIG_PATH,
    CONFIG_REVISION_HEADER,
    ENROLL_PATH,
    HEARTBEAT_PATH,
    SAMPLES_PATH,
    TAP_EVENTS_PATH,
)
from agent.session import CONNECT_SECONDS, USER_AGENT, Attempt, open_session, parse_retry_after, root_cause

READ_SECONDS = 30.0
"""Between two reads; the deadline of the whole request is the caller's."""
MOST_ANSWER_BYTES = 64 * 1024 * 1024


class ApiError(Exception):
    """A request did not bring what it should; the message begins with what could not be done."""

    def __init__(self, message: str, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
        """Seconds, where the server said so."""

    @property
    def is_unauthorized(self) -> bool:
        """Whether the server does not (or no longer) know the token."""
        return self.status == 401

    @property
    def is_answer(self) -> bool:
        """Whether the server lives and blames the request; 429 and what proxies say of dead servers do not."""
        return self.status is not None and 400 <= self.status < 500 and self.status not in (408, 429)


@dataclass(frozen=True, slots=True)
class ConfigAnswer:
    """A 200 to ``GET /api/agent/config``, decoded and not yet understood."""

    body: object
    etag: str | None


class Api:
    """Requests to one server. Safe to use from several threads: each request has its own connection."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._attempts: dict[tuple[str, int], Attempt] = {}
        self._lock = threading.Lock()

    def enroll(self, body: Mapping[str, object], deadline_seconds: float) -> tuple[str, str]:
        """Trade an enrollment token; the new node's id and token. ApiError if it is not had."""
        what = "cannot enroll"
        status, _, content = self._request("POST", ENROLL_PATH, what, None, 0, deadline_seconds, body)
        answer = _object(content, what)
        node_id, token = answer.get("nodeId"), answer.get("nodeToken")
        if not isinstance(node_id, str) or not isinstance(token, str) or not token or not token.isascii():
            raise ApiError(f"{what}: the answer holds no node token", status)
        return node_id, token

    def fetch_config(
        self, token: str, generation: int, revision: str | None, etag: str | None, deadline_seconds: float
    ) -> ConfigAnswer | None:
        """The configuration, or ``None`` if it is still the one with ``etag``. ApiError for anything else."""
        what = "cannot fetch the configuration"
        headers = {CONFIG_REVISION_HEADER: revision, "If-None-Match": etag}
        status, answer_headers, content = self._request(
            "GET", CONFIG_PATH, what, token, generation, deadline_seconds, headers=headers
        )
        if status == 304:
            if etag is None:
                raise ApiError(f"{what}: the server says unchanged, but nothing was known")
            return None
        return ConfigAnswer(_object(content, what), answer_headers.get("ETag"))

    def send_heartbeat(
        self, token: str, generation: int, body: Mapping[str, object], deadline_seconds: float
    ) -> None:
        """Report; ApiError if the server has not taken it."""
        self._request("POST", HEARTBEAT_PATH, "cannot report", token, generation, deadline_seconds, body)

    def post_samples(self, token: str, body: Mapping[str, object], deadline_seconds: float) -> None:
        """Answer a sample request; ApiError if the server has not taken it."""
        self._request("POST", SAMPLES_PATH, "cannot post samples", token, 0, deadline_seconds, body)

    def post_tap_events(self, token: str, body: Mapping[str, object], deadline_seconds: float) -> None:
        """Show what a live tail sees; ApiError if the server has not taken it."""
        self._request("POST", TAP_EVENTS_PATH, "cannot post tap events", token, 0, deadline_seconds, body)

    def abandon(self, path: str, generation: int) -> None:
        """Cut off a request that has had its time, so that its thread ends."""
        with self._lock:
            attempt = self._attempts.get((path, generation))
        if attempt is not None:
            attempt.cut()

    def _request(
        self,
        method: str,
        path: str,
        what: str,
        token: str | None,
        generation: int,
        deadline_seconds: float,
        body: Mapping[str, object] | None = None,
        headers: Mapping[str, str | None] | None = None,
    ) -> tuple[int, Mapping[str, str], bytes]:
        deadline = time.monotonic() + deadline_seconds
        attempt = Attempt()
        with self._lock:
            self._attempts[path, generation] = attempt
        try:
            with open_session(attempt, token) as session:
                answer = session.request(
                    method,
                    self._url + path,
                    data=json.dumps(body, allow_nan=False).encode() if body is not None else None,
                    headers=_headers(headers or {}, has_body=body is not None),
                    timeout=(CONNECT_SECONDS, min(READ_SECONDS, deadline_seconds)),
                    allow_redirects=False,
                    stream=True,
                )
                content = _read(answer, deadline, attempt, what)
        except (requests.RequestException, OSError, ValueError) as error:
            reason = "no whole answer in time" if attempt.is_cut else root_cause(error)
            raise ApiError(f"{what}: {reason}") from error
        finally:
            with self._lock:
                if self._attempts.get((path, generation)) is attempt:
                    del self._attempts[path, generation]
        if answer.status_code == 304 and method == "GET":
            return 304, answer.headers, b""
        if answer.status_code != 200:
            retry_after = parse_retry_after(answer.headers.get("Retry-After"))
            raise ApiError(
                f"{what}: {_refusal(answer.status_code, content)}", answer.status_code, retry_after
            )
        return 200, answer.headers, content


def _headers(extra: Mapping[str, str | None], *, has_body: bool) -> dict[str, str]:
    # The server closes what is idle after a few seconds; a connection kept for the next poll would be a stale one.
    headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", "Connection": "close"}
    if has_body:
        headers["Content-Type"] = "application/json"
    return headers | {name: value for name, value in extra.items() if value is not None}


def _read(answer: requests.Response, deadline: float, attempt: Attempt, what: str) -> bytes:
    """The whole body; a read may wait READ_SECONDS, all of them together no longer than the deadline."""
    parts: list[bytes] = []
    length = 0
    for part in answer.iter_content(64 * 1024):
        parts.append(part)
        length += len(part)
        if length > MOST_ANSWER_BYTES:
            raise ApiError(f"{what}: the answer is too large", answer.status_code)
        if time.monotonic() > deadline:
            attempt.cut()
            break
    if attempt.is_cut:
        # Where no length was announced the end of a connection looks like the end of the answer.
        raise ApiError(f"{what}: no whole answer in time", answer.status_code)
    return b"".join(parts)


def _object(content: bytes, what: str) -> dict[str, Any]:
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ApiError(f"{what}: the answer is not JSON") from error
    if not isinstance(answer, dict):
        raise ApiError(f"{what}: the answer is not an object")
    return answer


def _refusal(status: int, content: bytes) -> str:
    if 300 <= status < 400:
        return f"the server answered {status}, a redirect; set SIGNALBOX_URL to where it leads"
    try:
        answer = json.loads(content)
        sentence = answer.get("error") if isinstance(answer, dict) else None
    except (ValueError, RecursionError):
        sentence = None
    return f"the server answered {status}" + (f": {str(sentence)[:300]}" if sentence else "")
