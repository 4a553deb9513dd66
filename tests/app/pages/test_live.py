"""Pages that stay current: what their streams carry, when they end, and polling in their place."""

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from flask import Flask
from werkzeug.test import TestResponse

from app import sessions
from app.audit import COMMAND_LINE
from app.pages import live
from app.pages.live import Picture
from tests.app.pages.conftest import PASSWORD, SignIn, enroll
from tests.conftest import StartServer
from tests.support import people

TOKEN = re.compile(r'name="csrf_token" value="[^"]+"')
"""Another one in each second."""


def test_a_difference_is_only_what_changed() -> None:
    """The first picture goes whole; then single parts and lists; then nothing."""
    first = Picture({"a": live.Markup("1"), "b": live.Markup("2")}, {"list": ["a"]})
    second = Picture({"a": live.Markup("1"), "b": live.Markup("3")}, {"list": ["a"]})
    third = Picture(second.parts, {"list": ["a", "b"]})
    assert live.difference(None, first) == {"parts": first.parts, "lists": first.lists}
    assert live.difference(first, second) == {"parts": {"b": "3"}}
    assert live.difference(second, third) == {"lists": {"list": ["a", "b"]}}
    assert live.difference(third, third) == {}


def test_scripts_of_a_signed_out_page_get_a_status_not_a_form(app: Flask) -> None:
    """A redirect would put the sign-in page where rows belong."""
    for path in ("/fleet/rows", "/fleet/events"):
        assert app.test_client().get(path).status_code == 401


def events_of(answer: TestResponse) -> Iterator[tuple[str, Any]]:
    """The named events of a stream, as they come."""
    text = ""
    for chunk in answer.iter_encoded():
        text += chunk.decode()
        while "\n\n" in text:
            block, text = text.split("\n\n", 1)
            fields = dict(line.split(": ", 1) for line in block.split("\n"))
            if "event" in fields:
                yield fields["event"], json.loads(fields["data"])


def test_the_stream_sends_the_page_and_then_what_changes(
    app: Flask, sign_in: SignIn, environment_id: str
) -> None:
    """A node that enrolls arrives as a row and in the counts; the rows that are the same are not sent again."""
    visitor = sign_in()
    first_id = enroll(app, environment_id, "edge-01")
    answer = visitor.get(f"/fleet/events?environment={environment_id}", buffered=False)
    assert answer.mimetype == "text/event-stream"
    assert answer.headers["X-Accel-Buffering"] == "no"
    stream = events_of(answer)

    name, whole = next(stream)
    assert name == "change"
    assert whole["lists"] == {"nodes": [f"node-{first_id}"]}
    assert "edge-01" in whole["parts"][f"node-{first_id}"]

    second_id = enroll(app, environment_id, "edge-00")
    lists: dict[str, Any] = {}
    parts: dict[str, str] = {}
    for name, changed in stream:
        assert name == "change"
        lists |= changed.get("lists", {})
        parts |= changed.get("parts", {})
        if "<b>2</b> <span>nodes</span>" in parts.get("counts", ""):
            break
    assert lists == {"nodes": [f"node-{second_id}", f"node-{first_id}"]}
    assert set(parts) == {"counts", "all-matching", f"node-{second_id}"}
    answer.close()


def test_the_stream_ends_with_the_session(
    app: Flask, sign_in: SignIn, environment_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever's sessions were ended sees nothing more on a page that is still open."""
    monkeypatch.setattr(live, "CHECK_SECONDS", 0.0)
    answer = sign_in().get("/fleet/events", buffered=False)
    stream = events_of(answer)
    assert next(stream)[0] == "change"
    with app.app_context():
        sessions.end_all(people.account_id_of("admin@example.org"), COMMAND_LINE)
    enroll(app, environment_id, "edge-01")
    assert list(stream) == []
    answer.close()


def test_open_pages_do_not_hold_up_a_server_that_stops(start_server: StartServer) -> None:
    """Streams never end by themselves for minutes; a worker that drains ends them, well before it is killed."""
    server = start_server()
    server.create_admin("admin@example.org", PASSWORD)
    with requests.Session() as session:
        session.headers["Connection"] = "close"  # the server ends idle ones, perhaps as we send
        form = session.get(f"{server.url}/sign-in", timeout=10)
        token = re.search(r'name="csrf_token" value="([^"]+)"', form.text)
        assert token is not None
        fields = {"csrf_token": token[1], "email": "admin@example.org", "password": PASSWORD}
        assert session.post(f"{server.url}/sign-in", fields, timeout=10).url == f"{server.url}/"
        with session.get(f"{server.url}/fleet/events", stream=True, timeout=10) as stream:
            lines = stream.iter_lines(decode_unicode=True)
            assert next(lines) == f"retry: {live.BROWSER_RETRY_MS}"
            started = time.monotonic()
            assert server.stop() == 0
            assert time.monotonic() - started < 18
            assert [line for line in lines if line.startswith("event:")] == ["event: change"]


def test_the_rows_for_polling_are_those_of_the_page(app: Flask, sign_in: SignIn, environment_id: str) -> None:
    """Polling repairs a page that has lost its stream: it gets every part that the page has."""
    visitor = sign_in()
    node_id = enroll(app, environment_id, "edge-01")
    rows = visitor.get("/fleet/rows").json
    assert rows is not None
    assert rows["lists"] == {"nodes": [f"node-{node_id}"]}
    assert set(rows["parts"]) == {
        "counts", "empty", "paging", "all-matching", "steps", f"node-{node_id}", "alerts-count",
        "open-approvals",
    }  # fmt: skip
    page = TOKEN.sub("", visitor.get("/").text)
    for part in rows["parts"].values():
        assert TOKEN.sub("", part) in page
