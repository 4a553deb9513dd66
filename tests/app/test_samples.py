"""Samples as an operator's script and agents by hand see them, on both kinds of database."""

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select, update

from app import masking, retention, sample_results, server_settings
from app.clock import utc_now
from app.database import snapshot, transaction
from app.models import (
    SampleFailure,
    SampleRequest,
    SampleRequestNode,
    SampleResult,
    Secret,
)
from app.push.messages import SAMPLE_SUBJECT
from app.standings import DatabaseQuestions
from tests.app.conftest import Script, enroll, make_script, node_id, refused, succeeded
from tests.app.test_node_actions import questions

__all__ = ["questions"]


class Sampling:
    """Nodes that run a deployed pipeline, and an operator who wants to see its events."""

    def __init__(self, app: Flask, script: Script, environment_id: str, pipeline_id: str) -> None:
        self.app, self.script = app, script
        self.environment_id, self.pipeline_id = environment_id, pipeline_id

    def deploy(self) -> None:
        self.script.post(f"/pipelines/{self.pipeline_id}/deploy", {}, 200)

    def nodes(self, *names: str) -> list[Script]:
        """New nodes that say they run it; the last is the one heard of last."""
        agents = enroll(self.script, self.environment_id, *names)
        for agent in agents:
            self.heartbeat(agent)
        return agents

    def heartbeat(self, agent: Script, **more: Any) -> None:
        run = {"pipelineId": self.pipeline_id, "version": 1, "status": "RUNNING"}
        succeeded(agent.call("POST", "/heartbeat", {"pipelines": [run], **more}), 200)

    def ask(self, *keys: str, limit: int = 5) -> str:
        body = {"componentKeys": list(keys or ("made",)), "limit": limit}
        return str(self.script.post(f"/pipelines/{self.pipeline_id}/samples", body, 202)["requestId"])

    def show(self, request_id: str) -> Any:
        return self.script.get(f"/samples/{request_id}")

    def status(self, request_id: str) -> str:
        return str(self.show(request_id)["status"])

    def offered(self, agent: Script) -> list[Any]:
        return list(agent.get("/config").get("sampleRequests", []))

    def say(self, agent: Script, *results: dict[str, Any]) -> None:
        assert agent.post("/samples", {"results": list(results)}, 200) == {"ok": True}

    def expire(self) -> None:
        """Let two minutes pass for all that was asked so far."""
        past = utc_now() - timedelta(seconds=1)

        def work(session: Any) -> None:
            session.execute(update(SampleRequest).values(expires_at=past))
            session.execute(update(SampleRequestNode).values(expires_at=past))

        with self.app.app_context():
            transaction(work)

    def count(self, table: Any) -> int:
        with self.app.app_context():
            return snapshot(lambda session: session.scalar(select(func.count()).select_from(table))) or 0


@pytest.fixture
def sampling(app: Flask, script: Script, environment_id: str, pipeline_id: str) -> Sampling:
    there = Sampling(app, script, environment_id, pipeline_id)
    there.deploy()
    return there


def shown(request_id: str, key: str = "made", *events: Any, **more: Any) -> dict[str, Any]:
    """A success."""
    return {"requestId": request_id, "componentKey": key, "events": list(events), **more}


def failed(request_id: str, key: str = "made", error: str = "no luck") -> dict[str, Any]:
    return {"requestId": request_id, "componentKey": key, "error": error}


# asking


def test_a_request_is_offered_until_it_has_its_result(sampling: Sampling) -> None:
    """Row first; listed for whoever polls; shown with the schema of its events once it is COMPLETED."""
    (agent,) = sampling.nodes("edge-01")
    etag = agent.call("GET", "/config").headers["ETag"]
    answer = sampling.script.post(
        f"/pipelines/{sampling.pipeline_id}/samples", {"componentKeys": ["made", "gone"], "limit": 3}, 202
    )
    request_id = answer["requestId"]
    assert (answer["nodes"], answer["pushed"]) == (1, 0)
    wish = {
        "requestId": request_id,
        "pipelineId": sampling.pipeline_id,
        "componentKeys": ["made", "gone"],
        "limit": 3,
        "sinkKeys": ["gone"],
    }
    headers = {"Authorization": f"Bearer {agent.token}", "If-None-Match": etag}
    asked = agent.client.get("/api/agent/config", headers=headers)
    assert asked.status_code == 200, "a 304 would hide the request"
    assert asked.get_json()["sampleRequests"] == [wish]
    headers["If-None-Match"] = asked.headers["ETag"]
    assert agent.client.get("/api/agent/config", headers=headers).status_code == 304

    sampling.say(agent, shown(request_id, "made", {"n": 1, "user": {"name": "ann"}}, {"n": 2.5}))
    assert sampling.status(request_id) == "PENDING"
    assert [offer["componentKeys"] for offer in sampling.offered(agent)] == [["gone"]]
    sampling.say(agent, shown(request_id, "gone", {"n": 1}))
    row = sampling.show(request_id)
    assert row["status"] == "COMPLETED"
    assert row["finishedAt"] is not None
    first, second = row["samples"]
    assert (first["componentKey"], first["nodeId"], first["error"]) == ("made", node_id(agent), None)
    assert first["events"] == [{"n": 1, "user": {"name": "ann"}}, {"n": 2.5}]
    assert first["schema"] == [
        {"path": ".n", "type": "integer|float", "sample": "1"},
        {"path": ".user.name", "type": "string", "sample": "ann"},
    ]
    assert second["componentKey"] == "gone"
    assert sampling.offered(agent) == []
    (entry,) = [e for e in sampling.script.get("/audit")["items"] if e["action"] == "pipeline.sample"]
    assert (entry["subjectId"], entry["detail"]["components"]) == (sampling.pipeline_id, ["made", "gone"])


def test_what_cannot_be_sampled_is_refused(
    sampling: Sampling, app: Flask, environment_id: str, script: Script
) -> None:
    """Not deployed and not running are 409, what cannot be understood names its field."""
    path = f"/pipelines/{sampling.pipeline_id}/samples"
    assert "No node runs" in refused(script.call("POST", path, {"componentKeys": ["made"], "limit": 1}), 409)
    sampling.nodes("edge-01")
    for keys in ([], ["made"] * 17, ["nope"], "made", [7], None):
        refused(script.call("POST", path, {"componentKeys": keys, "limit": 1}), 400)
    for limit in (0, 101, 1.5, "3", True):
        refused(script.call("POST", path, {"componentKeys": ["made"], "limit": limit}), 400, "limit")
    assert 'no component "nope"' in refused(
        script.call("POST", path, {"componentKeys": ["nope"], "limit": 1}), 400, "componentKeys"
    )
    viewer = make_script(app, role="viewer")
    refused(viewer.call("POST", path, {"componentKeys": ["made"], "limit": 1}), 403)
    refused(script.call("POST", "/pipelines/nope/samples", {"componentKeys": ["made"], "limit": 1}), 404)
    refused(script.call("GET", "/samples/nope"), 404)
    refused(script.call("GET", "/samples/NO_ID"), 404)
    request_id = sampling.ask("made")
    assert viewer.get(f"/samples/{request_id}")["status"] == "PENDING"
    other = script.post("/environments", {"name": "other"})["id"]
    refused(make_script(app, environment_id=other).call("GET", f"/samples/{request_id}"), 404)
    script.post(f"/pipelines/{sampling.pipeline_id}/undeploy", {}, 200)
    assert "not deployed" in refused(script.call("POST", path, {"componentKeys": ["made"], "limit": 1}), 409)


def test_the_five_heard_of_last_are_asked(sampling: Sampling) -> None:
    """Of those that run it, and nobody else."""
    agents = sampling.nodes(*(f"edge-{number}" for number in range(7)))
    (idle,) = enroll(sampling.script, sampling.environment_id, "idle")
    crashed = {"pipelineId": sampling.pipeline_id, "version": 1, "status": "CRASHED"}
    succeeded(idle.call("POST", "/heartbeat", {"pipelines": [crashed]}), 200)
    row = sampling.show(sampling.ask())
    assert [node["name"] for node in row["nodes"]] == [f"edge-{number}" for number in range(2, 7)]
    assert sampling.offered(agents[0]) == sampling.offered(idle) == []
    assert len(sampling.offered(agents[6])) == 1


def test_the_sweep_finds_whom_a_lost_push_has_not_told(
    sampling: Sampling, questions: DatabaseQuestions
) -> None:
    """A request that was pushed or polled is told; until then the node is nudged."""
    one, two = sampling.nodes("edge-01", "edge-02")
    here = [sampling.environment_id]
    assert questions.untold(here) == set()
    request_id = sampling.ask()
    assert questions.untold(here) == {node_id(one), node_id(two)}
    assert questions.untold(["nope"]) == set()
    assert questions.standings([node_id(one)])[node_id(one)].is_asked
    questions.record_nudged([(SAMPLE_SUBJECT + request_id, node_id(one), utc_now())])
    assert questions.untold(here) == {node_id(two)}
    sampling.offered(two)
    assert questions.untold(here) == set()
    assert not questions.standings([node_id(two)])[node_id(two)].is_asked
    sampling.ask()
    sampling.expire()
    assert questions.untold(here) == set()


# who may write what


def test_nobody_writes_what_he_was_not_asked_for(sampling: Sampling, script: Script) -> None:
    """An unasked node or component, an unknown request, another environment's pipeline: skipped silently."""
    (agent,) = sampling.nodes("edge-01")
    request_id = sampling.ask("made")
    (late,) = sampling.nodes("edge-02")
    elsewhere = script.post("/environments", {"name": "elsewhere"})["id"]
    (stranger,) = enroll(script, elsewhere, "stranger")
    sampling.say(late, shown(request_id, "made", {"by": "unasked"}))
    sampling.say(stranger, shown(request_id, "made", {"by": "stranger"}))
    sampling.say(agent, shown(request_id, "gone", {"by": "unasked component"}), shown("nope", "made", {}))
    sampling.say(agent, {"requestId": "NO_ID", "componentKey": "made", "error": "x"})
    row = sampling.show(request_id)
    assert (row["status"], row["samples"], row["failures"]) == ("PENDING", [], [])
    assert (sampling.count(SampleResult), sampling.count(SampleFailure)) == (0, 0)

    # asked, and then moved away: the pipeline is another environment's now
    script.call("PATCH", f"/nodes/{node_id(agent)}", {"environmentId": elsewhere})
    sampling.say(agent, shown(request_id, "made", {"by": "moved"}))
    assert sampling.offered(agent) == []
    assert sampling.show(request_id)["samples"] == []
    succeeded(Script(script.client, None, "/api/agent").call("POST", "/samples", {"results": []}), 401)


def test_the_first_success_wins_and_an_error_waits_for_the_others(sampling: Sampling) -> None:
    """One node's failure is another one's chance; only when all have failed it counts."""
    one, two, three = sampling.nodes("edge-01", "edge-02", "edge-03")
    request_id = sampling.ask("made", "gone")
    sampling.say(one, failed(request_id, "made", "first"), failed(request_id, "gone", "g1"))
    assert sampling.offered(one) == [], "what it failed at is not wanted from it again"
    row = sampling.show(request_id)
    assert (row["status"], row["samples"]) == ("PENDING", [])
    assert [each["error"] for each in row["failures"]] == ["g1", "first"]
    sampling.say(two, shown(request_id, "made", {"by": "two"}))
    sampling.say(three, shown(request_id, "made", {"by": "three"}), failed(request_id, "gone", "g3"))
    sampling.say(one, failed(request_id, "gone", "again"), shown(request_id, "made", {"by": "one"}))
    row = sampling.show(request_id)
    assert row["status"] == "PENDING"
    assert [sample["events"] for sample in row["samples"]] == [[{"by": "two"}]]
    sampling.say(two, failed(request_id, "gone", "g2"))
    row = sampling.show(request_id)
    assert row["status"] == "ERROR"
    assert (row["samples"][1]["error"], row["samples"][1]["nodeId"]) == ("g1", node_id(one))
    sampling.say(two, shown(request_id, "gone", {"late": True}), failed(request_id, "made", "late"))
    assert sampling.show(request_id) == row, "an ended request does not change"


def test_a_success_after_a_failure_of_the_same_node_counts(sampling: Sampling) -> None:
    """A node that is asked again, by a poll after a push, may have better luck; so may one body."""
    one, _ = sampling.nodes("edge-01", "edge-02")
    request_id = sampling.ask("made")
    sampling.say(one, failed(request_id), shown(request_id, "made", {"n": 1}))
    assert sampling.status(request_id) == "COMPLETED"


def test_what_is_overdue_ends_with_what_there_is(sampling: Sampling, app: Flask) -> None:
    """EXPIRED where a component has nothing; ERROR where each has its result and one is an error."""
    one, two = sampling.nodes("edge-01", "edge-02")
    silent, half, told = sampling.ask("made"), sampling.ask("made", "gone"), sampling.ask("made", "gone")
    sampling.say(one, shown(half, "made", {"n": 1}), shown(told, "made", {"n": 2}))
    sampling.say(one, failed(told, "gone", "nothing came"))
    assert {sampling.status(each) for each in (silent, half, told)} == {"PENDING"}
    sampling.expire()
    sampling.say(two, shown(silent, "made", {"late": True}))
    assert sampling.offered(two) == []
    assert sampling.status(silent) == "EXPIRED"
    with app.app_context():
        sample_results.tidy_up()
        written = snapshot(lambda s: dict(s.execute(select(SampleRequest.id, SampleRequest.status)).all()))
    assert written == {silent: "EXPIRED", half: "EXPIRED", told: "ERROR"}
    assert sampling.show(silent)["samples"] == []
    assert [sample["componentKey"] for sample in sampling.show(half)["samples"]] == ["made"]
    assert [sample["error"] for sample in sampling.show(told)["samples"]] == [None, "nothing came"]


def test_a_heartbeat_carries_results_through_the_same_code(sampling: Sampling) -> None:
    """Its first result does not finish a request with several components; what is no result costs nothing."""
    (agent,) = sampling.nodes("edge-01")
    request_id = sampling.ask("made", "gone")
    sampling.heartbeat(agent, sampleResults=[7, {"requestId": 1}, shown(request_id, "made", {"n": 1})])
    assert sampling.status(request_id) == "PENDING"
    sampling.heartbeat(agent, sampleResults=[shown(request_id, "made", {"n": 2}), failed(request_id, "gone")])
    row = sampling.show(request_id)
    assert (row["status"], row["samples"][0]["events"]) == ("ERROR", [{"n": 1}])
    refused(agent.call("POST", "/samples", {"results": [7]}), 400)
    refused(agent.call("POST", "/samples", {"results": "no"}), 400, "results")


# bounds


def test_events_are_bounded_and_clean(sampling: Sampling) -> None:
    """Hazard 28: no NUL, half surrogate or infinity; texts are cut, more events than asked for are left out."""
    (agent,) = sampling.nodes("edge-01")
    request_id = sampling.ask("made", limit=3)
    odd = '{"a\\u0000b": "x\\u0000y", "half": "\\ud800", "far": 1e999, "big": 123456789012345678901234567890}'
    huge = {"huge": ["z" * 100] * 2000}
    events = f'[{odd}, "{"y" * 20_000}", {json.dumps(huge)}, 7, null, 9]'
    body = f'{{"requestId": "{request_id}", "componentKey": "made", "schema": null, "events": {events}}}'
    answer = agent.send("POST", "/samples", data=f'{{"results": [{body}]}}', content_type="application/json")
    assert succeeded(answer, 200) == {"ok": True}
    row = sampling.show(request_id)
    assert row["status"] == "COMPLETED"
    first, second, third = row["samples"][0]["events"]
    assert first == {"ab": "xy", "half": "?", "far": "inf", "big": 123456789012345678901234567890}
    assert (len(second), second[-1], third) == (8000, "…", 7)
    paths = [field["path"] for field in row["samples"][0]["schema"]]
    assert paths == [".ab", ".half", ".far", ".big", "."]


@pytest.mark.parametrize("path", ["/samples", "/heartbeat"])
def test_a_body_that_is_too_large_ends_what_the_node_was_asked_for(sampling: Sampling, path: str) -> None:
    """Hazard 27: 200, or an older agent sends it again and again with more; the page says why nothing came."""
    (agent,) = sampling.nodes("edge-01")
    request_id = sampling.ask("made", "gone")
    sampling.say(agent, shown(request_id, "made", {"n": 1}))
    answer = agent.send("POST", path, data=b'{"x": "' + b"x" * (16 * 1024 * 1024) + b'"}')
    assert succeeded(answer, 200) == {"ok": True}
    row = sampling.show(request_id)
    assert (row["status"], row["samples"][0]["error"]) == ("ERROR", None)
    assert "too large" in row["samples"][1]["error"]


def test_requests_are_bounded_and_forgotten(
    sampling: Sampling, app: Flask, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So many open at once, so many kept, and none for longer than a day or than its pipeline."""
    (agent,) = sampling.nodes("edge-01")
    for _ in range(20):
        sampling.ask()
    path = f"/pipelines/{sampling.pipeline_id}/samples"
    assert "20 requests" in refused(script.call("POST", path, {"componentKeys": ["made"], "limit": 1}), 409)
    sampling.expire()
    monkeypatch.setattr("app.samples.MAX_KEPT", 3)
    sampling.say(agent, shown(sampling.ask(), "made", {"n": 1}))
    assert sampling.count(SampleRequest) == 3, "the new one among them"
    with app.app_context():
        later = utc_now() + timedelta(days=1, minutes=1)
        assert retention.prune(retention.steps(server_settings.values(), later)["samples"]) == 3
    assert [sampling.count(table) for table in (SampleRequest, SampleRequestNode, SampleResult)] == [0, 0, 0]
    request_id = sampling.ask()
    sampling.say(agent, failed(request_id))
    assert sampling.count(SampleFailure) == 1
    script.post(f"/pipelines/{sampling.pipeline_id}/undeploy", {}, 200)
    succeeded(script.call("DELETE", f"/pipelines/{sampling.pipeline_id}"), 204)
    assert [sampling.count(table) for table in (SampleRequest, SampleFailure)] == [0, 0]


def test_secrets_of_the_environment_are_masked(sampling: Sampling, monkeypatch: pytest.MonkeyPatch) -> None:
    """In texts and keys at any depth, in the schema's examples, in errors, and never asked of another environment."""
    seen: list[str] = []

    def values_of(environment_id: str) -> list[str]:
        seen.append(environment_id)
        return ['pa"ss/wörd', "12345"]

    monkeypatch.setattr(masking, "values_of", values_of)
    one, _ = sampling.nodes("edge-01", "edge-02")
    request_id = sampling.ask("made", "gone")
    inner = '{"password": "pa\\"ss\\/w\\u00f6rd"}'
    event = {'k pa"ss/wörd': [{"deep": 'x pa"ss/wörd x'}], "json": inner, "pin": 12345, "n": 123}
    sampling.say(one, shown(request_id, "made", event), failed(request_id, "gone", 'auth pa"ss/wörd bad'))
    row = sampling.show(request_id)
    (sample,) = row["samples"]
    assert sample["events"] == [
        {"k ***": [{"deep": "x *** x"}], "json": '{"password": "***"}', "pin": "***", "n": 123}
    ]
    assert row["failures"][0]["error"] == "auth *** bad"
    assert "12345" not in str((sample["events"], sample["schema"]))
    assert "wörd" not in str(row)
    assert set(seen) == {sampling.environment_id}


def test_a_secret_that_was_put_is_masked_or_nothing_is_shown(
    sampling: Sampling, app: Flask, script: Script
) -> None:
    """The environment's own values; where one cannot be decrypted nobody could mask it."""
    (agent,) = sampling.nodes("edge-01")
    path = f"/environments/{sampling.environment_id}/secrets/api-key"
    succeeded(script.call("PUT", path, {"value": "hunter22"}), 200)
    request_id = sampling.ask("made")
    sampling.say(agent, shown(request_id, "made", {"header": "Bearer hunter22"}))
    assert sampling.show(request_id)["samples"][0]["events"] == [{"header": "Bearer ***"}]
    with app.app_context():
        transaction(lambda session: session.execute(update(Secret).values(key_id="gone")) and None)
    request_id = sampling.ask("made")
    sampling.say(agent, shown(request_id, "made", {"header": "Bearer hunter22"}))
    row = sampling.show(request_id)
    assert row["status"] == "ERROR"
    assert 'mask the secret "api-key"' in row["samples"][0]["error"]
    assert "hunter22" not in str(row)


# at once


def test_twenty_submitters_at_once_end_a_request_once(
    sampling: Sampling, app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    """Five nodes with four bodies each: one result a component, one transition, whoever comes first."""
    caplog.set_level("INFO", "signalbox.samples")
    agents = sampling.nodes(*(f"edge-{number}" for number in range(5)))
    for key in ("made", "gone"):
        other = "gone" if key == "made" else "made"
        request_id = sampling.ask("made", "gone")
        bodies = [
            (agent, result)
            for number, agent in enumerate(agents)
            for result in (
                shown(request_id, key, {"by": number}),
                shown(request_id, other, {"by": number}),
                failed(request_id, key, f"e{number}"),
                failed(request_id, other, f"e{number}"),
            )
        ]
        statuses = at_once([submitter(app, agent, result) for agent, result in bodies])
        assert statuses == [200] * 20
        row = sampling.show(request_id)
        assert row["status"] == "COMPLETED"
        assert [(each["componentKey"], each["error"]) for each in row["samples"]] == [
            ("made", None),
            ("gone", None),
        ]
        ended = [r for r in caplog.records if r.getMessage().startswith(f"samples ended id={request_id}")]
        assert len(ended) == 1
    assert sampling.count(SampleResult) == 4


def test_twenty_failures_at_once_are_one_error(sampling: Sampling, app: Flask) -> None:
    """The last node's failure is seen by somebody: none of them sees only its own."""
    agents = sampling.nodes(*(f"edge-{number}" for number in range(5)))
    requests = [sampling.ask("made", "gone") for _ in range(4)]
    bodies = [
        (agent, [failed(request_id, key) for request_id in requests[:: 1 if number % 2 else -1]])
        for number, agent in enumerate(agents)
        for key in ("made", "gone")
        for _ in range(2)
    ]
    assert at_once([submitter(app, agent, *results) for agent, results in bodies]) == [200] * 20
    assert [sampling.status(request_id) for request_id in requests] == ["ERROR"] * 4
    assert sampling.count(SampleResult) == 8
    assert sampling.count(SampleFailure) == 40


def submitter(app: Flask, agent: Script, *results: dict[str, Any]) -> Callable[[], int]:
    own = Script(app.test_client(), agent.token, "/api/agent")
    return lambda: own.call("POST", "/samples", {"results": list(results)}).status_code


def at_once(calls: list[Callable[[], int]]) -> list[int]:
    """What each call answers when all are begun at the same moment."""
    barrier = threading.Barrier(len(calls))
    answers: list[int] = [0] * len(calls)

    def run(number: int) -> None:
        barrier.wait(30)
        answers[number] = calls[number]()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return answers
