"""Agents that present another system's token: refused, listed, and made nodes of."""

import hashlib
import secrets
from datetime import timedelta

import pytest
from flask import Flask

from app import enrollment
from tests.app.conftest import Script, make_script, refused

HEARTBEAT = {"pipelines": [], "agentVersion": "1.2.3"}


@pytest.fixture
def stranger(script: Script) -> Script:
    """An agent that was enrolled elsewhere."""
    return Script(script.client, f"vf_node_{secrets.token_hex(32)}", "/api/agent")


def fingerprint(agent: Script) -> str:
    assert agent.token is not None
    return hashlib.sha256(agent.token.encode()).hexdigest()[:16]


def listed(script: Script) -> list[str]:
    return [each["fingerprint"] for each in script.get("/refused-tokens", limit="500")["items"]]


def adopt(script: Script, agent: Script, environment_id: str, name: str = "edge-07") -> object:
    body = {"environmentId": environment_id, "name": name}
    return script.post(f"/refused-tokens/{fingerprint(agent)}/adopt", body)["id"]


def test_a_refused_agent_is_listed_and_adopting_makes_a_node_of_it(
    script: Script, stranger: Script, environment_id: str
) -> None:
    """By address and fingerprint; its very next request is a node's, though it was found bad a moment ago."""
    assert listed(script) == []
    for _ in range(3):
        assert "adopt" in refused(stranger.call("GET", "/config"), 401)
    (item,) = script.get("/refused-tokens")["items"]
    assert item["fingerprint"] == fingerprint(stranger)
    assert item["address"] == "127.0.0.1"
    assert item["firstSeenAt"] < item["lastSeenAt"]
    assert stranger.token not in str(item)

    node_id = adopt(script, stranger, environment_id)
    assert stranger.get("/config")["pipelines"] == []
    assert stranger.post("/heartbeat", HEARTBEAT, 200) == {"ok": True}
    node = script.get(f"/nodes/{node_id}")
    assert (node["name"], node["host"], node["agentVersion"]) == ("edge-07", "127.0.0.1", "1.2.3")
    assert listed(script) == []
    (entry,) = [each for each in script.get("/audit")["items"] if each["action"] == "node.adopt"]
    assert (entry["subjectId"], entry["detail"]["fingerprint"]) == (node_id, fingerprint(stranger))
    assert stranger.token not in str(entry)


def test_an_adopted_token_dies_as_any_other(script: Script, stranger: Script, environment_id: str) -> None:
    """Revoked it is refused and not offered again; deleted it is a stranger's once more."""
    stranger.call("GET", "/config")
    node_id = adopt(script, stranger, environment_id)
    script.post(f"/nodes/{node_id}/revoke", status=200)
    for _ in range(2):
        refused(stranger.call("GET", "/config"), 401)
        assert listed(script) == []
    assert script.call("DELETE", f"/nodes/{node_id}").status_code == 204
    refused(stranger.call("GET", "/config"), 401)
    assert listed(script) == [fingerprint(stranger)]


def test_a_token_is_one_node_s(script: Script, stranger: Script, environment_id: str) -> None:
    """The fingerprint is gone from the list once it is adopted; the database has the last word."""
    stranger.call("GET", "/config")
    adopt(script, stranger, environment_id)
    path = f"/refused-tokens/{fingerprint(stranger)}/adopt"
    refused(script.call("POST", path, {"environmentId": environment_id}), 404)
    board = script.client.application.extensions["refused_tokens"]
    board.note(hashlib.sha256(str(stranger.token).encode()).hexdigest(), "127.0.0.1")
    refused(script.call("POST", path, {"environmentId": environment_id}), 409)


@pytest.mark.parametrize(
    "token", ["vf_node_", "vf_node_short", "sbx_node_1_2", f"vf_node_{'a' * 250}", "vf_node_é"]
)
def test_what_has_not_the_form_is_not_listed(script: Script, token: str) -> None:
    """A short token could be guessed."""
    refused(Script(script.client, token, "/api/agent").call("GET", "/config"), 401)
    assert listed(script) == []


def test_only_an_admin_of_everything_adopts(
    app: Flask, script: Script, stranger: Script, environment_id: str
) -> None:
    """The list is of agents that belong to no environment."""
    stranger.call("GET", "/config")
    path, body = f"/refused-tokens/{fingerprint(stranger)}/adopt", {"environmentId": environment_id}
    for other in (make_script(app, "editor"), make_script(app, "admin", environment_id)):
        refused(other.call("GET", "/refused-tokens"), 403)
        refused(other.call("POST", path, body), 403)
    refused(script.call("POST", path, {"environmentId": "nothere"}), 404)
    refused(script.call("POST", path, {}), 400, "environmentId")


def test_the_list_is_bounded(script: Script) -> None:
    """Two hundred, those that were seen last."""
    board = script.client.application.extensions["refused_tokens"]
    for number in range(210):
        board.note(hashlib.sha256(str(number).encode()).hexdigest(), "192.0.2.1")
    found = listed(script)
    assert len(found) == 200
    kept = {hashlib.sha256(str(number).encode()).hexdigest()[:16] for number in range(10, 210)}
    assert set(found) == kept
    assert found == sorted(found)


def test_an_adopted_agent_that_is_away_is_no_ghost(
    app: Flask, script: Script, stranger: Script, environment_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hazard 31 removes nodes that never showed their token; this one has, or it could not be adopted."""
    refused(stranger.call("GET", "/config"), 401)
    node_id = adopt(script, stranger, environment_id)
    monkeypatch.setattr(enrollment, "GHOSTS_KEPT", timedelta(seconds=-60))
    with app.app_context():
        assert enrollment.remove_ghosts() == 0
    assert script.get(f"/nodes/{node_id}")["id"] == node_id
