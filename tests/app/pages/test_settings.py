"""The settings' page: made from the table, kept by whoever is allowed to."""

import html
import re

from flask import Flask

from app import server_settings
from app.audit import Actor
from app.pages.settings import in_words
from app.server_settings import TABLE
from tests.app.pages.conftest import SignIn, Visitor


def form_of(visitor: Visitor) -> dict[str, str]:
    """The fields as a browser would send them untouched."""
    page = visitor.get("/settings").text
    found = re.findall(r'name="((?:before-)?[A-Za-z]+)" value="(\d+)"', page)
    return dict(found)


def test_every_setting_of_the_table_is_in_the_form(app: Flask, sign_in: SignIn) -> None:
    """With its label, help, unit and bounds; sent untouched, nothing is changed or audited."""
    visitor = sign_in()
    page, form = html.unescape(visitor.get("/settings").text), form_of(visitor)
    for each in TABLE:
        assert f'<label for="{each.name}">{each.label}</label>' in page
        assert each.help in page
        assert f"{each.least:,} to {each.most:,}" in page
        assert {each.name, f"before-{each.name}"} <= form.keys()
    assert page.count("Never changed") == len(TABLE)
    visitor.post("/settings", "/settings", **form)
    assert "Nothing was changed" in visitor.get("/settings").text
    assert "No entry of the log" in visitor.get("/audit?action=settings.update").text


def test_a_change_says_when_and_by_whom(app: Flask, sign_in: SignIn) -> None:
    """And what somebody else has changed since the form was made stays as it is."""
    visitor = sign_in()
    form = form_of(visitor)
    with app.app_context():
        server_settings.update(Actor("somebody"), {"idlePollIntervalMs": 200_000})
    answer = visitor.post("/settings", "/settings", **{**form, "pollIntervalMs": "20000"})
    assert answer.status_code == 302
    with app.app_context():
        values = server_settings.values()
    assert (values["pollIntervalMs"], values["idlePollIntervalMs"]) == (20_000, 200_000)
    page = visitor.get("/settings").text
    assert "by admin@example.org" in page
    assert "by somebody" in page
    assert "Changed: Poll interval." in page


def test_refused_values_are_kept_and_said_at_their_fields(app: Flask, sign_in: SignIn) -> None:
    """All of them at once; nothing of the same form is changed."""
    visitor = sign_in()
    form = {**form_of(visitor), "pollIntervalMs": "soon", "heartbeatIntervalMs": "5"}
    answer = visitor.post("/settings", "/settings", **{**form, "idlePollIntervalMs": "200000"})
    assert answer.status_code == 400
    assert 'value="soon"' in answer.text
    assert 'value="5"' in answer.text
    assert 'value="200000"' in answer.text
    for name in ("pollIntervalMs", "heartbeatIntervalMs"):
        assert (
            f'<span class="wrong" id="{name}-problem">it is a number of milliseconds from 1000' in answer.text
        )
    assert answer.text.count("aria-invalid") == 2
    with app.app_context():
        assert server_settings.last_changes() == {}


def test_nobody_but_an_admin_sees_it(sign_in: SignIn) -> None:
    """Neither the page nor the way to it."""
    visitor = sign_in("editor")
    assert visitor.get("/settings").status_code == 403
    assert visitor.post("/settings", "/environments").status_code == 403
    assert 'href="/settings"' not in visitor.get("/environments").text


def test_milliseconds_in_words() -> None:
    """The largest unit that fits without a rest."""
    assert [in_words(each) for each in (1, 1500, 1000, 15_000, 300_000, 86_400_000)] == [
        "1 millisecond", "1,500 milliseconds", "1 second", "15 seconds", "5 minutes", "1 day"
    ]  # fmt: skip
