"""What operators do to nodes, and that the nodes concerned are told: over real sockets through two workers."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.app.conftest import YAML, Script, enroll, node_id, refused, succeeded
from tests.support.api import AgentByHand, Operator
from tests.support.until import until
from tests.support.websocket_client import WebSocketClient, WebSocketRefusedError

FIELDS = {
    "id", "name", "host", "os", "environmentId", "status", "push", "labels", "agentLabels", "operatorLabels",
    "agentVersion", "vectorVersion", "deploymentMode", "lastSeenAt", "enrolledAt", "maintenanceMode", "behind",
    "pipelines",
}  # fmt: skip


def patch(script: Script, agent: Script, **fields: object) -> Any:
    return succeeded(script.call("PATCH", f"/nodes/{node_id(agent)}", fields), 200)


def test_a_node_is_shown_as_promised(script: Script, environment_id: str) -> None:
    """Every field of the contract and no other: above all no token."""
    more = {"os": "linux", "agentVersion": "1.2", "vectorVersion": "vector 0.57", "labels": {"a": "b"}}
    (agent,) = enroll(script, environment_id, "host-1", **more)
    row = script.get(f"/nodes/{node_id(agent)}")
    assert set(row) == FIELDS
    assert row["name"] == row["host"] == "host-1"
    assert (row["os"], row["agentVersion"], row["vectorVersion"]) == ("linux", "1.2", "vector 0.57")
    assert (row["labels"], row["agentLabels"], row["operatorLabels"]) == ({"a": "b"}, {"a": "b"}, {})
    assert (row["status"], row["behind"], row["pipelines"]) == ("UNKNOWN", False, [])
    assert row["push"] == {"connected": False, "transport": None, "since": None, "worker": None}
    assert row["lastSeenAt"] is None
    assert row["enrolledAt"].endswith("Z")


def test_labels_replace_the_operators_set_and_null_leaves_one_out(
    script: Script, environment_id: str
) -> None:
    """The agent's own stay beneath them."""
    (agent,) = enroll(script, environment_id, "n", labels={"zone": "agent", "own": "1"})
    row = patch(script, agent, labels={"zone": "a", "gone": None})
    assert row["operatorLabels"] == {"zone": "a"}
    assert row["labels"] == {"zone": "a", "own": "1"}
    row = patch(script, agent, labels={"tier": "db"})
    assert row["labels"] == {"zone": "agent", "own": "1", "tier": "db"}
    assert patch(script, agent)["operatorLabels"] == {"tier": "db"}
    path = f"/nodes/{node_id(agent)}"
    refused(script.call("PATCH", path, {"labels": {"a b": "c"}}), 400, "labels.a b")
    refused(script.call("PATCH", path, {"labels": {f"k{n}": "" for n in range(65)}}), 400, "labels")
    refused(script.call("PATCH", path, {"name": " "}), 400, "name")


def test_a_label_and_maintenance_change_what_the_node_must_run(
    script: Script, environment_id: str, pipeline_id: str
) -> None:
    """At its next poll, without a deploy, and only for the node concerned."""
    first, second = enroll(script, environment_id, "n1", "n2")
    succeeded(script.call("PUT", f"/pipelines/{pipeline_id}", {"nodeSelector": "zone=a"}), 200)
    script.post(f"/pipelines/{pipeline_id}/deploy", status=200)
    assert first.get("/config")["pipelines"] == []
    patch(script, first, labels={"zone": "a"})
    assert [each["pipelineId"] for each in first.get("/config")["pipelines"]] == [pipeline_id]
    revision = first.get("/config")["configRevision"]
    patch(script, first, maintenanceMode=True)
    paused = first.get("/config")
    assert paused["pipelines"] == []
    assert paused["configRevision"] != revision
    assert second.get("/config")["pipelines"] == []
    patch(script, first, maintenanceMode=False)
    assert first.get("/config")["configRevision"] == revision


def test_a_node_that_is_moved_keeps_its_token_and_leaves_its_work_behind(
    script: Script, environment_id: str, pipeline_id: str
) -> None:
    """It gets the other environment's pipelines, and what it ran is no longer its status."""
    (agent,) = enroll(script, environment_id, "n")
    deployment = script.post(f"/pipelines/{pipeline_id}/deploy", status=200)["deploymentId"]
    agent.post(
        "/heartbeat", {"pipelines": [{"pipelineId": pipeline_id, "version": 1, "status": "STARTING"}]}, 200
    )
    other = script.post("/environments", {"name": "other"})["id"]
    body = {"environmentId": other, "name": "theirs", "configYaml": YAML}
    theirs = script.post("/pipelines", body)["id"]
    script.post(f"/pipelines/{theirs}/deploy", status=200)
    path = f"/nodes/{node_id(agent)}"
    refused(script.call("PATCH", path, {"environmentId": "nope"}), 404)
    refused(script.call("PATCH", path, {"environmentId": "not_an_id"}), 404)
    row = patch(script, agent, environmentId=other, name="moved")
    assert (row["environmentId"], row["name"]) == (other, "moved")
    assert [(each["name"], each["version"]) for each in row["pipelines"]] == [("theirs", None)]
    assert [each["pipelineId"] for each in agent.get("/config")["pipelines"]] == [theirs]
    left = script.get(f"/deployments/{deployment}")["nodes"]["items"]
    assert [each["status"] for each in left] == ["SUPERSEDED"]


def test_a_revoked_node_stays_listed_and_a_deleted_one_is_gone(script: Script, environment_id: str) -> None:
    """The token of either ends at once."""
    first, second = enroll(script, environment_id, "n1", "n2")
    revoked = script.post(f"/nodes/{node_id(first)}/revoke", status=200)
    assert (revoked["id"], revoked["behind"]) == (node_id(first), False)
    refused(first.call("GET", "/config"), 401)
    second.get("/config")
    path = f"/nodes/{node_id(second)}"
    answer = script.call("DELETE", path)
    assert (answer.status_code, answer.data) == (204, b"")
    refused(second.call("GET", "/config"), 401)
    refused(script.call("DELETE", path), 404)
    assert [row["name"] for row in script.get("/nodes")["items"]] == ["n1"]
    assert {entry["action"] for entry in script.get("/audit")["items"]} >= {"node.revoke", "node.delete"}


# ---- over real sockets ----


@pytest.fixture
def connected(operator: Operator) -> Iterator[tuple[AgentByHand, WebSocketClient]]:
    """A node whose push channel is open, as every worker says."""
    environment = operator.create_environment(f"sockets {uuid.uuid4().hex}")
    agent = AgentByHand(operator.url)
    agent.enroll(operator.enrollment_token(environment["id"]))
    revision = agent.config().json()["configRevision"]
    agent.heartbeat(configRevision=revision)
    with agent.connect({"X-Config-Revision": revision}) as channel:
        until(lambda: operator.node(agent.node_id)["push"]["connected"], what="the badge")
        yield agent, channel


def test_an_open_channel_is_shown_with_its_worker(
    operator: Operator, connected: tuple[AgentByHand, WebSocketClient]
) -> None:
    """Since when, in which form, and which worker holds it; the filter finds it."""
    agent, _ = connected
    row = operator.node(agent.node_id)
    assert row["status"] == "HEALTHY"
    assert row["push"]["transport"] == "ws"
    assert row["push"]["since"].endswith("Z")
    assert ":" in row["push"]["worker"]
    for query, is_there in (("true", True), ("false", False)):
        found = operator.nodes(environmentId=row["environmentId"], connected=query)
        assert [each["id"] for each in found] == [agent.node_id] * is_there


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"labels": {"zone": "b"}}, "label"),
        ({"maintenanceMode": True}, "maintenance"),
        ({"labels": {"zone": "b"}, "maintenanceMode": True}, "maintenance"),
    ],
)
def test_a_change_of_labels_or_maintenance_nudges_the_node(
    operator: Operator,
    connected: tuple[AgentByHand, WebSocketClient],
    change: dict[str, Any],
    reason: str,
) -> None:
    """Once, after the commit: what it then fetches is new. A name nudges nobody, nor do labels nobody looks at."""
    agent, channel = connected
    environment_id = operator.node(agent.node_id)["environmentId"]
    operator.deploy(operator.create_pipeline(environment_id, "zoned", YAML, nodeSelector="zone=b")["id"])
    before = agent.config()
    operator.call("PATCH", f"/nodes/{agent.node_id}", {"name": "other"})
    operator.call("PATCH", f"/nodes/{agent.node_id}", {"labels": {"unasked": "1"}})
    operator.call("PATCH", f"/nodes/{agent.node_id}", change)
    assert channel.read_message() == {"type": "config_changed", "reason": reason}
    now = agent.config(etag=before.headers["ETag"])
    assert now.status_code == 200
    operator.call("PATCH", f"/nodes/{agent.node_id}", change)
    last = {"maintenanceMode": "maintenanceMode" not in change}
    operator.call("PATCH", f"/nodes/{agent.node_id}", last)
    assert channel.read_message()["reason"] == "maintenance"


def test_a_move_a_revoke_and_a_delete_close_the_channel(
    operator: Operator, connected: tuple[AgentByHand, WebSocketClient]
) -> None:
    """With 1008 and the reason; the badge goes with it, and a revoked token does not come back."""
    agent, channel = connected
    path = f"/nodes/{agent.node_id}"
    elsewhere = operator.create_environment(f"elsewhere {agent.node_id}")["id"]
    operator.call("PATCH", path, {"environmentId": elsewhere})
    moved = channel.read_close()
    assert (moved.close_code, moved.close_reason) == (1008, "moved")
    until(lambda: operator.node(agent.node_id)["push"]["connected"] is False, what="the badge to go")
    other = AgentByHand(operator.url)
    other.enroll(operator.enrollment_token(elsewhere))
    for node, call in ((agent, ("POST", f"{path}/revoke")), (other, ("DELETE", f"/nodes/{other.node_id}"))):
        with node.connect() as again:
            until(lambda node=node: operator.node(node.node_id)["push"]["connected"], what="the badge")
            operator.call(*call)
            closed = again.read_close()
            assert (closed.close_code, closed.close_reason) == (1008, "revoked")
        assert node.config().status_code == 401
        with pytest.raises(WebSocketRefusedError) as refusal:
            node.connect()
        assert refusal.value.answer.status == 401
