"""Pipelines: a draft that may be unfinished, and versions that nothing changes any more."""

from typing import Any

import pytest

from tests.app.conftest import YAML, Script, enroll, node_id, refused, succeeded

BROKEN = "sources: {a: {type: x}}\nsinks:\n  out: {type: x, inputs: [b]}\n"


def put(script: Script, pipeline_id: str, **fields: object) -> Any:
    return succeeded(script.call("PUT", f"/pipelines/{pipeline_id}", fields), 200)


def test_a_draft_is_made_and_shown_as_promised(script: Script, environment_id: str) -> None:
    """Every field of the contract and no other."""
    body = {
        "environmentId": environment_id,
        "name": "p",
        "configYaml": YAML,
        "nodeSelector": "zone = a",
        "logLevel": "DEBUG",
    }
    row = script.post("/pipelines", body)
    assert row.pop("createdAt") == row.pop("updatedAt")
    assert len(row.pop("id")) == 32
    assert row == {**body, "logLevel": "debug", "wantedVersion": None}


def test_what_may_be_left_out_of_a_draft_is(script: Script, environment_id: str) -> None:
    """No selector matches every node; no log level is Vector's own."""
    row = script.post("/pipelines", {"environmentId": environment_id, "name": "p", "configYaml": ""})
    assert (row["nodeSelector"], row["logLevel"], row["configYaml"]) == ("", None, "")


def test_a_draft_may_be_broken_but_its_selector_and_log_level_may_not(
    script: Script, environment_id: str, pipeline_id: str
) -> None:
    """A YAML that is half written can be kept; what could not even be tried is refused."""
    assert put(script, pipeline_id, configYaml=BROKEN)["configYaml"] == BROKEN
    path = f"/pipelines/{pipeline_id}"
    refused(script.call("PUT", path, {"nodeSelector": "zone in"}), 400, "nodeSelector")
    refused(script.call("PUT", path, {"logLevel": "loud"}), 400, "logLevel")
    refused(script.call("PUT", path, {"configYaml": "e" * (512 * 1024 + 1)}), 400, "configYaml")
    put(script, pipeline_id, configYaml="e" * (512 * 1024))


def test_a_put_of_the_whole_row_changes_nothing_and_absent_fields_are_kept(
    script: Script, pipeline_id: str
) -> None:
    """A selector that was left out must not become one that matches every node."""
    row = put(script, pipeline_id, nodeSelector="zone=a", logLevel="warn")
    assert put(script, pipeline_id, **row) == row
    renamed = put(script, pipeline_id, name="other")
    assert {**renamed, "name": row["name"], "updatedAt": row["updatedAt"]} == row
    assert renamed["updatedAt"] > row["updatedAt"]
    cleared = put(script, pipeline_id, nodeSelector="", logLevel=None)
    assert (cleared["nodeSelector"], cleared["logLevel"]) == ("", None)


def test_a_pipeline_stays_in_its_environment(script: Script, pipeline_id: str) -> None:
    """Moving one is refused, naming the field."""
    other = script.post("/environments", {"name": "other"})["id"]
    refused(script.call("PUT", f"/pipelines/{pipeline_id}", {"environmentId": other}), 400, "environmentId")


def test_a_name_is_given_once_in_an_environment(
    script: Script, environment_id: str, pipeline_id: str
) -> None:
    """Another environment may have a pipeline of the same name."""
    body = {"environmentId": environment_id, "name": "access-log", "configYaml": ""}
    refused(script.call("POST", "/pipelines", body), 409, "name")
    other = script.post("/pipelines", {**body, "name": "other"})["id"]
    refused(script.call("PUT", f"/pipelines/{other}", {"name": "access-log"}), 409, "name")
    elsewhere = script.post("/environments", {"name": "elsewhere"})["id"]
    script.post("/pipelines", {**body, "environmentId": elsewhere})
    assert [row["name"] for row in script.get("/pipelines", environmentId=elsewhere)["items"]] == [
        "access-log"
    ]


def test_validating_tells_what_a_deploy_would_be_refused_for(
    script: Script, environment_id: str, pipeline_id: str
) -> None:
    """The same problems with component and line, and a deploy that is refused makes no version."""
    body = {"environmentId": environment_id, "configYaml": BROKEN}
    answer = script.post("/pipelines/validate", body, 200)
    problem = {
        "field": "configYaml",
        "message": 'the input "b" is no source or transform',
        "component": "out",
        "line": 3,
    }
    assert answer == {"valid": False, "errors": [problem]}
    put(script, pipeline_id, configYaml=BROKEN)
    refusal = script.call("POST", f"/pipelines/{pipeline_id}/deploy")
    refused(refusal, 400, "configYaml")
    assert refusal.get_json()["details"] == answer["errors"]
    assert script.get(f"/pipelines/{pipeline_id}/versions")["items"] == []
    good = {"environmentId": environment_id, "configYaml": YAML}
    assert script.post("/pipelines/validate", good, 200) == {"valid": True, "errors": []}


def test_a_secret_that_does_not_exist_is_a_problem_of_the_deploy(script: Script, environment_id: str) -> None:
    """Named with its component and line."""
    text = YAML + "    key: SECRET[db]\n    cert: CERT[edge]\n"
    body = {"environmentId": environment_id, "configYaml": text}
    errors = script.post("/pipelines/validate", body, 200)["errors"]
    assert [(error["component"], error["line"]) for error in errors] == [("gone", 9), ("gone", 10)]
    assert 'secret "db" does not exist' in errors[0]["message"]


def test_versions_keep_what_was_deployed(script: Script, environment_id: str, pipeline_id: str) -> None:
    """Draft, selector and log level of that moment; a rollback is a new version and leaves the draft alone."""
    enroll(script, environment_id, "n1")
    path = f"/pipelines/{pipeline_id}"
    put(script, pipeline_id, nodeSelector="!gpu", logLevel="info")
    first = script.post(f"{path}/deploy", {"changelog": "first"}, 200)
    assert set(first) >= {"deploymentId", "version", "targets", "pushed"}
    assert (first["version"], first["targets"], first["pushed"]) == (1, 1, 0)
    draft = put(script, pipeline_id, configYaml=YAML + "# two\n", nodeSelector="gpu", logLevel=None)
    assert script.post(f"{path}/deploy", status=200)["targets"] == 0
    assert script.post(f"{path}/rollback", {"version": 1}, 200)["version"] == 3
    assert script.get(path) == {**draft, "wantedVersion": 3}
    versions = script.get(f"{path}/versions")["items"]
    assert [version["version"] for version in versions] == [3, 2, 1]
    shown = {"configYaml": YAML, "nodeSelector": "!gpu", "logLevel": "info"}
    assert versions[2] == {
        "version": 1,
        **shown,
        "changelog": "first",
        "createdBy": "token tests",
        "createdAt": versions[2]["createdAt"],
    }
    assert {key: versions[0][key] for key in shown} == shown
    assert script.get(f"{path}/versions/2") == versions[1]
    for number in ("0", "4", "99999999999"):
        refused(script.call("GET", f"{path}/versions/{number}"), 404)
    refused(script.call("POST", f"{path}/rollback", {"version": 9}), 404)


def test_targets_are_the_nodes_that_a_deploy_of_the_draft_would_reach(
    script: Script, environment_id: str, pipeline_id: str
) -> None:
    """By the operator's labels; those that an agent gave itself choose nothing (hazard 30)."""
    (one, two) = enroll(script, environment_id, "n1", "n2", labels={"role": "pci"})
    path = f"/nodes/{node_id(two)}"
    succeeded(script.call("PATCH", path, {"labels": {"zone": "a"}}), 200)
    for selector, names in (
        ("", ["n1", "n2"]),
        ("zone=a", ["n2"]),
        ("!zone", ["n1"]),
        ("role=pci", []),
    ):
        put(script, pipeline_id, nodeSelector=selector)
        targets = script.get(f"/pipelines/{pipeline_id}/targets")["items"]
        assert [row["name"] for row in targets] == names
    assert script.get(path)["labels"] == {"role": "pci", "zone": "a"}
    assert script.get(f"/nodes/{node_id(one)}")["operatorLabels"] == {}


def test_a_deployed_pipeline_cannot_be_deleted(script: Script, environment_id: str, pipeline_id: str) -> None:
    """Undeploying comes first; afterwards it goes with its versions, while its deployments stay."""
    (agent,) = enroll(script, environment_id, "n1")
    path = f"/pipelines/{pipeline_id}"
    deployment = script.post(f"{path}/deploy", status=200)["deploymentId"]
    agent.post(
        "/heartbeat", {"pipelines": [{"pipelineId": pipeline_id, "version": 1, "status": "RUNNING"}]}, 200
    )
    assert "version 1" in refused(script.call("DELETE", path), 409)
    undeployed = script.post(f"{path}/undeploy", status=200)
    assert (undeployed["version"], undeployed["targets"]) == (None, 1)
    refused(script.call("POST", f"{path}/undeploy"), 409)
    assert script.call("DELETE", path).status_code == 204
    refused(script.call("DELETE", path), 404)
    refused(script.call("GET", f"{path}/versions"), 404)
    assert script.get(f"/deployments/{deployment}")["version"] == 1
    assert script.get(f"/nodes/{node_id(agent)}")["pipelines"] == []


def test_a_new_name_of_a_deployed_pipeline_reaches_its_nodes(
    script: Script, environment_id: str, pipeline_id: str
) -> None:
    """The name belongs to what nodes are told: the revision changes with it, the checksum does not."""
    (agent,) = enroll(script, environment_id, "n1")
    script.post(f"/pipelines/{pipeline_id}/deploy", status=200)
    before = agent.get("/config")
    put(script, pipeline_id, name="renamed")
    after = agent.get("/config")
    assert after["pipelines"][0]["pipelineName"] == "renamed"
    assert after["configRevision"] != before["configRevision"]
    assert after["pipelines"][0]["checksum"] == before["pipelines"][0]["checksum"]


@pytest.mark.parametrize("field", ["configYaml", "nodeSelector", "logLevel"])
def test_a_draft_reaches_no_node_before_it_is_deployed(
    script: Script, environment_id: str, pipeline_id: str, field: str
) -> None:
    """Not its YAML, not its selector, not its log level."""
    (agent,) = enroll(script, environment_id, "n1")
    script.post(f"/pipelines/{pipeline_id}/deploy", status=200)
    before = agent.get("/config")
    put(
        script,
        pipeline_id,
        **{field: {"configYaml": BROKEN, "nodeSelector": "gpu", "logLevel": "trace"}[field]},
    )
    assert agent.get("/config") == before


def test_the_audit_log_tells_what_changed_but_not_the_yaml(script: Script, pipeline_id: str) -> None:
    """Somebody may have written a password into it."""
    put(script, pipeline_id, configYaml=YAML + "# hunter2\n", name="other")
    entry = script.get("/audit")["items"][0]
    assert entry["action"] == "pipeline.update"
    assert entry["actor"] == "token tests"
    assert entry["subjectId"] == pipeline_id
    assert entry["detail"] == {
        "pipeline": "other",
        "before": {"name": "access-log"},
        "after": {"name": "other"},
        "config_changed": True,
    }


def test_a_preview_says_who_gains_and_who_loses_before_anything_is_saved(
    script: Script, environment_id: str, pipeline_id: str
) -> None:
    """Against what is deployed; of the draft or of a selector that nobody has saved; nobody is told of it."""
    path = f"/pipelines/{pipeline_id}/targets"
    names = ("n1", "n2", "n3")
    for name, agent in zip(names, enroll(script, environment_id, *names), strict=True):
        labels = {"zone": "a" if name == "n1" else "b", "name": name}
        succeeded(script.call("PATCH", f"/nodes/{node_id(agent)}", {"labels": labels}), 200)

    def preview(**query: str) -> tuple[list[str], int, int, int]:
        answer = script.get(path, **query)
        return (
            [row["name"] for row in answer["items"]], answer["targets"], answer["gained"], answer["lost"]
        )  # fmt: skip

    put(script, pipeline_id, nodeSelector="name in (n1,n2)")
    assert preview() == (["n1", "n2"], 2, 2, 0), "nothing is deployed, so all of them are new"
    script.post(f"/pipelines/{pipeline_id}/deploy", status=200)
    assert preview() == (["n1", "n2"], 2, 0, 0)
    assert preview(selector="zone=b") == (["n2", "n3"], 2, 1, 1)
    assert preview(selector="zone=b", change="gained")[0] == ["n3"]
    assert preview(selector="zone=b", change="kept")[0] == ["n2"]
    assert preview(selector="zone=b", change="lost")[0] == ["n1"]
    assert preview(selector="") == (["n1", "n2", "n3"], 3, 1, 0), "an empty one is every node"
    page = script.get(path, selector="", limit="2")
    assert [row["name"] for row in page["items"]] == ["n1", "n2"]
    last = script.get(path, selector="", limit="2", cursor=page["nextCursor"])
    assert ([row["name"] for row in last["items"]], last["nextCursor"], last["targets"]) == (["n3"], None, 3)
    assert script.get(f"/pipelines/{pipeline_id}")["nodeSelector"] == "name in (n1,n2)"
    refused(script.call("GET", path, selector="zone in (a"), 400, "selector")
    refused(script.call("GET", path, change="more"), 400, "change")
    put(script, pipeline_id, nodeSelector="zone=b")
    assert preview() == (["n2", "n3"], 2, 1, 1)
    deployed = script.post(f"/pipelines/{pipeline_id}/deploy", status=200)
    assert deployed["targets"] == 2
    assert preview() == (["n2", "n3"], 2, 0, 0)
