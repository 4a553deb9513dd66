"""Signing in and out, and where a stranger's link leads."""

import re

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from app import sign_in_limits, tokens
from app.database import db
from app.known_devices import COOKIE, Device
from app.models import AccountSession
from app.pages.sign_in import safe_next
from tests.app.pages.conftest import PASSWORD, SignIn, Visitor
from tests.support import people


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


def test_a_copied_cookie_is_worth_nothing_after_signing_out(app: Flask, sign_in: SignIn) -> None:
    """Signing out ends the session on the server, not just the cookie in one browser; other browsers stay in."""
    visitor, other, thief = sign_in(), sign_in(), Visitor(app.test_client())
    cookie = visitor.client.get_cookie("signalbox_session")
    assert cookie is not None
    thief.client.set_cookie("signalbox_session", cookie.value)
    assert thief.get("/").status_code == 200
    visitor.post("/sign-out")
    assert thief.get("/").status_code == 302
    assert other.get("/").status_code == 200


def test_the_cookie_has_a_token_of_which_only_the_hash_is_stored(app: Flask, sign_in: SignIn) -> None:
    """Who reads the database cannot make a cookie of it, even with the secret key."""
    visitor = sign_in()
    with visitor.client.session_transaction() as session:
        token = session["_user_id"]
    assert re.fullmatch("sbx_session_[0-9a-f]{32}_[0-9a-f]{64}", token)
    with app.app_context():
        (row,) = db.session.query(AccountSession).all()
        assert row.digest == tokens.digest(token)
        assert token.rpartition("_")[2] not in str(vars(row))


def test_a_refused_form_says_when_to_come_back(app: Flask, sign_in: SignIn) -> None:
    """429 has its Retry-After and a sentence, on the form; and a browser that was signed in before goes on."""
    sign_in().post("/sign-out")
    stranger = Visitor(app.test_client())

    def guess(visitor: Visitor, password: str = "not the one it is") -> TestResponse:
        return visitor.post("/sign-in", "/sign-in", email="admin@example.org", password=password)

    with app.app_context():
        counted = sign_in_limits.counters("admin@example.org", None, None)
        for _ in range(sign_in_limits.OF_AN_ACCOUNT.amount):
            sign_in_limits.sign_in_limits().attempt(counted)
    answer = guess(stranger, PASSWORD)
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 15 * 60
    assert "too many attempts" in answer.text
    assert 'name="password"' in answer.text
    with app.app_context():
        stranger.client.set_cookie(
            COOKIE, Device("d", [people.account_id_of("admin@example.org")]).to_cookie()
        )
    assert guess(stranger, PASSWORD).status_code == 302
