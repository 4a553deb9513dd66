"""The audit log's page: what it filters, and what it exports."""

import csv
import io
import re

import pytest
from flask import Flask

from app import audit_log, environments
from app.audit import Actor
from tests.app.pages.conftest import SignIn, enroll


def test_the_page_filters_and_every_value_in_it_is_a_filter(
    app: Flask, sign_in: SignIn, environment_id: str
) -> None:
    """An object is shown by its name; what is typed stays in the form; nothing found says what to do."""
    node_id = enroll(app, environment_id, "edge-01")
    visitor = sign_in("viewer")
    page = visitor.get("/audit").text
    assert f"object={node_id}" in page
    assert ">edge-01</a>" in page
    only = visitor.get("/audit?action=node.*").text
    assert "node.enroll" in only
    assert ">environment.create</a>" not in only
    assert 'value="nobody@example.org"' in visitor.get("/audit?who=nobody@example.org").text
    assert "Nothing matches" in visitor.get("/audit?who=nobody@example.org").text
    refused = visitor.get("/audit?since=yesterday")
    assert refused.status_code == 400
    assert "such as 2026-01-31T12:00" in refused.text
    assert visitor.get("/audit?cursor=x").status_code == 400


def test_older_entries_are_a_link_away(app: Flask, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same filter, until there are none; the newest are one link back."""
    monkeypatch.setattr("app.pages.audit.PAGE_SIZE", 2)
    visitor = sign_in()
    with app.app_context():
        for number in range(3):
            environments.create(f"number-{number}", Actor("somebody"))
    first = visitor.get("/audit?who=somebody").text
    older = re.search(r'href="([^"]+)">Next page', first)
    assert older is not None
    second = visitor.get(older[1].replace("&amp;", "&")).text
    assert [f"<dd>{name}<" in first for name in ("number-2", "number-1", "number-0")] == [True, True, False]
    assert [f"<dd>{name}<" in second for name in ("number-2", "number-1", "number-0")] == [False, False, True]
    assert "Next page" not in second
    assert "First page" in second


def test_the_export_has_what_the_filter_means_and_no_formula(
    app: Flask, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All pages of it as CSV that comes in pieces; a name that a spreadsheet would run is text."""
    monkeypatch.setattr(audit_log, "CHUNK", 2)
    evil = "=HYPERLINK(1)"
    with app.app_context():
        for number in range(4):
            environments.create(f"n{number}", Actor(evil))
    visitor = sign_in()
    link = re.search(r'href="(/audit/audit\.csv[^"]*)"', visitor.get(f"/audit?who={evil}").text)
    assert link is not None
    answer = visitor.get(link[1])
    assert answer.headers["Content-Type"].startswith("text/csv")
    assert answer.headers["Content-Disposition"].startswith("attachment;")
    assert answer.headers["Cache-Control"] == "private, no-store"
    assert answer.is_streamed
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["actor"] for row in rows] == [f"'{evil}"] * 4
    assert [row["action"] for row in rows] == ["environment.create"] * 4
    assert visitor.get("/audit/audit.csv?until=never").status_code == 400
