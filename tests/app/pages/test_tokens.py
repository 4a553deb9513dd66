"""The tokens' page: made and shown once, listed, revoked, for admins alone."""

import re
from datetime import timedelta

from flask import Flask
from sqlalchemy import update

from app.clock import utc_now
from app.database import transaction
from app.models import ApiToken
from tests.app.conftest import Script, refused
from tests.app.pages.conftest import SignIn

TEXT = re.compile(r"sbx_api_[0-9a-f]{32}_[0-9a-f]{64}")


def test_a_token_from_its_making_to_its_end(app: Flask, sign_in: SignIn, environment_id: str) -> None:
    """Its text is in one answer; it works until it is revoked, and is listed after the others then."""
    visitor = sign_in()
    assert "No tokens yet" in visitor.get("/tokens").text
    made = visitor.post(
        "/tokens", "/tokens", name="ci", role="editor", environment=environment_id, days="30", approves="yes"
    )
    found = TEXT.search(made.text)
    assert found is not None
    assert 'data-copy="token-text"' in made.text
    listed = visitor.get("/tokens").text
    assert not TEXT.search(listed)
    for said in ("editor, approves", "admin@example.org", "production", "never"):
        assert said in listed, said
    script = Script(app.test_client(), found[0])
    assert len(script.get("/environments")["items"]) == 1
    address = re.search(r'action="(/tokens/[0-9a-f]{32}/revoke)"', listed)
    assert address is not None
    assert visitor.post(address[1], "/tokens").location.endswith("/tokens")
    ended = visitor.get("/tokens").text
    assert "Revoked the token ci" in ended
    assert ended.index('id="revoked-title"') < ended.rindex(">ci</th>")
    assert "revoked" in refused(script.call("GET", "/environments"), 401)


def test_a_token_that_ends_within_a_week_is_warned_of(app: Flask, sign_in: SignIn) -> None:
    """Not one that has a month left; and one that has ended is called so."""
    visitor = sign_in()
    visitor.post("/tokens", "/tokens", name="a", role="viewer", environment="", days="30", approves="")
    assert "within 7 days" not in visitor.get("/tokens").text

    def end(days: int) -> None:
        moment = utc_now() + timedelta(days=days)
        with app.app_context():
            transaction(lambda session: session.execute(update(ApiToken).values(expires_at=moment)))

    end(6)
    assert "1 token expires within 7 days" in visitor.get("/tokens").text
    end(-1)
    text = visitor.get("/tokens").text
    assert "within 7 days" not in text
    assert ">expired</span>" in text


def test_what_cannot_be_used_is_said_and_kept(sign_in: SignIn) -> None:
    """Nothing is made."""
    visitor = sign_in()
    fields = {"role": "viewer", "environment": "", "days": "30", "approves": ""}
    for wrong in ({"name": " "}, {"name": "n", "days": "3000"}, {"name": "n", "role": "owner"}):
        answer = visitor.post("/tokens", "/tokens", **{**fields, **wrong})
        assert answer.status_code == 400
        assert "No token was made." in answer.text
    assert "No tokens yet" in visitor.get("/tokens").text


def test_the_page_is_for_admins(sign_in: SignIn) -> None:
    """Others are not even offered the way."""
    visitor = sign_in("editor")
    assert 'href="/tokens"' not in visitor.get("/").text
    assert visitor.get("/tokens").status_code == 403
    assert visitor.post("/tokens", "/", name="n", role="viewer", environment="", days="").status_code == 403
