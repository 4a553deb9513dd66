"""Actions as an operator's script and an agent by hand see them, on both kinds of database."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select, update

from app import action_states, action_waves
from app.clock import utc_now
from app.database import snapshot, transaction
from app.models import NodeAction
from app.push.entries import Entry
from app.push.messages import ACTION_SUBJECT
from app.standings import DatabaseQuestions
from tests.app.conftest import YAML, Script, enroll, make_script, node_id, refused, succeeded

RESTART = {"action": "restart"}
UPDATE = {
    "action": "self_update",
    "targetVersion": "9.9.9",
    "downloadUrl": "https://signalbox.example/agent.pyz",
    "checksum": "sha256:" + "0" * 64,
}


class Asking:
    """A node with a deployed pipeline, and an operator who asks things of it."""

    def __init__(self, app: Flask, script: Script, environment_id: str, pipeline_id: str) -> None:
        self.app, self.script, self.environment_id = app, script, environment_id
        self.pipeline_id = pipeline_id
        script.post(f"/pipelines/{pipeline_id}/deploy", {}, 200)
        (self.agent,) = enroll(script, environment_id, "edge-01")
        self.id = node_id(self.agent)

    def ask(self, **body: Any) -> str:
        """The id of a new action; a restart of the agent unless `body` says otherwise."""
        answer = self.script.post(f"/nodes/{self.id}/actions", {**RESTART, **body}, 202)
        return str(answer["actionId"])

    def action(self, action_id: str) -> Any:
        return self.script.get(f"/actions/{action_id}")

    def status(self, action_id: str) -> str:
        return str(self.action(action_id)["status"])

    def config(self, etag: str | None = None) -> Any:
        headers = {"If-None-Match": etag} if etag else {}
        headers["Authorization"] = f"Bearer {self.agent.token}"
        return self.agent.client.get("/api/agent/config", headers=headers)

    def offered(self) -> str | None:
        """The id of the action in the node's configuration answer."""
        pending = self.config().get_json().get("pendingAction")
        return pending["actionId"] if pending else None

    def heartbeat(self, **body: Any) -> None:
        succeeded(self.agent.call("POST", "/heartbeat", {"pipelines": [], "bootId": "b", **body}), 200)

    def done(self, action_id: str, error: str | None = None) -> None:
        self.heartbeat(completedActions=[{"actionId": action_id, **({"error": error} if error else {})}])

    def run(self, **more: Any) -> dict[str, Any]:
        return {"pipelineId": self.pipeline_id, "version": 1, "status": "RUNNING", **more}

    def age(self, **columns: timedelta) -> None:
        """Move moments of all actions so far into the past."""
        with self.app.app_context():

            def work(session: Any) -> None:
                for action in session.scalars(select(NodeAction)):
                    for name, span in columns.items():
                        setattr(action, name, getattr(action, name) - span)

            transaction(work)

    def connect(self) -> None:
        """Be a node with a socket, as far as Redis knows."""
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
        registry.restore({self.id: entry})


@pytest.fixture
def asking(app: Flask, script: Script, environment_id: str, pipeline_id: str) -> Asking:
    return Asking(app, script, environment_id, pipeline_id)


# asking


def test_an_action_is_a_row_that_the_node_is_offered_until_it_answers(asking: Asking) -> None:
    """PENDING, DELIVERED with the first answer that carries it, COMPLETED by the node's own word."""
    answer = asking.script.post(
        f"/nodes/{asking.id}/actions", {"action": "restart", "pipelineId": asking.pipeline_id}, 202
    )
    assert answer["pushed"] == 0
    action_id = answer["actionId"]
    row = asking.action(action_id)
    assert (row["status"], row["attempts"], row["deliveredAt"]) == ("PENDING", 0, None)
    assert (row["nodeId"], row["pipelineId"], row["createdBy"]) == (
        asking.id,
        asking.pipeline_id,
        "token tests",
    )
    assert asking.config().get_json()["pendingAction"] == {
        "type": "restart",
        "actionId": action_id,
        "pipelineId": asking.pipeline_id,
    }
    row = asking.action(action_id)
    assert (row["status"], row["attempts"]) == ("DELIVERED", 1)
    asking.done(action_id)
    row = asking.action(action_id)
    assert (row["status"], row["error"]) == ("COMPLETED", None)
    assert row["finishedAt"] is not None
    assert "pendingAction" not in asking.config().get_json()
    (entry,) = [e for e in asking.script.get("/audit")["items"] if e["action"] == "node.restart"]
    assert (entry["subjectId"], entry["detail"]["pipeline"]) == (asking.id, "access-log")


def test_the_etag_covers_the_action_and_its_attempt(asking: Asking) -> None:
    """Hazard 2: a 304 would hide an action; one that has it gets a 304 until it is offered again."""
    before = asking.config().headers["ETag"]
    action_id = asking.ask()
    with_it = asking.config(before)
    assert (with_it.status_code, with_it.get_json()["pendingAction"]["actionId"]) == (200, action_id)
    etag = with_it.headers["ETag"]
    assert asking.config(etag).status_code == 304
    assert asking.action(action_id)["attempts"] == 1
    asking.age(delivered_at=action_states.AGAIN_AFTER)
    again = asking.config(etag)
    assert (again.status_code, again.headers["ETag"] != etag) == (200, True)
    assert asking.action(action_id)["attempts"] == 2
    asking.done(action_id)
    assert asking.config(again.headers["ETag"]).status_code == 200
    assert asking.config(before).status_code == 304, "an action leaves no trace in the answer"


def test_attempts_are_bounded_and_the_next_action_has_its_turn(asking: Asking) -> None:
    """The oldest open one is offered; one that was handed over often enough stands in nobody's way."""
    first, second = asking.ask(), asking.ask(pipelineId=asking.pipeline_id)
    for _ in range(action_states.MAX_ATTEMPTS):
        assert asking.offered() == first
        _age_delivered(asking, first)
    assert asking.offered() == second
    assert asking.action(first)["attempts"] == action_states.MAX_ATTEMPTS
    assert asking.status(first) == "DELIVERED", "it may still answer"
    asking.done(first)
    assert asking.status(first) == "COMPLETED"


def _age_delivered(asking: Asking, action_id: str) -> None:
    with asking.app.app_context():
        moment = utc_now() - action_states.AGAIN_AFTER
        statement = update(NodeAction).where(NodeAction.id == action_id).values(delivered_at=moment)
        transaction(lambda session: session.execute(statement) and None)


def test_a_failed_and_an_expired_action_are_never_offered_again(asking: Asking) -> None:
    """What an agent could not do, or did not hear of in time, is a person's to ask again."""
    failed = asking.ask()
    asking.done(failed, "no such thing")
    assert (asking.status(failed), asking.action(failed)["error"]) == ("FAILED", "no such thing")
    assert asking.offered() is None
    overdue = asking.ask()
    asking.age(expires_at=action_states.LIFETIMES["restart"])  # type: ignore[index]
    assert asking.status(overdue) == "EXPIRED", "without anybody having written it down"
    assert asking.offered() is None
    asking.done(overdue)
    assert asking.status(overdue) == "EXPIRED"
    with asking.app.app_context():
        action_waves.tidy_up()
        (stored,) = snapshot(
            lambda s: s.scalars(select(NodeAction.status).where(NodeAction.id == overdue)).all()
        )
    assert stored == "EXPIRED"
    assert "never got it" in asking.action(overdue)["error"]
    assert asking.status(failed) == "FAILED"


def test_only_the_node_that_was_asked_ends_its_action(asking: Asking) -> None:
    """Another node's word, and a word about nothing, change nothing."""
    (other,) = enroll(asking.script, asking.environment_id, "edge-02")
    action_id = asking.ask()
    body = {"pipelines": [], "completedActions": [{"actionId": action_id}, {"actionId": "nope"}]}
    succeeded(other.call("POST", "/heartbeat", body), 200)
    assert asking.status(action_id) == "PENDING"
    asking.done(action_id, "x" * 10_000)
    row = asking.action(action_id)
    assert (row["status"], len(row["error"])) == ("FAILED", 4000)


def test_the_first_outcome_counts_however_many_come_at_once(asking: Asking) -> None:
    """Twenty transactions end one action; exactly one of them does, and what it said stays."""
    action_id = asking.ask()
    ended: list[tuple[bool, str]] = []
    ready = threading.Barrier(20)

    def complete(number: int) -> None:
        outcome = ("FAILED", f"error {number}") if number % 2 else ("COMPLETED", None)
        ready.wait(10)
        with asking.app.app_context():
            won = transaction(lambda s: action_states.finish(s, action_id, *outcome, utc_now()))
        ended.append((won, f"{outcome[0]} {outcome[1]}"))

    threads = [threading.Thread(target=complete, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [outcome for won, outcome in ended if won]
    row = asking.action(action_id)
    assert f"{row['status']} {row['error']}" == winner
    assert len(ended) == 20


def test_twenty_heartbeats_at_once_end_an_action_once(asking: Asking) -> None:
    """The same through the agent API; a later heartbeat that says otherwise is not believed."""
    action_id = asking.ask()
    ready = threading.Barrier(20)

    def report(number: int) -> None:
        own = Script(asking.app.test_client(), asking.agent.token, "/api/agent")
        done = {"actionId": action_id, **({"error": f"error {number}"} if number % 2 else {})}
        ready.wait(10)
        succeeded(own.call("POST", "/heartbeat", {"pipelines": [], "completedActions": [done]}), 200)

    threads = [threading.Thread(target=report, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first = asking.action(action_id)
    assert first["status"] in ("COMPLETED", "FAILED")
    asking.done(action_id, None if first["status"] == "FAILED" else "late")
    assert asking.action(action_id) == first


def test_an_older_heartbeat_still_ends_what_the_node_has_done(asking: Asking) -> None:
    """Hazard 28: of a heartbeat that was overtaken, acknowledgements are kept; its status is not."""
    action_id = asking.ask()
    asking.heartbeat(seq=2, agentVersion="2")
    asking.heartbeat(seq=1, agentVersion="1", completedActions=[{"actionId": action_id}])
    assert asking.status(action_id) == "COMPLETED"
    assert asking.script.get(f"/nodes/{asking.id}")["agentVersion"] == "2"


# agents that acknowledge nothing


def test_an_agent_that_acknowledges_nothing_shows_what_it_did(asking: Asking) -> None:
    """A restart of the agent: any heartbeat after the delivery. Of a pipeline: its process is younger than that."""
    whole = asking.ask()
    asking.heartbeat(bootId=None)
    assert asking.status(whole) == "PENDING", "it was not told yet"
    assert asking.offered() == whole
    asking.heartbeat(bootId=None)
    assert asking.status(whole) == "COMPLETED"
    one = asking.ask(pipelineId=asking.pipeline_id)
    assert asking.offered() == one
    _age_delivered(asking, one)
    asking.heartbeat(bootId=None, pipelines=[asking.run(uptimeSeconds=5000.0)])
    assert asking.status(one) == "DELIVERED"
    asking.heartbeat(pipelines=[asking.run(uptimeSeconds=1.0)])
    assert asking.status(one) == "DELIVERED", "an agent that acknowledges is waited for"
    asking.heartbeat(bootId=None, pipelines=[asking.run(uptimeSeconds=1.0)])
    assert asking.status(one) == "COMPLETED"


def test_an_update_is_done_when_the_version_is_there(asking: Asking) -> None:
    """Of agents that acknowledge nothing; an error that one repeats from before is not about this one.

    One that acknowledges may run the version on trial.
    """
    asking.connect()
    asking.heartbeat(agentVersion="1.0")
    action_id = asking.ask(**UPDATE)
    asking.heartbeat(bootId=None, agentVersion="1.0", updateError="of an update before")
    assert asking.status(action_id) == "PENDING"
    fields = asking.config().get_json()["pendingAction"]
    assert fields == {
        "type": "self_update",
        "actionId": action_id,
        **{k: UPDATE[k] for k in UPDATE if k != "action"},
    }
    asking.heartbeat(agentVersion="9.9.9")
    assert asking.status(action_id) == "DELIVERED"
    asking.heartbeat(bootId=None, agentVersion="9.9.9")
    assert asking.status(action_id) == "COMPLETED"


def test_an_update_fails_by_its_update_error(asking: Asking) -> None:
    """Agents repeat it until a heartbeat got 200: the second time it says nothing new."""
    asking.connect()
    action_id = asking.ask(**UPDATE)
    assert asking.offered() == action_id
    for _ in range(2):
        asking.heartbeat(updateError="checksum mismatch")
    row = asking.action(action_id)
    assert (row["status"], row["error"]) == ("FAILED", "checksum mismatch")
    assert asking.offered() is None


# who may, and what is refused


def test_an_update_wants_a_connected_node_that_is_no_container(asking: Asking) -> None:
    """409 with a sentence; one open update at a time, and none to what runs already."""
    path = f"/nodes/{asking.id}/actions"
    assert "not connected" in refused(asking.script.call("POST", path, UPDATE), 409)
    asking.connect()
    asking.heartbeat(deploymentMode="DOCKER")
    assert "container" in refused(asking.script.call("POST", path, UPDATE), 409)
    asking.heartbeat(deploymentMode="STANDALONE", agentVersion="9.9.9")
    assert "runs version 9.9.9 already" in refused(asking.script.call("POST", path, UPDATE), 409)
    asking.heartbeat(agentVersion="1.0")
    asking.ask(**UPDATE)
    assert "under way" in refused(asking.script.call("POST", path, UPDATE), 409)
    asking.age(expires_at=action_states.LIFETIMES["self_update"])  # type: ignore[index]
    asking.ask(**UPDATE)
    asking.ask()


def test_of_many_updates_asked_at_once_one_is_taken(asking: Asking) -> None:
    """The database decides, not a look before."""
    asking.connect()
    statuses: list[int] = []
    ready = threading.Barrier(8)

    def ask() -> None:
        own = Script(asking.app.test_client(), asking.script.token)
        ready.wait(10)
        statuses.append(own.call("POST", f"/nodes/{asking.id}/actions", UPDATE).status_code)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [202] + [409] * 7


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"action": "explode"}, "action"),
        ({"action": None}, "action"),
        ({"targetVersion": None}, "targetVersion"),
        ({"targetVersion": ""}, "targetVersion"),
        ({"targetVersion": "v" * 101}, "targetVersion"),
        ({"downloadUrl": None}, "downloadUrl"),
        ({"downloadUrl": "ftp://example/agent"}, "downloadUrl"),
        ({"downloadUrl": "https://"}, "downloadUrl"),
        ({"downloadUrl": "https://[bad/agent"}, "downloadUrl"),
        ({"downloadUrl": "https://example/" + "a" * 2000}, "downloadUrl"),
        ({"checksum": None}, "checksum"),
        ({"checksum": "0" * 64}, "checksum"),
        ({"checksum": "sha256:" + "0" * 63}, "checksum"),
        ({"checksum": "sha256:" + "0" * 64 + "\n"}, "checksum"),
        ({"signature": ""}, "signature"),
        ({"signature": "s" * 1001}, "signature"),
        ({"pipelineId": "p"}, "pipelineId"),
        ({"action": "restart"}, "targetVersion"),
    ],
)
def test_a_request_that_makes_no_sense_names_the_field(asking: Asking, change: Any, field: str) -> None:
    """Nothing is written."""
    answer = asking.script.call("POST", f"/nodes/{asking.id}/actions", {**UPDATE, **change})
    refused(answer, 400, field)
    assert asking.script.get(f"/nodes/{asking.id}/actions")["items"] == []


def test_a_restart_wants_a_deployed_pipeline_of_the_environment_and_a_living_node(asking: Asking) -> None:
    """And not the same one twice before the node has heard of it, nor more than a few."""
    script, path = asking.script, f"/nodes/{asking.id}/actions"
    refused(script.call("POST", path, {**RESTART, "pipelineId": "nope"}), 400, "pipelineId")
    elsewhere = script.post("/environments", {"name": "elsewhere"})["id"]
    foreign = {"environmentId": elsewhere, "name": "p", "configYaml": YAML}
    refused(
        script.call("POST", path, {**RESTART, "pipelineId": script.post("/pipelines", foreign)["id"]}), 400
    )
    own = {"environmentId": asking.environment_id, "name": "draft", "configYaml": YAML}
    draft = script.post("/pipelines", own)["id"]
    assert "not deployed" in refused(script.call("POST", path, {**RESTART, "pipelineId": draft}), 409)
    asking.ask()
    assert "same restart" in refused(script.call("POST", path, RESTART), 409)
    assert asking.offered() is not None
    asking.ask()
    refused(script.call("POST", "/nodes/nope/actions", RESTART), 404)
    script.post(f"/nodes/{asking.id}/revoke", None, 200)
    assert "revoked" in refused(script.call("POST", path, RESTART), 409)


def test_roles_and_environments_bound_who_asks_and_who_sees(asking: Asking) -> None:
    """A viewer looks, an editor restarts, an admin updates; a token of another environment sees nothing."""
    asking.connect()
    path = f"/nodes/{asking.id}/actions"
    viewer, editor = make_script(asking.app, "viewer"), make_script(asking.app, "editor")
    refused(viewer.call("POST", path, RESTART), 403)
    action_id = editor.post(path, RESTART, 202)["actionId"]
    refused(editor.call("POST", path, UPDATE), 403)
    many = f"/environments/{asking.environment_id}/actions"
    refused(editor.call("POST", many, {**UPDATE, "selector": ""}), 403)
    refused(viewer.call("POST", many, {**RESTART, "selector": ""}), 403)
    assert viewer.get(f"/actions/{action_id}")["id"] == action_id
    elsewhere = asking.script.post("/environments", {"name": "elsewhere"})["id"]
    stranger = make_script(asking.app, "admin", elsewhere)
    for method, address in (("GET", f"/actions/{action_id}"), ("GET", path), ("POST", path), ("POST", many)):
        refused(
            stranger.call(method, address, {**RESTART, "selector": ""} if method == "POST" else None), 404
        )


def test_a_node_s_actions_are_listed_newest_first_in_pages(asking: Asking) -> None:
    """And go with the node."""
    ids = []
    for _ in range(5):
        ids.append(asking.ask())
        asking.done(ids[-1])
    first = asking.script.get(f"/nodes/{asking.id}/actions", limit="3")
    second = asking.script.get(f"/nodes/{asking.id}/actions", limit="3", cursor=first["nextCursor"])
    assert [row["id"] for row in first["items"] + second["items"]] == ids[::-1]
    assert second["nextCursor"] is None
    refused(asking.script.call("GET", f"/nodes/{asking.id}/actions", cursor="nope"), 400, "cursor")
    succeeded(asking.script.call("DELETE", f"/nodes/{asking.id}"), 204)
    refused(asking.script.call("GET", f"/actions/{ids[0]}"), 404)


def test_a_node_that_moves_leaves_its_work_behind(asking: Asking) -> None:
    """What it was asked in the environment that it leaves has failed."""
    action_id = asking.ask(pipelineId=asking.pipeline_id)
    elsewhere = asking.script.post("/environments", {"name": "elsewhere"})["id"]
    succeeded(asking.script.call("PATCH", f"/nodes/{asking.id}", {"environmentId": elsewhere}), 200)
    assert asking.status(action_id) == "FAILED"
    assert "moved" in asking.action(action_id)["error"]
    assert asking.offered() is None


# the push channel's questions


@pytest.fixture
def questions(app: Flask, database_url: str) -> Iterator[DatabaseQuestions]:
    """As a worker's sweep asks them, over connections of their own where that is so."""
    questions = DatabaseQuestions(app, database_url)
    yield questions
    if questions._engine is not None:
        questions._engine.dispose()


def test_the_sweep_hears_of_actions_that_were_not_handed_over(
    asking: Asking, questions: DatabaseQuestions
) -> None:
    """An open action makes nobody behind; a written push hands it over, and then the sweep is silent."""
    revision = asking.config().get_json()["configRevision"]
    asking.heartbeat(configRevision=revision)
    assert questions.untold([asking.environment_id]) == set()
    action_id = asking.ask()
    assert questions.untold([asking.environment_id]) == {asking.id}
    assert questions.untold(["nope"]) == set()
    standing = questions.standings([asking.id])[asking.id]
    assert (standing.is_asked, standing.is_behind) == (True, False)
    assert asking.script.get(f"/nodes/{asking.id}")["behind"] is False
    questions.record_nudged([(ACTION_SUBJECT + action_id, "another", utc_now())])
    assert asking.status(action_id) == "PENDING"
    for _ in range(2):
        questions.record_nudged([(ACTION_SUBJECT + action_id, asking.id, utc_now())])
    row = asking.action(action_id)
    assert (row["status"], row["attempts"]) == ("DELIVERED", 1)
    assert questions.untold([asking.environment_id]) == set()
    assert questions.standings([asking.id])[asking.id].is_asked is False
    asking.ask(pipelineId=asking.pipeline_id)
    asking.age(expires_at=timedelta(hours=2))
    assert questions.untold([asking.environment_id]) == set()


def test_old_actions_are_forgotten(asking: Asking) -> None:
    """Ninety days after they were asked, with the batches that they were part of."""
    asking.done(asking.ask())
    many = f"/environments/{asking.environment_id}/actions"
    batch_id = asking.script.post(many, {**RESTART, "selector": ""}, 202)["batchId"]
    with asking.app.app_context():
        then = utc_now() + action_states.KEPT
        transaction(lambda session: action_states.forget_old(session, then - timedelta(hours=1)))
        assert asking.script.get(f"/action-batches/{batch_id}")["targets"] == 1
        transaction(lambda session: action_states.forget_old(session, then + timedelta(seconds=1)))
    assert asking.script.get(f"/nodes/{asking.id}/actions")["items"] == []
    refused(asking.script.call("GET", f"/action-batches/{batch_id}"), 404)
