"""Reading the audit log through the operator API: each filter, on each kind of database."""

import base64
import time
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event

from app import audit_log, csv_text
from app.audit_log import AuditFilter
from app.database import db
from tests.app.conftest import YAML, Script, enroll, make_script, node_id, refused, succeeded
from tests.app.test_secrets import pem


def actions_of(answer: Any) -> list[str]:
    return [entry["action"] for entry in answer["items"]]


def test_each_filter_leaves_out_what_it_does_not_mean(
    script: Script, environment_id: str, pipeline_id: str
) -> None:
    """Who, action or family of them, environment, object by id or by name; together they narrow further."""
    (agent,) = enroll(script, environment_id, "edge-01")
    other = script.post("/environments", {"name": "other"})["id"]
    assert actions_of(script.get("/audit", subject=pipeline_id)) == ["pipeline.create"]
    assert actions_of(script.get("/audit", subject="access-log")) == ["pipeline.create"]
    assert actions_of(script.get("/audit", subject=node_id(agent))) == ["node.enroll"]
    assert actions_of(script.get("/audit", subject="edge-01")) == ["node.enroll"]
    assert actions_of(script.get("/audit", environmentId=other)) == ["environment.create"]
    assert actions_of(script.get("/audit", action="environment.create")) == ["environment.create"] * 2
    family = actions_of(script.get("/audit", action="environment.*"))
    assert family == ["environment.create", "environment.enrollment-token", "environment.create"]
    assert actions_of(script.get("/audit", action="environment.*", actor="command line")) == [
        "environment.create"
    ]
    for nothing in ({"action": "environment"}, {"action": "nothing.*"}, {"subject": "nobody"}):
        assert script.get("/audit", **nothing)["items"] == []


def test_a_range_of_time_has_its_beginning_and_not_its_end(script: Script, environment_id: str) -> None:
    """So that two ranges beside each other hold everything once; a moment without a zone is UTC."""
    until_next_millisecond()
    script.post("/environments", {"name": "second"})
    at = script.get("/audit")["items"][0]["at"]
    before, after = script.get("/audit", until=at), script.get("/audit", since=at.removesuffix("Z"))
    assert [entry["detail"]["name"] for entry in after["items"]] == ["second"]
    assert "second" not in [entry["detail"].get("name") for entry in before["items"]]
    assert len(before["items"]) + len(after["items"]) == len(script.get("/audit")["items"])
    for wrong in ("yesterday", "0001-01-01T00:00:00+14:00"):
        refused(script.call("GET", "/audit", since=wrong), 400, "since")


def test_pages_of_a_filter_hold_each_entry_once(script: Script, environment_id: str) -> None:
    """The cursor goes on where the page before ended, within the same filter."""
    for number in range(5):
        script.post("/environments", {"name": f"n{number}"})
    seen, cursor = [], {}
    while True:
        page = script.get("/audit", action="environment.create", limit="2", **cursor)
        seen += [entry["detail"]["name"] for entry in page["items"]]
        if page["nextCursor"] is None:
            break
        cursor = {"cursor": page["nextCursor"]}
    assert seen == ["n4", "n3", "n2", "n1", "n0", "production"]


def test_a_limited_token_filters_within_its_environment(
    app: Flask, script: Script, environment_id: str
) -> None:
    """Asking for another one, or for an object of another one, finds nothing."""
    other = script.post("/environments", {"name": "other"})["id"]
    limited = make_script(app, environment_id=environment_id)
    assert limited.get("/audit", environmentId=other)["items"] == []
    assert limited.get("/audit", subject="other")["items"] == []
    assert {entry["environmentId"] for entry in limited.get("/audit")["items"]} == {environment_id}


@pytest.fixture
def rows_read(app: Flask) -> Iterator[list[int]]:
    """How many rows each question after this one could answer with at most."""
    limits: list[int] = []

    def hear(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if "FROM audit_entry" in statement and "LIMIT" in statement:
            values = parameters.values() if isinstance(parameters, dict) else parameters
            limits.append(max(value for value in values if isinstance(value, int)))

    with app.app_context():
        event.listen(db.engine, "before_cursor_execute", hear)
        yield limits
        event.remove(db.engine, "before_cursor_execute", hear)


def test_the_whole_log_is_read_piece_by_piece(
    app: Flask, script: Script, environment_id: str, rows_read: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it, newest first, and never more than a piece of it in memory."""
    for number in range(5):
        script.post("/environments", {"name": f"n{number}"})
    rows_read.clear()
    monkeypatch.setattr(audit_log, "CHUNK", 2)
    entries = list(audit_log.everything(AuditFilter(action="environment.create")))
    assert [entry.detail["name"] for entry in entries] == ["n4", "n3", "n2", "n1", "n0", "production"]
    assert rows_read == [2, 2, 2, 2]


def test_the_actions_that_there_are_are_listed_once(app: Flask, script: Script, environment_id: str) -> None:
    """By name, whatever number of entries they have."""
    script.post("/environments", {"name": "second"})
    with app.app_context():
        found = audit_log.actions()
    assert found == sorted(set(actions_of(script.get("/audit"))))


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(1)", "\t=1", "  =1", "\r=1", "＝1"])
def test_no_cell_begins_as_a_formula(cell: str) -> None:
    """An apostrophe before it makes it text; quotes and commas are kept."""
    assert csv_text.harmless(cell) == f"'{cell}"
    assert list(csv_text.lines([["a,b", 'say "x"', "plain"]])) == ['"a,b","say ""x""",plain\r\n']


def until_next_millisecond() -> None:
    """Moments are kept in milliseconds: what follows is to be later than what was."""
    now = time.time_ns() // 1_000_000
    while time.time_ns() // 1_000_000 <= now + 1:
        pass


def test_every_change_says_what_was_before_and_after(script: Script, environment_id: str) -> None:
    """With the same keys, none of which kept its value; secret values are in neither."""
    environment, (agent,) = f"/environments/{environment_id}", enroll(script, environment_id, "edge-01")
    pipeline = script.post(
        "/pipelines", {"environmentId": environment_id, "name": "access-log", "configYaml": YAML}
    )["id"]
    script.post(f"/pipelines/{pipeline}/deploy", {}, 200)
    succeeded(
        script.call("PUT", f"/pipelines/{pipeline}", {"configYaml": YAML, "nodeSelector": "zone=a"}), 200
    )
    script.post(f"/pipelines/{pipeline}/deploy", {}, 200)
    succeeded(script.call("PATCH", environment, {"selectableAgentLabels": ["zone"]}), 200)
    succeeded(agent.call("POST", "/heartbeat", {"pipelines": [], "labels": {"zone": "a"}}), 200)
    succeeded(
        script.call("PATCH", f"/nodes/{node_id(agent)}", {"labels": {"zone": "b"}, "name": "edge"}), 200
    )
    succeeded(script.call("PATCH", environment, {"name": "live"}), 200)
    succeeded(script.call("PATCH", "/settings", {"pollIntervalMs": 20_000}), 200)
    script.post(f"{environment}/enrollment-token")
    for data in (pem(days=5), pem(days=9)):
        file = {"filename": "ca.pem", "data": base64.b64encode(data).decode()}
        assert script.call("PUT", f"{environment}/certificates/ca", file).status_code in (200, 201)
    for value in ("hunter2", "hunter3"):
        assert script.call("PUT", f"{environment}/secrets/key", {"value": value}).status_code in (200, 201)
    script.post(f"/pipelines/{pipeline}/rollback", {"version": 1}, 200)
    script.post(f"/pipelines/{pipeline}/undeploy", {}, 200)

    told = {entry["action"]: entry["detail"] for entry in script.get("/audit", limit="100")["items"]}
    assert "hunter" not in str(told)
    changes = {
        "pipeline.deploy", "pipeline.rollback", "pipeline.undeploy", "pipeline.update", "node.update", "node.labels",
        "environment.update", "environment.selectable_agent_labels", "environment.enrollment-token",
        "settings.update", "certificate.rotate",
    }  # fmt: skip
    assert changes <= told.keys()
    for action in changes:
        before, after = told[action]["before"], told[action]["after"]
        assert before.keys() == after.keys(), action
        assert any(before[key] != after[key] for key in after), action
    assert told["node.update"]["before"] == {"name": "edge-01", "operator_labels": {}}
    assert told["node.update"]["after"] == {"name": "edge", "operator_labels": {"zone": "b"}}
