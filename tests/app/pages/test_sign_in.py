"""Signing in and out, and where a stranger's link leads."""

import re

import pytest
from flask import Flask

from app.database import db
from app.models import Account
from app.pages.sign_in import safe_next
from tests.app.pages.conftest import PASSWORD, SignIn, Visitor


def test_a_stranger_is_sent_to_the_form_and_from_there_to_where_he_wanted(
    app: Flask, sign_in: SignIn
) -> None:
    """Every page needs an account, and signing in leads on to the page that was asked for."""
    sign_in()
    visitor = Visitor(app.test_client())
    answer = visitor.get("/pipelines?cursor=")
    assert answer.status_code == 302
    assert answer.location == "/sign-in?next=/pipelines?cursor%3D"
    form = visitor.get(answer.location)
    assert 'name="next" value="/pipelines?cursor="' in form.text
    answer = visitor.post(
        "/sign-in", answer.location, email="Admin@example.org ", password=PASSWORD, next="/pipelines?cursor="
    )
    assert (answer.status_code, answer.location) == (302, "/pipelines?cursor=")
    assert visitor.get("/").status_code == 200


def test_the_answer_does_not_tell_whether_the_account_exists(app: Flask, sign_in: SignIn) -> None:
    """A wrong password and an unknown address get the same status and the same words."""
    sign_in()
    visitor = Visitor(app.test_client())
    answers = [
        visitor.post("/sign-in", "/sign-in", email=email, password="not the one it is")
        for email in ("admin@example.org", "nobody@example.org")
    ]
    assert [answer.status_code for answer in answers] == [401, 401]
    said = [re.findall(r'role="alert"[^>]*>([^<]+)<', answer.text) for answer in answers]
    assert said[0] == said[1] != []
    assert visitor.get("/").status_code == 302


def test_a_password_beyond_what_bcrypt_reads_is_refused_on_the_form(app: Flask, sign_in: SignIn) -> None:
    """73 bytes are not cut to 72 and compared."""
    sign_in()
    answer = Visitor(app.test_client()).post("/sign-in", "/sign-in", email="a@example.org", password="ä" * 37)
    assert answer.status_code == 400
    assert "72 bytes" in answer.text


@pytest.mark.parametrize(
    "address",
    [
        None,
        "",
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example/",
        "\\\\evil.example",
        "/\t/evil.example",
        "/a\nb",
        "javascript:alert(1)",
        "pipelines",
    ],
)
def test_next_leads_nowhere_but_to_this_server(app: Flask, address: str | None) -> None:
    """Whatever a stranger's link says, signing in ends on a page of ours."""
    with app.test_request_context("/sign-in"):
        assert safe_next(address) == "/"


def test_signing_out_ends_the_session_and_needs_a_form(sign_in: SignIn) -> None:
    """A link cannot sign anybody out."""
    visitor = sign_in()
    assert visitor.get("/sign-out").status_code == 405
    assert visitor.post("/sign-out").location == "/sign-in"
    assert visitor.get("/").status_code == 302


def test_a_copied_cookie_is_worth_nothing_after_signing_out(sign_in: SignIn) -> None:
    """Signing out ends the sessions on the server, not just the cookie in one browser; signing in begins anew."""
    visitor, thief = sign_in(), sign_in()
    assert thief.get("/").status_code == 200
    visitor.post("/sign-out")
    assert thief.get("/").status_code == 302
    assert sign_in().get("/").status_code == 200


def test_a_new_session_key_ends_the_sessions_of_an_account(app: Flask, sign_in: SignIn) -> None:
    """The cookie names the key; with another one in the database it is worth nothing."""
    visitor = sign_in()
    with app.app_context():
        account = db.session.query(Account).one()
        account.session_key = "another"
        db.session.commit()
    assert visitor.get("/").status_code == 302
