"""Environments: made, renamed, protected, and deleted only when nothing uses them."""

import pytest
from flask import Flask

from app import environments
from app.errors import NotFoundError
from tests.app.conftest import YAML, Script, enroll, node_id, refused, succeeded


def test_an_environment_is_made_and_shown_as_promised(script: Script) -> None:
    """Every field of the contract and no other: above all no key and no token."""
    row = script.post("/environments", {"name": "  production ", "protected": True})
    assert set(row) == {"id", "name", "protected", "nodeCount", "selectableAgentLabels", "createdAt"}
    assert (row["name"], row["protected"], row["nodeCount"]) == ("production", True, 0)
    assert row["createdAt"].endswith("Z")
    assert script.get(f"/environments/{row['id']}") == row
    assert script.get("/environments")["items"] == [row]


@pytest.mark.parametrize("name", ["", "   ", "a" * 101, "a\nb", "a\u200bb"])
def test_a_name_that_nobody_could_read_is_400(script: Script, name: str) -> None:
    """One line, 1 to 100 characters, all of which print."""
    refused(script.call("POST", "/environments", {"name": name}), 400, "name")


def test_a_name_is_given_once(script: Script, environment_id: str) -> None:
    """On making and on renaming; an environment may keep its own."""
    assert "production" in refused(script.call("POST", "/environments", {"name": "production"}), 409, "name")
    other = script.post("/environments", {"name": "staging"})["id"]
    refused(script.call("PATCH", f"/environments/{other}", {"name": "production"}), 409, "name")
    same = succeeded(script.call("PATCH", f"/environments/{environment_id}", {"name": "production"}), 200)
    assert same["name"] == "production"


def test_a_patch_changes_what_is_given_and_nothing_else(script: Script, environment_id: str) -> None:
    """An empty one changes nothing and leaves no trace in the audit log."""
    path = f"/environments/{environment_id}"
    assert succeeded(script.call("PATCH", path, {"protected": True}), 200)["name"] == "production"
    renamed = succeeded(script.call("PATCH", path, {"name": "live"}), 200)
    assert (renamed["name"], renamed["protected"]) == ("live", True)
    before = script.get("/audit")
    assert succeeded(script.call("PATCH", path), 200) == renamed
    assert script.get("/audit") == before


def test_what_is_in_use_cannot_be_deleted_and_what_uses_it_is_named(
    script: Script, environment_id: str, pipeline_id: str
) -> None:
    """Up to three names of each kind; once nothing is left it goes, and a second time it is 404."""
    agents = enroll(script, environment_id, "n1", "n2", "n3", "n4")
    path = f"/environments/{environment_id}"
    sentence = refused(script.call("DELETE", path), 409)
    assert '4 nodes ("n1", "n2", "n3", …)' in sentence
    assert '1 pipeline ("access-log")' in sentence
    assert script.get(path)["nodeCount"] == 4
    for agent in agents:
        assert script.call("DELETE", f"/nodes/{node_id(agent)}").status_code == 204
    assert "node" not in refused(script.call("DELETE", path), 409)
    assert script.call("DELETE", f"/pipelines/{pipeline_id}").status_code == 204
    answer = script.call("DELETE", path)
    assert (answer.status_code, answer.data) == (204, b"")
    refused(script.call("DELETE", path), 404)


def test_an_enrollment_token_is_shown_once_and_ends_with_the_next(
    script: Script, environment_id: str
) -> None:
    """`201 {token, hint}`, which no cache keeps and no other answer repeats."""
    path = f"/environments/{environment_id}/enrollment-token"
    agent = Script(script.client, None, "/api/agent")
    answer = script.call("POST", path)
    first = succeeded(answer, 201)
    assert set(first) == {"token", "hint"}
    assert first["token"].startswith(f"sbx_enroll_{environment_id}_")
    assert answer.headers["Cache-Control"] == "no-store"
    agent.post("/enroll", {"token": first["token"], "hostname": "n"}, 200)
    second = script.post(path)
    refused(agent.call("POST", "/enroll", {"token": first["token"], "hostname": "n"}), 401)
    agent.post("/enroll", {"token": second["token"], "hostname": "n"}, 200)
    assert script.call("DELETE", path).status_code == 204
    refused(agent.call("POST", "/enroll", {"token": second["token"], "hostname": "n"}), 401)
    everything = str([script.get("/environments"), script.get("/audit"), script.get("/nodes")])
    assert second["token"][-64:] not in everything


def test_an_environment_is_found_by_name_or_id(app: Flask, environment_id: str) -> None:
    """As the command line takes it."""
    with app.app_context():
        assert environments.find("production").id == environment_id
        assert environments.find(environment_id).name == "production"
        assert [(each.id, each.name) for each in environments.choices()] == [(environment_id, "production")]
        for wrong in ("nope", "sbx_x", ""):
            with pytest.raises(NotFoundError):
                environments.find(wrong)


def test_a_pipeline_cannot_be_made_in_an_environment_that_has_gone(
    script: Script, environment_id: str
) -> None:
    """It is 404, not half a row."""
    assert script.call("DELETE", f"/environments/{environment_id}").status_code == 204
    body = {"environmentId": environment_id, "name": "p", "configYaml": YAML}
    refused(script.call("POST", "/pipelines", body), 404)
    assert script.get("/pipelines")["items"] == []
