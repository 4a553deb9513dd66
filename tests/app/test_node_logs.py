"""Log lines between heartbeats, on both databases."""

import pytest
from flask import Flask

from app import nodes
from tests.app.conftest import YAML, Script, enroll, node_id, refused


@pytest.fixture
def agent(script: Script, environment_id: str, pipeline_id: str) -> Script:
    """A node that has reported the pipeline, with one line."""
    (agent,) = enroll(script, environment_id, "edge-01")
    pipeline = {"pipelineId": pipeline_id, "version": 1, "status": "RUNNING", "recentLogs": ["began"]}
    agent.post("/heartbeat", {"pipelines": [pipeline]}, 200)
    return agent


def logs(app: Flask, agent: Script) -> dict[str, list[str]]:
    with app.app_context():
        return dict(nodes.recent_logs(node_id(agent)))


def test_lines_are_appended_and_the_last_two_hundred_kept(
    app: Flask, agent: Script, pipeline_id: str
) -> None:
    """A thousand an entry, several entries of one pipeline, NUL and lone surrogates, and far too long ones."""
    odd = ["a\0b\ud800", "x" * 5000]
    body = [
        {"pipelineId": pipeline_id, "lines": ["one"]},
        {"pipelineId": pipeline_id, "lines": ["two", *odd]},
    ]
    assert agent.post("/logs", body, 200) == {"ok": True}
    assert logs(app, agent) == {"access-log": ["began", "one", "two", "ab?", "x" * 2000]}
    lines = [f"line {number}" for number in range(1000)]
    agent.post("/logs", [{"pipelineId": pipeline_id, "lines": lines}], 200)
    assert logs(app, agent) == {"access-log": lines[-200:]}
    agent.post(
        "/heartbeat", {"pipelines": [{"pipelineId": pipeline_id, "version": 1, "status": "RUNNING"}]}, 200
    )
    assert logs(app, agent) == {"access-log": lines[-200:]}, "a heartbeat without lines takes none away"


def test_a_script_reads_the_lines_of_each_pipeline(
    script: Script, environment_id: str, agent: Script, pipeline_id: str
) -> None:
    """By the pipelines' names, page by page; of one pipeline alone, if asked; viewers may."""
    body = {"environmentId": environment_id, "name": "Zebra", "configYaml": YAML}
    other = script.post("/pipelines", body)["id"]
    told = [{"pipelineId": each, "version": 1, "status": "RUNNING"} for each in (pipeline_id, other)]
    agent.post("/heartbeat", {"pipelines": told}, 200)
    path = f"/nodes/{node_id(agent)}/logs"
    page = script.get(path)
    assert page["nextCursor"] is None
    lines = {row["name"]: (row["pipelineId"], row["lines"]) for row in page["items"]}
    assert lines == {"access-log": (pipeline_id, ["began"]), "Zebra": (other, [])}
    assert all(row["reportedAt"] for row in page["items"])
    first = script.get(path, limit="1")
    assert first["items"] + script.get(path, cursor=first["nextCursor"])["items"] == page["items"]
    assert [row["name"] for row in script.get(path, pipelineId=pipeline_id)["items"]] == ["access-log"]
    assert script.get(path, pipelineId="nope")["items"] == []


def test_lines_of_other_pipelines_are_skipped(app: Flask, script: Script, agent: Script) -> None:
    """Unknown ones, and another environment's."""
    other = script.post("/environments", {"name": "staging"})["id"]
    foreign = script.post("/pipelines", {"environmentId": other, "name": "theirs", "configYaml": YAML})["id"]
    body = [{"pipelineId": each, "lines": ["x"]} for each in ("nobody", foreign, "")]
    assert agent.post("/logs", body, 200) == {"ok": True}
    assert agent.post("/logs", [], 200) == {"ok": True}
    assert logs(app, agent) == {"access-log": ["began"]}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, None),
        ("x", None),
        ([1], "0"),
        ([{"lines": []}], "0.pipelineId"),
        ([{"pipelineId": "a", "lines": "b"}], "0.lines"),
    ],
)
def test_what_is_no_list_of_lines_is_refused(
    agent: Script, app: Flask, body: object, field: str | None
) -> None:
    """With the field's path; nothing is written."""
    refused(agent.call("POST", "/logs", body), 400, *([field] if field else []))
    assert logs(app, agent) == {"access-log": ["began"]}
