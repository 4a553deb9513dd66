"""Hazard 30: what an agent says of itself chooses nothing that its environment did not allow."""

from tests.app.conftest import YAML, Script, app, enroll, environment_id, node_id, refused, script, succeeded

__all__ = ["app", "environment_id", "script"]


def runs(agent: Script) -> list[str]:
    return [each["pipelineName"] for each in agent.get("/config")["pipelines"]]


def test_a_stolen_token_cannot_label_itself_into_another_role(script: Script, environment_id: str) -> None:
    """Not at enrolling, not in a heartbeat; where the key is allowed the operator's label still wins."""
    path = f"/environments/{environment_id}"
    body = {"environmentId": environment_id, "name": "pci", "configYaml": YAML, "nodeSelector": "role=pci"}
    script.post(f"/pipelines/{script.post('/pipelines', body)['id']}/deploy", status=200)
    (agent,) = enroll(script, environment_id, "stolen", labels={"role": "pci"})
    assert runs(agent) == []
    agent.post("/heartbeat", {"labels": {"role": "pci", "more": "1"}}, 200)
    assert runs(agent) == []
    row = succeeded(script.call("PATCH", path, {"selectableAgentLabels": ["role"]}), 200)
    assert row["selectableAgentLabels"] == ["role"]
    assert runs(agent) == ["pci"]
    node = f"/nodes/{node_id(agent)}"
    succeeded(script.call("PATCH", node, {"labels": {"role": "web"}}), 200)
    assert runs(agent) == []
    succeeded(script.call("PATCH", node, {"labels": {}}), 200)
    agent.post("/heartbeat", {"labels": {"role": "db"}}, 200)
    assert runs(agent) == []
    actions = [entry["action"] for entry in script.get("/audit")["items"]]
    assert actions.count("environment.selectable_agent_labels") == 1
    assert actions.count("node.labels") == 1, "only the heartbeat that changed what must run"


def test_an_agent_s_labels_are_cut_to_what_is_kept(script: Script, environment_id: str) -> None:
    """64 labels, keys of 63, values of 253, 8 KiB in all: cut, never refused."""
    (agent,) = enroll(script, environment_id, "n", labels={f"k{n:03}": "v" * 300 for n in range(100)})
    kept = script.get(f"/nodes/{node_id(agent)}")["agentLabels"]
    assert {len(value) for value in kept.values()} == {253}
    assert 25 < len(kept) < 33
    agent.post("/heartbeat", {"labels": {"k" * 90: "", **{f"k{n:03}": "" for n in range(100)}}}, 200)
    kept = script.get(f"/nodes/{node_id(agent)}")["agentLabels"]
    assert len(kept) == 64
    assert max(map(len, kept)) <= 63


def test_a_list_of_keys_that_are_none_is_400(script: Script, environment_id: str) -> None:
    """And changes nothing."""
    path = f"/environments/{environment_id}"
    for keys in (["a b"], [""], [f"k{n}" for n in range(65)]):
        refused(script.call("PATCH", path, {"selectableAgentLabels": keys}), 400, "selectableAgentLabels")
    assert script.get(path)["selectableAgentLabels"] == []
