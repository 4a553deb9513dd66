"""The operator API as a client sees it: every call has a deadline, and what went wrong is a sentence.

Only what changes nothing is sent again after a connection broke. What the server itself turned away before it did
anything (``503`` or ``429`` with ``Retry-After``) is sent again whatever it was.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import requests

from signalbox_cli import answers, version
from signalbox_cli.failures import Failure, ServerFailure, UnreachableFailure

ROOT = "/api/v1"
PAGE_ROWS = 500
CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0
MAX_TRIES = 4
MAX_PAUSE_SECONDS = 20.0
"""The longest pause before another try, whatever the server asks for."""
FIRST_PAUSE_SECONDS = 0.25
MAX_PAGES = 100_000
PASSING = frozenset({429, 502, 503, 504})
"""Answers that another try may not get."""

Row = dict[str, Any]
Query = Mapping[str, str | int | None]


def path(*parts: str) -> str:
    """A path whose parts may hold anything."""
    return "".join(f"/{quote(part, safe='')}" for part in parts)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the server is and who asks."""

    url: str
    """Without a slash at the end."""
    token: str
    ca_file: str | None = None


class Api:
    """One server, with one token. Each method raises a ``Failure`` of the kind that the answer means."""

    def __init__(self, place: Place, *, read_seconds: float = READ_SECONDS, tries: int = MAX_TRIES) -> None:
        """Connects to nothing yet. *read_seconds* bounds each wait for an answer, *tries* how often it is asked."""
        self.place = place
        self._timeout = (min(CONNECT_SECONDS, read_seconds), read_seconds)
        self._tries = tries
        self._session = requests.Session()
        self._session.headers.update({"Accept": "application/json", "User-Agent": f"signalbox/{version()}"})
        # Not a header of the session: requests lets a .netrc of the machine's win over that.
        self._session.auth = self._sign
        # Not an attribute of the session: requests lets REQUESTS_CA_BUNDLE win over that.
        self._verify = place.ca_file if place.ca_file is not None else True
        self._random = random.Random()

    def get(self, path: str, query: Query | None = None) -> Any:
        """The JSON of an answer."""
        return self._json("GET", path, query=query)

    def post(self, path: str, body: object = None) -> Any:
        """The JSON of an answer; ``None`` where it has none."""
        return self._json("POST", path, {} if body is None else body)

    def put(self, path: str, body: object) -> Any:
        """As ``post``."""
        return self._json("PUT", path, body)

    def patch(self, path: str, body: object) -> Any:
        """As ``post``."""
        return self._json("PATCH", path, body)

    def delete(self, path: str) -> None:
        """Nothing is answered."""
        self._json("DELETE", path)

    def rows(self, path: str, query: Query | None = None, most: int | None = None) -> Iterator[Row]:
        """Every row of a list, page after page, or the first *most*."""
        cursor: str | None = None
        left = most
        for _ in range(MAX_PAGES):
            size = PAGE_ROWS if left is None else min(PAGE_ROWS, left)
            page = self.get(path, {**(query or {}), "limit": size, "cursor": cursor})
            try:
                items, following = page["items"], page["nextCursor"]
            except (TypeError, KeyError):
                raise answers.another_program(self.place.url) from None
            yield from items
            left = None if left is None else left - len(items)
            if following is None or (left is not None and left <= 0):
                return
            if following == cursor:
                break
            cursor = following
        raise ServerFailure(f"The server's list {path} does not end.")

    @contextmanager
    def stream(self, path: str, silence_seconds: float) -> Iterator[requests.Response]:
        """An answer that goes on; it counts as broken once nothing has come for *silence_seconds*.

        Whoever reads it gets ``requests.RequestException`` where it breaks.
        """
        with self._translating():
            response = self._session.get(
                self.place.url + ROOT + path,
                stream=True,
                timeout=(self._timeout[0], silence_seconds),
                allow_redirects=False,
                verify=self._verify,
                headers={"Accept": "text/event-stream"},
            )
        with response:
            if response.status_code != 200:
                raise answers.failure(response, self.place.url)
            yield response

    def close(self) -> None:
        """End its connections."""
        self._session.close()

    def _json(self, method: str, path: str, body: object = None, query: Query | None = None) -> Any:
        for left in reversed(range(self._tries)):
            try:
                response = self._once(method, path, body, query)
                if response.ok and response.status_code < 300:
                    return answers.content(response, self.place.url)
                failure = answers.failure(response, self.place.url)
                was_turned_away = response.status_code in (429, 503) and "Retry-After" in response.headers
                may_pass = was_turned_away or (method == "GET" and response.status_code in PASSING)
            except UnreachableFailure as error:
                failure, may_pass = error, method == "GET" and not isinstance(error, answers.LastingFailure)
            if not may_pass or left == 0:
                raise failure
            time.sleep(self._pause(failure, self._tries - left))
        raise AssertionError("the last try raises")

    def _once(self, method: str, path: str, body: object, query: Query | None) -> requests.Response:
        given = {name: str(value) for name, value in (query or {}).items() if value is not None}
        with self._translating():
            return self._session.request(
                method,
                self.place.url + ROOT + path,
                json=body,
                params=given,
                timeout=self._timeout,
                allow_redirects=False,
                verify=self._verify,
            )

    def _pause(self, failure: Failure, tried: int) -> float:
        asked = failure.retry_after if isinstance(failure, UnreachableFailure) else None
        if asked is not None:
            return min(MAX_PAUSE_SECONDS, asked) * self._random.uniform(1.0, 1.25)
        return self._random.uniform(0, FIRST_PAUSE_SECONDS * 2 ** (tried - 1))

    @contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except (requests.RequestException, OSError, UnicodeError) as error:
            raise answers.no_answer(error, self.place.url) from error

    def _sign(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self.place.token}"
        return request
