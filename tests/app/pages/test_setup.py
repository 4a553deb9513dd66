"""The first-run page: where it leads, what it says, and that it is gone once there is an account."""

import logging
import re

import pytest
from flask import Flask

from app import accounts, first_account
from app.audit import COMMAND_LINE
from tests.app.pages.conftest import PASSWORD, SignIn, Visitor

CODE = re.compile(r"\b[a-z2-7]{4}(?:-[a-z2-7]{4}){3}\b")


def logged_code(caplog: pytest.LogCaptureFixture) -> str:
    lines = [record for record in caplog.records if record.name == "signalbox.setup"]
    assert [record.levelno for record in lines] == [logging.WARNING]
    found = CODE.search(lines[0].getMessage())
    assert found is not None
    return found[0]


def test_a_fresh_server_leads_to_the_form_and_its_code_to_an_account(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    """One line in the log for a page that is opened twice; the page itself does not show the code."""
    visitor = Visitor(app.test_client())
    assert visitor.get("/").location == "/sign-in"
    assert visitor.get("/sign-in").location == "/setup"
    page = visitor.get("/setup")
    assert visitor.get("/setup").status_code == 200
    code = logged_code(caplog)
    assert code not in page.text
    typed = {"email": "ada@example.org", "password": PASSWORD, "again": PASSWORD}
    answer = visitor.post("/setup", "/setup", code=f" {code.upper()} ", **typed)
    assert (answer.status_code, answer.location) == (302, "/")
    assert visitor.get("/").status_code == 200
    assert visitor.get("/setup").location == "/sign-in"
    assert Visitor(app.test_client()).get("/sign-in").status_code == 200


@pytest.mark.parametrize(
    ("field", "typed"),
    [
        ("code", {"code": "aaaa-bbbb-cccc-dddd"}),
        ("email", {"email": "nobody"}),
        ("password", {"password": "short", "again": "short"}),
        ("again", {"again": "another one"}),
    ],
)
def test_what_is_wrong_is_said_at_its_field(app: Flask, field: str, typed: dict[str, str]) -> None:
    """What was typed stays, but for the passwords."""
    with app.app_context():
        code = first_account.current_code()
    sent = {"code": code, "email": "ada@example.org", "password": PASSWORD, "again": PASSWORD, **typed}
    answer = Visitor(app.test_client()).post("/setup", "/setup", **sent)
    assert answer.status_code == 400
    assert re.search(rf'<input id="{field}"[^>]* aria-invalid="true" autofocus', answer.text)
    assert f'value="{sent["email"]}"' in answer.text
    assert f'value="{sent["code"]}"' in answer.text
    assert PASSWORD not in answer.text


def test_who_comes_too_late_is_told_so(app: Flask) -> None:
    """With the form still open: a page of its own, and the way to sign in."""
    visitor = Visitor(app.test_client())
    token = re.search(r'name="csrf_token" value="([^"]+)"', visitor.get("/setup").text)
    assert token is not None
    with app.app_context():
        accounts.create_account("first@example.org", PASSWORD, "admin", COMMAND_LINE)
        code = first_account.current_code()
    typed = {"email": "ada@example.org", "password": PASSWORD, "again": PASSWORD, "code": code}
    answer = visitor.client.post("/setup", data={"csrf_token": token[1], **typed})
    assert answer.status_code == 409
    assert "There is an account already" in answer.text
    assert 'href="/sign-in"' in answer.text


def test_the_form_wants_a_token(app: Flask, sign_in: SignIn) -> None:
    """A stranger's page cannot send it."""
    assert app.test_client().post("/setup", data={"email": "a@example.org"}).status_code == 400
