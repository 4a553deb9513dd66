"""API tokens by the operator API, on each kind of database: made, listed, revoked, no mightier than their maker."""

from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import update

from app import accounts, retention, server_settings
from app.audit import COMMAND_LINE
from app.clock import rfc3339, utc_now
from app.database import transaction
from app.models import ApiToken
from tests.app.conftest import Script, make_script, refused, succeeded


def made(script: Script, **fields: object) -> dict[str, Any]:
    row: dict[str, Any] = script.post("/api-tokens", {"name": "ci", "role": "editor", **fields})
    return row


def test_a_token_is_made_used_and_revoked(app: Flask, script: Script, environment_id: str) -> None:
    """Its text is in one answer; it does what its role says, where it says; revoked it is refused at once."""
    answer = script.call(
        "POST", "/api-tokens", {"name": "ci", "role": "editor", "environmentId": environment_id}
    )
    row = succeeded(answer, 201)
    assert answer.headers["Cache-Control"] == "no-store"
    own = Script(app.test_client(), row.pop("token"))
    assert (row["state"], row["createdBy"], row["mayApprove"], row["expiresAt"]) == (
        "active",
        "token tests",
        False,
        None,
    )
    own.post("/pipelines", {"environmentId": environment_id, "name": "p", "configYaml": ""})
    refused(own.call("POST", "/environments", {"name": "n"}), 403)
    shown = script.get(f"/api-tokens/{row['id']}")
    assert shown["lastUsedAt"] is not None
    assert "token" not in shown
    revoked = script.post(f"/api-tokens/{row['id']}/revoke", {}, 200)
    assert revoked["state"] == "revoked"
    assert "revoked" in refused(own.call("GET", "/pipelines"), 401)
    assert script.post(f"/api-tokens/{row['id']}/revoke", {}, 200)["revokedAt"] == revoked["revokedAt"]
    entries = script.get("/audit", subject=row["id"])["items"]
    assert [entry["action"] for entry in entries] == ["api-token.revoke", "api-token.create"]
    assert entries[0]["detail"]["before"] == {"revokedAt": None}
    assert str(own.token) not in str(entries)
    assert row["id"] in [each["id"] for each in script.get("/api-tokens", revoked="true")["items"]]
    assert row["id"] not in [each["id"] for each in script.get("/api-tokens", revoked="false")["items"]]


def test_an_expired_token_is_refused_with_a_sentence(app: Flask, script: Script) -> None:
    """From that moment on, whoever listed it before."""
    row = made(script, expiresAt=rfc3339(utc_now() + timedelta(hours=1)))
    own = Script(app.test_client(), row["token"])
    own.get("/pipelines")

    def age(session: Any) -> None:
        past = utc_now() - timedelta(seconds=1)
        session.execute(update(ApiToken).where(ApiToken.id == row["id"]).values(expires_at=past))

    with app.app_context():
        transaction(age)
    assert "expired" in refused(own.call("GET", "/pipelines"), 401)
    assert script.get(f"/api-tokens/{row['id']}")["state"] == "expired"


@pytest.mark.parametrize(
    ("fields", "status", "field"),
    [
        ({"role": "owner"}, 400, "role"),
        ({"name": " "}, 400, "name"),
        ({"expiresAt": "tomorrow"}, 400, "expiresAt"),
        ({"expiresAt": "2027-01-31T12:00:00"}, 400, "expiresAt"),
        ({"expiresAt": "2001-01-31T12:00:00Z"}, 400, "expires"),
        ({"environmentId": "0" * 32}, 404, None),
    ],
)
def test_what_cannot_be_used_is_refused(
    script: Script, fields: dict[str, object], status: int, field: str | None
) -> None:
    """By field, and nothing is made."""
    before = len(script.get("/api-tokens")["items"])
    answer = script.call("POST", "/api-tokens", {"name": "ci", "role": "editor", **fields})
    refused(answer, status, *([field] if field else []))
    assert len(script.get("/api-tokens")["items"]) == before


def test_nobody_makes_a_token_that_may_more_than_they(
    app: Flask, script: Script, environment_id: str
) -> None:
    """Not by role, not by environment, not for longer, and not with the right to approve."""
    body = {"name": "n", "role": "viewer"}
    for role in ("viewer", "editor"):
        refused(make_script(app, role).call("POST", "/api-tokens", body), 403)
        refused(make_script(app, role).call("GET", "/api-tokens"), 403)
    limited = make_script(app, "admin", environment_id)
    other = script.post("/environments", {"name": "other"})["id"]
    refused(limited.call("POST", "/api-tokens", body), 403)
    refused(limited.call("POST", "/api-tokens", {**body, "environmentId": other}), 404)
    refused(
        limited.call("POST", "/api-tokens", {**body, "environmentId": environment_id, "mayApprove": True}),
        403,
    )
    assert limited.post("/api-tokens", {**body, "role": "admin", "environmentId": environment_id})
    soon = utc_now() + timedelta(hours=2)
    with app.app_context():
        minted = accounts.create_api_token("short", COMMAND_LINE, expires_at=soon)
    short = Script(app.test_client(), minted.text)
    for expires in (None, rfc3339(soon + timedelta(minutes=1))):
        assert "expires" in refused(short.call("POST", "/api-tokens", {**body, "expiresAt": expires}), 403)
    made(short, expiresAt=rfc3339(soon - timedelta(minutes=1)))


def test_an_admin_of_one_environment_has_the_tokens_of_that(
    app: Flask, script: Script, environment_id: str
) -> None:
    """Others are as if they did not exist."""
    limited = make_script(app, "admin", environment_id)
    own = made(limited, environmentId=environment_id)
    everywhere = made(script)
    listed = {row["environmentId"] for row in limited.get("/api-tokens")["items"]}
    assert listed == {environment_id}
    refused(limited.call("GET", f"/api-tokens/{everywhere['id']}"), 404)
    refused(limited.call("POST", f"/api-tokens/{everywhere['id']}/revoke"), 404)
    assert limited.post(f"/api-tokens/{own['id']}/revoke", {}, 200)["state"] == "revoked"


def test_tokens_that_ended_long_ago_are_listed_no_more(app: Flask, script: Script) -> None:
    """Those that are good stay, however old; as long as the setting says."""
    kept, revoked, expired = made(script), made(script), made(script)
    script.post(f"/api-tokens/{revoked['id']}/revoke", {}, 200)

    def age(session: Any) -> None:
        past = utc_now() - timedelta(days=91)
        session.execute(update(ApiToken).values(created_at=past))
        session.execute(update(ApiToken).where(ApiToken.id == revoked["id"]).values(revoked_at=past))
        session.execute(update(ApiToken).where(ApiToken.id == expired["id"]).values(expires_at=past))

    with app.app_context():
        transaction(age)
        step = retention.steps(server_settings.values(), utc_now())["API tokens"]
        assert retention.prune(step) == 2
    ids = {row["id"] for row in script.get("/api-tokens")["items"]}
    assert kept["id"] in ids
    assert not ids & {revoked["id"], expired["id"]}
