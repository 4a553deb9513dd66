"""The operator API as a client sees it: every call has a deadline, and what went wrong is a sentence.

After a connection broke, what changes nothing is sent again, and so is each ``POST``: its ``Idempotency-Key``, one
for each thing that is meant, has the server do it once. What the server itself turned away before it did anything
(``503`` or ``429`` with ``Retry-After``) is sent again whatever it was. What was read before it is changed is changed
on the condition (``If-Match``) that it is still the same.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import requests

from signalbox_cli import answers, version
from signalbox_cli.failures import ChangedFailure, ServerFailure, UnknownFailure, UnreachableFailure
from signalbox_cli.retries import Tries

ROOT = "/api/v1"
PAGE_ROWS = 500
CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0
MAX_TRIES = 4
MAX_PAGES = 100_000

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


@dataclass(frozen=True, slots=True)
class Seen:
    """One thing as it was read, on the condition of which it can be changed."""

    what: str
    """In words: ``the pipeline production/web``."""
    row: Row
    tag: str | None
    """Its ``ETag``; ``None``: there was none of it, and *row* is empty."""

    @property
    def condition(self) -> dict[str, str]:
        """The header that asks for it to be so still."""
        return {"If-None-Match": "*"} if self.tag is None else {"If-Match": self.tag}


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

    def get(self, path: str, query: Query | None = None) -> Any:
        """The JSON of an answer."""
        return self._answer("GET", path, query=query)[0]

    def post(self, path: str, body: object = None, seen: Seen | None = None) -> Any:
        """The JSON of an answer; ``None`` where it has none.

        :raises ChangedFailure: what was *seen*, if that is given, is not so any more; nothing was changed.
        """
        return self._answer("POST", path, {} if body is None else body, seen=seen)[0]

    def put(self, path: str, body: object, seen: Seen | None = None) -> Any:
        """As ``post``."""
        return self._answer("PUT", path, body, seen=seen)[0]

    def patch(self, path: str, body: object, seen: Seen | None = None) -> Any:
        """As ``post``."""
        return self._answer("PATCH", path, body, seen=seen)[0]

    def delete(self, path: str, seen: Seen | None = None) -> None:
        """As ``post``; nothing is answered."""
        self._answer("DELETE", path, seen=seen)

    def see(self, path: str, what: str) -> Seen:
        """One thing, to be changed on the condition that it stays so; *what* it is in words."""
        return self._seen(what, *self._answer("GET", path))

    def see_if_there(self, path: str, what: str) -> Seen:
        """As ``see``; that it is not there is a condition too."""
        try:
            return self.see(path, what)
        except UnknownFailure:
            return Seen(what, {}, None)

    def see_again(self, path: str, what: str, row: Row, fields: Iterable[str]) -> Seen:
        """As ``see``, of what was read before as *row*.

        :raises ChangedFailure: one of these *fields* is another by now, or there is none of it any more.
        """
        seen = self.see_if_there(path, what)
        if seen.tag is None or any(seen.row[name] != row[name] for name in fields):
            raise ChangedFailure(what)
        return seen

    def write(self, method: str, path: str, body: object, what: str, seen: Seen | None = None) -> Seen:
        """Make (``POST``) or change (``PUT``, ``PATCH``) one thing, as ``post``; how it is afterwards."""
        return self._seen(what, *self._answer(method, path, body, seen=seen))

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

    def _seen(self, what: str, row: Row, tag: str | None) -> Seen:
        if tag is None:
            raise answers.no_tag(self.place.url)
        return Seen(what, row, tag)

    def _answer(
        self,
        method: str,
        path: str,
        body: object = None,
        query: Query | None = None,
        seen: Seen | None = None,
    ) -> tuple[Any, str | None]:
        """The JSON of an answer and its ``ETag``, after as many tries as it takes."""
        headers = dict(seen.condition) if seen is not None else {}
        has_key = method == "POST"
        if has_key:
            headers["Idempotency-Key"] = uuid.uuid4().hex
        tries = Tries(self._tries, reads=method == "GET", has_key=has_key)
        while True:
            try:
                response = self._once(method, path, body, query, headers)
            except UnreachableFailure as failure:
                tries.pause(failure, None)
                continue
            if 200 <= response.status_code < 300:
                return answers.content(response, self.place.url), response.headers.get("ETag")
            if response.status_code == 412 and seen is not None:
                raise ChangedFailure(seen.what)
            tries.pause(answers.failure(response, self.place.url), response.status_code)

    def _once(
        self, method: str, path: str, body: object, query: Query | None, headers: Mapping[str, str]
    ) -> requests.Response:
        given = {name: str(value) for name, value in (query or {}).items() if value is not None}
        with self._translating():
            return self._session.request(
                method,
                self.place.url + ROOT + path,
                json=body,
                params=given,
                headers=headers,
                timeout=self._timeout,
                allow_redirects=False,
                verify=self._verify,
            )

    @contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except (requests.RequestException, OSError, UnicodeError) as error:
            raise answers.no_answer(error, self.place.url) from error

    def _sign(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self.place.token}"
        return request
