"""Errors are pages that say what to do, and what was typed is not lost where it can be sent again."""

import html
import re
from pathlib import Path

import pytest
from flask import Flask, abort

from app import access
from app.access_rules import PUBLIC
from app.database import db
from tests.app.pages.conftest import YAML, SignIn, Visitor

FROM_HERE = {"Sec-Fetch-Site": "same-origin"}
CODES = (400, 403, 404, 405, 408, 409, 413, 429, 500, 503)


def take_database_away(app: Flask, content: bytes | None = None) -> None:
    """Put something in the place of its file that is no database: a folder, or this *content*."""
    with app.app_context():
        file = Path(db.engine.url.database or "")
        db.engine.dispose()
    for each in file.parent.glob(f"{file.name}*"):
        each.unlink()
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)


@pytest.mark.parametrize("code", CODES)
def test_each_status_has_a_page_that_says_what_to_do(app: Flask, code: int) -> None:
    """Title, sentence, advice and a way on; with nothing of the stack and without signing in."""
    app.add_url_rule("/broken", "broken", lambda: abort(code))
    access.list_endpoint(app, "broken", PUBLIC)
    answer = app.test_client().get("/broken")
    assert answer.status_code == code
    assert f"Error {code}" in answer.text
    assert len(re.findall(r"<p[^>]*>", answer.text)) >= 4
    assert "Go to the fleet" in answer.text
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("code", CODES)
def test_the_api_answers_a_problem_as_json(app: Flask, code: int) -> None:
    """No page, and the sentence where it always was."""
    app.add_url_rule("/api/v1/broken", "broken", lambda: abort(code))
    access.list_endpoint(app, "broken", PUBLIC)
    answer = app.test_client().get("/api/v1/broken")
    assert answer.status_code == code
    assert answer.mimetype == "application/problem+json"
    assert answer.get_json()["error"] == answer.get_json()["detail"]


def test_a_form_that_is_too_old_can_be_sent_again(sign_in: SignIn, pipeline_id: str) -> None:
    """With everything that was typed; the second time it is taken."""
    visitor = sign_in()
    path = f"/pipelines/{pipeline_id}"
    typed = {
        "config_yaml": f"\n{YAML}# <mine>\n",
        "node_selector": "zone=a",
        "csrf_token": "of another session",
    }
    answer = visitor.client.post(path, data=typed, headers=FROM_HERE)
    assert answer.status_code == 400
    assert "The page was open too long" in answer.text
    kept = {
        name: html.unescape(value)
        for name, value in re.findall(
            r'<textarea[^>]* name="([^"]+)" hidden>\n(.*?)</textarea>', answer.text, re.S
        )
    }
    assert kept == {"config_yaml": typed["config_yaml"], "node_selector": "zone=a"}
    token = re.search(r'name="csrf_token" value="([^"]+)"', answer.text)
    assert token is not None
    assert f'action="{path}"' in answer.text
    revision = re.search(r'name="revision" value="([^"]+)"', visitor.get(path).text)
    assert revision is not None
    again = visitor.client.post(path, data={**kept, "csrf_token": token[1], "revision": revision[1]})
    assert again.status_code == 302


def test_whoever_is_signed_out_meanwhile_keeps_it_too(app: Flask) -> None:
    """And is told to sign in on another tab."""
    answer = app.test_client().post("/environments", data={"name": "staging"}, headers=FROM_HERE)
    assert answer.status_code == 400
    assert 'name="name" hidden>\nstaging</textarea>' in answer.text
    assert "Sign in on another tab" in answer.text


@pytest.mark.parametrize(
    "headers", [{}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}]
)
def test_a_stranger_s_form_is_not_offered_to_be_sent(sign_in: SignIn, headers: dict[str, str]) -> None:
    """One click of somebody who has signed in must not do what another site has typed."""
    answer = sign_in().client.post("/environments", data={"name": "staging"}, headers=headers)
    assert answer.status_code == 400
    assert "staging" not in answer.text
    assert "Send it again" not in answer.text


def test_no_secret_comes_back(sign_in: SignIn, environment_id: str) -> None:
    """Neither a secret's value nor a password, wherever the form came from."""
    visitor = sign_in()
    for path, field in ((f"/environments/{environment_id}/secrets", "value"), ("/sign-in", "password")):
        answer = visitor.client.post(path, data={"name": "x", field: "very secret"}, headers=FROM_HERE)
        assert answer.status_code == 400
        assert "very secret" not in answer.text


def test_what_was_typed_outlives_an_outage_of_the_database(app: Flask, sign_in: SignIn) -> None:
    """The page asks /readyz, and holds the form."""
    visitor = sign_in()
    page = visitor.get("/environments").text
    token = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert token is not None
    take_database_away(app)
    sent = {"name": "staging", "csrf_token": token[1]}
    answer = visitor.client.post("/environments", data=sent, headers=FROM_HERE)
    assert answer.status_code == 503
    assert "The database is away" in answer.text
    assert 'data-ready="/readyz" data-method="POST"' in answer.text
    assert 'name="name" hidden>\nstaging</textarea>' in answer.text


def test_a_page_of_nobody_who_has_signed_in_says_the_same(app: Flask) -> None:
    """Also the first one that anybody sees."""
    take_database_away(app)
    answer = Visitor(app.test_client()).get("/sign-in")
    assert answer.status_code == 503
    assert "The database is away" in answer.text
