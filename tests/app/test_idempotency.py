"""A POST with a key is done once, however often and from wherever it is sent."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from app import idempotency, retention, server_settings
from app.clock import utc_now
from app.database import snapshot, transaction
from app.models import Deployment, Environment, IdempotencyKey
from tests.app.conftest import Script, make_script, refused
from tests.app.test_preconditions import at_once


def send(script: Script, path: str, body: Any, key: str = "k-1") -> TestResponse:
    return script.send("POST", path, json=body, headers={"Idempotency-Key": key})


def rows(app: Flask, table: type) -> int:
    with app.app_context():
        return snapshot(lambda session: session.scalar(select(func.count()).select_from(table))) or 0


def changed(app: Flask, work: Callable[[Session], Any]) -> None:
    with app.app_context():
        transaction(lambda session: work(session) and None)


def test_the_same_request_is_answered_again_and_done_once(app: Flask, script: Script) -> None:
    """The same status, body and tag, and a header that says so; another key does it anew."""
    first = send(script, "/environments", {"name": "n"})
    again = send(script, "/environments", {"name": "n"})
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.get_json() == first.get_json()
    assert again.headers["ETag"] == first.headers["ETag"]
    assert ("Idempotency-Replayed" in first.headers, again.headers["Idempotency-Replayed"]) == (False, "true")
    assert rows(app, Environment) == 1
    refused(send(script, "/environments", {"name": "n"}, "k-2"), 409)
    assert send(script, "/environments", {"name": "m"}, "k-2").status_code == 201, "a refusal keeps no key"


def test_a_key_is_of_one_request_of_one_token(app: Flask, script: Script, pipeline_id: str) -> None:
    """422 for another body, address or condition; another token's is another key."""
    path = f"/pipelines/{pipeline_id}/deploy"
    assert send(script, path, {"changelog": "a"}).status_code == 200
    refused(send(script, path, {"changelog": "b"}), 422)
    refused(send(script, f"/pipelines/{pipeline_id}/undeploy", {"changelog": "a"}), 422)
    headers = {"Idempotency-Key": "k-1", "If-Match": '"x"'}
    refused(script.send("POST", path, json={"changelog": "a"}, headers=headers), 422)
    other = send(make_script(app), path, {"changelog": "b"})
    assert (other.status_code, other.get_json()["version"]) == (200, 2)


def test_ten_at_once_are_one_deployment(app: Flask, script: Script, pipeline_id: str) -> None:
    """Of those that come while it is done some are told to come back, which then have the same answer."""
    path = f"/pipelines/{pipeline_id}/deploy"
    headers = {"Idempotency-Key": "deploy"}
    answers = at_once(app, script, "POST", path, [{"changelog": "c"}] * 10, headers)
    assert {answer.status_code for answer in answers} <= {200, 409}
    done = [answer.get_json()["deploymentId"] for answer in answers if answer.status_code == 200]
    assert done
    assert len(set(done)) == 1
    for answer in answers:
        if answer.status_code == 409:
            assert answer.headers["Retry-After"] == "1"
    assert send(script, path, {"changelog": "c"}, "deploy").get_json()["deploymentId"] == done[0]
    assert rows(app, Deployment) == 1


def test_an_answer_that_was_lost_is_not_made_anew(app: Flask, script: Script, pipeline_id: str) -> None:
    """A worker died between the deploy and its answer: at first the answer may still come, then it is lost."""
    path = f"/pipelines/{pipeline_id}/deploy"
    assert send(script, path, {}).status_code == 200
    changed(app, lambda session: session.execute(update(IdempotencyKey).values(status=None, body=None)))
    waiting = send(script, path, {})
    assert "being done just now" in refused(waiting, 409)
    assert waiting.headers["Retry-After"] == "1"
    earlier = utc_now() - timedelta(seconds=61)
    changed(app, lambda session: session.execute(update(IdempotencyKey).values(created_at=earlier)))
    assert "answer was lost" in refused(send(script, path, {}), 409)
    assert rows(app, Deployment) == 1


def test_what_is_shown_once_is_not_kept(app: Flask, script: Script, environment_id: str) -> None:
    """A second token is not made, and the first is nowhere in the database."""
    path = f"/environments/{environment_id}/enrollment-token"
    first = send(script, path, {})
    token = first.get_json()["token"]
    assert "shown once only" in refused(send(script, path, {}), 409)
    with app.app_context():
        kept = snapshot(lambda session: session.scalars(select(IdempotencyKey)).one())
    assert (kept.status, kept.body) == (201, None)
    agent = Script(script.client, None, "/api/agent")
    assert agent.call("POST", "/enroll", {"token": token, "hostname": "n"}).status_code == 200


def test_what_changes_nothing_is_answered_again_too(script: Script, environment_id: str) -> None:
    """There is no transaction to write its key in, so it is written with the answer."""
    body = {"environmentId": environment_id, "configYaml": "sources: {}"}
    first = send(script, "/pipelines/validate", body)
    again = send(script, "/pipelines/validate", body)
    assert again.get_json() == first.get_json()
    assert again.headers["Idempotency-Replayed"] == "true"


@pytest.mark.parametrize("key", ["", " ", "a b", "é", "k" * 256])
def test_a_key_that_is_none_is_refused(script: Script, key: str) -> None:
    """Before anything is done."""
    refused(send(script, "/environments", {"name": "n"}, key), 400, "Idempotency-Key")
    assert script.get("/environments")["items"] == []


def test_keys_are_kept_for_a_day_and_are_bounded(
    app: Flask, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a day it is another request, whether or not the old one was swept away by then."""
    assert send(script, "/environments", {"name": "a"}).status_code == 201
    before = utc_now() - idempotency.KEPT - timedelta(seconds=1)
    changed(app, lambda session: session.execute(update(IdempotencyKey).values(created_at=before)))
    refused(send(script, "/environments", {"name": "a"}), 409)
    assert send(script, "/environments", {"name": "b"}).status_code == 201
    changed(app, lambda session: session.execute(update(IdempotencyKey).values(created_at=before)))

    def pruned() -> int:
        with app.app_context():
            return retention.prune(retention.steps(server_settings.values(), utc_now())["idempotency keys"])

    assert pruned() == 1
    for number in range(3):
        assert send(script, "/environments", {"name": f"n{number}"}, f"k{number}").status_code == 201
    assert pruned() == 0
    monkeypatch.setattr(idempotency, "MOST_KEYS", 1)
    assert pruned() == 2
    assert send(script, "/environments", {"name": "n2"}, "k2").headers["Idempotency-Replayed"] == "true"
