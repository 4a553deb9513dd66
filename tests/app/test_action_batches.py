"""One action asked of many nodes: who is asked, in which waves, and what holds a wave back."""

from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from app import action_batches, action_states, action_waves
from app.action_batches import MAX_NODES
from app.database import transaction
from app.models import NodeAction
from app.push.entries import Entry
from tests.app.conftest import Script, enroll, node_id, refused, succeeded
from tests.app.test_node_actions import RESTART, UPDATE


class Crowd:
    """An environment with nodes by hand."""

    def __init__(self, app: Flask, script: Script, environment_id: str, count: int) -> None:
        self.app, self.script, self.environment_id = app, script, environment_id
        self.agents = enroll(script, environment_id, *(f"n{number:02d}" for number in range(count)))
        self.ids = [node_id(agent) for agent in self.agents]

    def connect(self, *ids: str) -> None:
        """Be nodes with sockets, as far as Redis knows."""
        registry = self.app.extensions["switchboard"]._registry
        registry.renew_lease("w" * 32, "test:1")
        entry = Entry(
            fence=1,
            connection_id="c" * 32,
            worker_id="w" * 32,
            transport="ws",
            since_ms=0,
            label="test:1",
            address="-",
            subscribed=True,
            instance=None,
        )
        registry.restore(dict.fromkeys(ids, entry))

    def ask(self, status: int = 202, **body: Any) -> Any:
        return self.script.post(f"/environments/{self.environment_id}/actions", {**RESTART, **body}, status)

    def refuse(self, status: int, **body: Any) -> str:
        path = f"/environments/{self.environment_id}/actions"
        return refused(self.script.call("POST", path, {**RESTART, **body}), status)

    def batch(self, batch_id: str) -> Any:
        return self.script.get(f"/action-batches/{batch_id}")

    def rows(self, batch_id: str, **query: str) -> Any:
        return self.script.get(f"/action-batches/{batch_id}/actions", **query)["items"]

    def offered(self, index: int) -> str | None:
        config = succeeded(self.agents[index].call("GET", "/config"), 200)
        return config["pendingAction"]["actionId"] if "pendingAction" in config else None

    def heartbeat(self, index: int, **body: Any) -> None:
        body = {"pipelines": [], "bootId": "b", **body}
        succeeded(self.agents[index].call("POST", "/heartbeat", body), 200)

    def told(self) -> list[int]:
        """Which of the nodes are offered something."""
        return [index for index in range(len(self.agents)) if self.offered(index)]


@pytest.fixture
def crowd(app: Flask, script: Script, environment_id: str) -> Crowd:
    return Crowd(app, script, environment_id, 5)


@pytest.mark.parametrize(
    ("count", "sizes"),
    [
        (1, [1]),
        (2, [1, 1]),
        (3, [1, 1, 1]),
        (4, [1, 1, 1, 1]),
        (10, [1, 1, 2, 6]),
        (100, [1, 5, 25, 69]),
        (1000, [1, 50, 250, 699]),
    ],
)
def test_waves_are_one_then_shares_then_the_rest(count: int, sizes: list[int]) -> None:
    """Whatever the number, nobody is left out and no wave is empty."""
    assert action_waves.wave_sizes(count) == sizes
    for number in range(1, 300):
        waves = action_waves.wave_sizes(number)
        assert (sum(waves), min(waves) > 0, waves[0]) == (number, True, 1)


def test_a_restart_reaches_all_that_match_at_once(crowd: Crowd) -> None:
    """By the labels that operators set; the progress counts by status, failures have names and reasons."""
    for index in (0, 1, 2):
        body = {"labels": {"zone": "a"}}
        succeeded(crowd.script.call("PATCH", f"/nodes/{crowd.ids[index]}", body), 200)
    asked = crowd.ask(selector="zone=a")
    assert (asked["targets"], asked["pushed"], asked["skipped"]) == (3, 0, [])
    assert crowd.told() == [0, 1, 2]
    batch_id = asked["batchId"]
    rows = {row["nodeId"]: row["id"] for row in crowd.rows(batch_id)}
    crowd.heartbeat(0, completedActions=[{"actionId": rows[crowd.ids[0]]}])
    crowd.heartbeat(1, completedActions=[{"actionId": rows[crowd.ids[1]], "error": "no disk"}])
    batch = crowd.batch(batch_id)
    counts = {"PENDING": 0, "DELIVERED": 1, "COMPLETED": 1, "FAILED": 1, "EXPIRED": 0}
    assert (batch["counts"], batch["targets"], batch["waves"]) == (counts, 3, [{"wave": 1, "counts": counts}])
    (failed,) = crowd.rows(batch_id, status="failed")
    assert (failed["nodeId"], failed["error"]) == (crowd.ids[1], "no disk")
    assert [row["nodeId"] for row in crowd.rows(batch_id, status="DELIVERED")] == [crowd.ids[2]]
    refused(crowd.script.call("GET", f"/action-batches/{batch_id}/actions", status="nope"), 400, "status")
    first = crowd.script.get(f"/action-batches/{batch_id}/actions", limit="2")
    second = crowd.script.get(f"/action-batches/{batch_id}/actions", limit="2", cursor=first["nextCursor"])
    assert [row["nodeId"] for row in first["items"] + second["items"]] == crowd.ids[:3]
    (entry,) = [e for e in crowd.script.get("/audit")["items"] if e["action"] == "nodes.restart"]
    assert (entry["subjectId"], entry["detail"]["nodes"]) == (batch_id, 3)


def test_nodes_can_be_named_and_who_cannot_be_asked_is_skipped_with_the_reason(crowd: Crowd) -> None:
    """A node that is not there is the caller's mistake; one that cannot is left out; nobody at all is refused."""
    crowd.script.post(f"/nodes/{crowd.ids[1]}/revoke", None, 200)
    asked = crowd.ask(nodeIds=crowd.ids[:2])
    assert asked["targets"] == 1
    assert asked["skipped"] == [{"nodeId": crowd.ids[1], "name": "n01", "reason": "it is revoked"}]
    assert "the same restart" in crowd.refuse(409, nodeIds=crowd.ids[:1])
    assert "nope" in crowd.refuse(400, nodeIds=["nope"])
    assert "none matches" in crowd.refuse(409, selector="zone=z")
    assert "either" in crowd.refuse(400)
    assert "either" in crowd.refuse(400, selector="", nodeIds=[])
    crowd.refuse(400, selector="zone==(")
    assert f"{MAX_NODES + 1:,}" in crowd.refuse(400, nodeIds=[f"{n:032x}" for n in range(MAX_NODES + 1)])
    crowd.refuse(400, selector="", maxFailures=-1)
    path = "/environments/nope/actions"
    refused(crowd.script.call("POST", path, {**RESTART, "selector": ""}), 404)


def test_a_retry_asks_the_nodes_on_which_the_pipeline_has_failed(crowd: Crowd, pipeline_id: str) -> None:
    """Without onlyFailed all that report it; nobody else is asked to restart what is not there."""
    crowd.script.post(f"/pipelines/{pipeline_id}/deploy", {}, 200)
    run = {"pipelineId": pipeline_id, "version": 1, "status": "RUNNING"}
    crowd.heartbeat(0, pipelines=[run])
    crowd.heartbeat(1, pipelines=[{**run, "failedVersion": 2}])
    crowd.heartbeat(2, pipelines=[{**run, "status": "CRASH_LOOP"}])
    asked = crowd.ask(selector="", pipelineId=pipeline_id, onlyFailed=True)
    assert asked["targets"] == 2
    assert crowd.told() == [1, 2]
    asked = crowd.ask(selector="", pipelineId=pipeline_id)
    assert asked["targets"] == 3


def test_more_failed_nodes_than_can_be_asked_are_asked_in_turn(
    crowd: Crowd, pipeline_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first by name; without onlyFailed so many are the caller's mistake."""
    monkeypatch.setattr(action_batches, "MAX_NODES", 2)
    crowd.script.post(f"/pipelines/{pipeline_id}/deploy", {}, 200)
    for index in range(3):
        failed = {"pipelineId": pipeline_id, "version": 1, "status": "FAILED"}
        crowd.heartbeat(index, pipelines=[failed])
    assert "would ask 3 nodes" in crowd.refuse(400, selector="", pipelineId=pipeline_id)
    assert crowd.ask(selector="", pipelineId=pipeline_id, onlyFailed=True)["targets"] == 2
    assert crowd.told() == [0, 1]


def test_an_update_goes_on_from_wave_to_wave(crowd: Crowd) -> None:
    """One node first; who waits for its turn is told nothing, and the next wave comes by the last outcome."""
    crowd.connect(*crowd.ids[:4])
    asked = crowd.ask(**UPDATE, selector="")
    assert (asked["targets"], [node["name"] for node in asked["skipped"]]) == (4, ["n04"])
    assert "not connected" in asked["skipped"][0]["reason"]
    batch_id = asked["batchId"]
    for index in range(4):
        assert crowd.told() == [index]
        assert crowd.batch(batch_id)["wave"] == index + 1
        held = [row for row in crowd.rows(batch_id) if row["expiresAt"] is None]
        assert {row["status"] for row in held} <= {"PENDING"}
        assert len(held) == 3 - index
        done = {"actionId": crowd.offered(index)}
        crowd.heartbeat(index, agentVersion="9.9.9", completedActions=[done])
    batch = crowd.batch(batch_id)
    assert (batch["counts"]["COMPLETED"], batch["wave"], batch["haltedAt"]) == (4, 4, None)
    assert crowd.told() == []
    assert "runs version" in crowd.refuse(409, **UPDATE, selector="")


def test_a_wave_with_a_failure_halts_the_update(crowd: Crowd) -> None:
    """Hazard 32: whoever was not told yet never is; the rest says why, and another update may be asked."""
    crowd.connect(*crowd.ids)
    batch_id = crowd.ask(**UPDATE, selector="")["batchId"]
    assert crowd.told() == [0]
    crowd.heartbeat(0, updateError="the new agent does not start")
    batch = crowd.batch(batch_id)
    assert batch["haltedAt"] is not None
    assert (batch["wave"], batch["counts"]["FAILED"]) == (1, 5)
    assert crowd.told() == []
    errors = [row["error"] for row in crowd.rows(batch_id, status="FAILED")]
    assert errors[0] == "the new agent does not start"
    assert all(error.startswith("Halted: 1 of the nodes") for error in errors[1:])
    assert crowd.ask(**UPDATE, selector="")["targets"] == 5


def test_so_many_failures_are_borne(crowd: Crowd) -> None:
    """maxFailures is counted per wave; a node that says nothing in time counts as one, once time has passed."""
    crowd.connect(*crowd.ids)
    batch_id = crowd.ask(**UPDATE, selector="", maxFailures=1)["batchId"]
    with crowd.app.app_context():

        def work(session: Any) -> None:
            for action in session.scalars(select(NodeAction).where(NodeAction.wave == 1)):
                action.expires_at -= action_states.LIFETIMES["self_update"] + timedelta(seconds=1)  # type: ignore[index]

        action_waves.tidy_up()
        assert crowd.batch(batch_id)["wave"] == 1
        transaction(work)
        action_waves.tidy_up()
    batch = crowd.batch(batch_id)
    assert (batch["wave"], batch["haltedAt"]) == (2, None)
    assert batch["waves"][0]["counts"]["EXPIRED"] == 1
    assert crowd.told() == [1]


def test_an_environment_goes_with_its_batches(crowd: Crowd) -> None:
    """Once its nodes are gone; the history of what they were asked goes with them."""
    batch_id = crowd.ask(selector="")["batchId"]
    for each in crowd.ids:
        succeeded(crowd.script.call("DELETE", f"/nodes/{each}"), 204)
    assert crowd.batch(batch_id)["targets"] == 0
    succeeded(crowd.script.call("DELETE", f"/environments/{crowd.environment_id}"), 204)
    refused(crowd.script.call("GET", f"/action-batches/{batch_id}"), 404)
