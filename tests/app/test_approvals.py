"""Protected environments by the operator API, on each kind of database: one asks, another approves, that runs."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select, update

from app import accounts, deploy_requests, deploys, watch
from app.audit import COMMAND_LINE
from app.clock import utc_now
from app.database import transaction
from app.deploy_acts import ProtectedError
from app.models import DeployRequest
from tests.app.conftest import YAML, Script, enroll, make_script, node_id, refused, succeeded
from tests.app.test_at_once import at_once

OTHER_YAML = YAML.replace("json", "syslog")


def approver(app: Flask, role: str = "editor", environment_id: str | None = None, **more: Any) -> Script:
    """Somebody else, with the right to approve."""
    with app.app_context():
        minted = accounts.create_api_token(
            "second", COMMAND_LINE, role=role, environment_id=environment_id, may_approve=True, **more
        )
    return Script(app.test_client(), minted.text)


@pytest.fixture
def protected(script: Script, environment_id: str) -> str:
    """The environment, in which two are needed."""
    succeeded(script.call("PATCH", f"/environments/{environment_id}", {"protected": True}), 200)
    return environment_id


@pytest.fixture
def asker(app: Flask, protected: str) -> Script:
    return make_script(app, "editor", protected)


def ask(asker: Script, pipeline_id: str, act: str = "deploy", **body: object) -> dict[str, Any]:
    """The request that was made in place of an act."""
    answer = asker.post(f"/pipelines/{pipeline_id}/{act}", body, 202)
    assert answer["message"].endswith(".")
    row: dict[str, Any] = answer["deployRequest"]
    assert row["state"] == "open"
    return row


def versions(script: Script, pipeline_id: str) -> list[int]:
    return [row["version"] for row in script.get(f"/pipelines/{pipeline_id}/versions")["items"]]


def acts(script: Script, subject: str) -> list[str]:
    """What the audit log has of it, oldest first."""
    return [entry["action"] for entry in reversed(script.get("/audit", subject=subject)["items"])]


def change_draft(script: Script, pipeline_id: str, **fields: object) -> None:
    succeeded(script.call("PUT", f"/pipelines/{pipeline_id}", fields), 200)


def test_what_was_reviewed_is_deployed_whatever_the_draft_has_become(
    app: Flask, script: Script, asker: Script, pipeline_id: str
) -> None:
    """Nothing changes before somebody else has approved; then it is exactly what was frozen."""
    change_draft(script, pipeline_id, logLevel="debug", nodeSelector="zone=a")
    made = ask(asker, pipeline_id, changelog="first")
    assert (made["kind"], made["pipeline"], made["baseVersion"]) == ("deploy", "access-log", None)
    assert script.get(f"/pipelines/{pipeline_id}")["wantedVersion"] is None
    change_draft(script, pipeline_id, configYaml=OTHER_YAML, logLevel="error", nodeSelector="")
    shown = script.get(f"/deploy-requests/{made['id']}")
    assert shown["configYaml"] == YAML
    assert [line["text"] for line in shown["difference"]] == YAML.splitlines()
    done = approver(app).post(
        f"/deploy-requests/{made['id']}/approve", {"comment": "fine", "checksum": made["checksum"]}, 200
    )
    assert (done["version"], done["targets"]) == (1, 0)
    version = script.get(f"/pipelines/{pipeline_id}/versions/1")
    assert (version["configYaml"], version["logLevel"], version["nodeSelector"], version["changelog"]) == (
        YAML,
        "debug",
        "zone=a",
        "first",
    )
    assert version["createdBy"] == made["askedBy"]
    row = script.get(f"/deploy-requests/{made['id']}")
    assert (row["state"], row["decidedBy"], row["comment"]) == ("approved", "token second", "fine")
    assert row["deploymentId"] == done["deploymentId"]
    assert acts(script, made["id"]) == ["deploy-request.ask", "deploy-request.approved"]
    (deploy,) = script.get("/audit", action="pipeline.deploy")["items"]
    assert deploy["actor"] == "token second"
    assert deploy["detail"]["deployRequestId"] == made["id"]


def test_every_act_that_changes_what_runs_is_asked_for(
    app: Flask, script: Script, asker: Script, protected: str, pipeline_id: str
) -> None:
    """Also a roll back and an undeploy, by whoever it is; where it is not protected the answer is as ever."""
    second = approver(app)
    for content in (YAML, OTHER_YAML):
        change_draft(script, pipeline_id, configYaml=content)
        second.post(f"/deploy-requests/{ask(asker, pipeline_id)['id']}/approve", {}, 200)
    back = ask(asker, pipeline_id, "rollback", version=1)
    assert (back["kind"], back["fromVersion"], back["baseVersion"]) == ("rollback", 1, 2)
    assert second.post(f"/deploy-requests/{back['id']}/approve", {}, 200)["version"] == 3
    first, third = (script.get(f"/pipelines/{pipeline_id}/versions/{number}") for number in (1, 3))
    assert third["configYaml"] == first["configYaml"]
    assert third["changelog"] == "Rolled back to version 1."
    off = ask(asker, pipeline_id, "undeploy")
    assert second.post(f"/deploy-requests/{off['id']}/approve", {}, 200)["version"] is None
    assert script.get(f"/pipelines/{pipeline_id}")["wantedVersion"] is None
    refused(asker.call("POST", f"/pipelines/{pipeline_id}/undeploy"), 409)
    assert ask(script, pipeline_id)["askedBy"] == "token tests", "an admin asks too"
    with app.app_context(), pytest.raises(ProtectedError):
        deploys.deploy(pipeline_id, COMMAND_LINE)
    succeeded(script.call("PATCH", f"/environments/{protected}", {"protected": False}), 200)
    assert asker.post(f"/pipelines/{pipeline_id}/deploy", {}, 200)["version"] == 4


def test_an_emergency_undeploy_is_an_admins_and_says_why(
    app: Flask, script: Script, asker: Script, protected: str, pipeline_id: str
) -> None:
    """It waits for nobody, and the audit log keeps the reason."""
    approver(app).post(f"/deploy-requests/{ask(asker, pipeline_id)['id']}/approve", {}, 200)
    path = f"/pipelines/{pipeline_id}/undeploy"
    refused(asker.call("POST", path, {"emergency": "it floods the disk"}), 403)
    refused(script.call("POST", path, {"emergency": " "}), 400, "emergency")
    assert script.post(path, {"emergency": "it floods the disk"}, 200)["version"] is None
    (entry,) = script.get("/audit", action="pipeline.undeploy")["items"]
    assert entry["detail"]["emergency"] == "it floods the disk"


def test_nobody_decides_what_they_have_asked_for(
    app: Flask, script: Script, protected: str, pipeline_id: str
) -> None:
    """Neither by themselves nor by a token that they have made, nor by one that such a token has made."""
    admin = approver(app, "admin", protected)
    body = {"name": "own", "role": "admin", "environmentId": protected, "mayApprove": True}
    own = Script(admin.client, admin.post("/api-tokens", body)["token"])
    grandchild = Script(admin.client, own.post("/api-tokens", body)["token"])
    for one, other in ((admin, own), (own, admin), (grandchild, admin), (admin, grandchild)):
        made = ask(one, pipeline_id)
        for who in (one, other):
            assert "yourself" in refused(who.call("POST", f"/deploy-requests/{made['id']}/approve"), 403)
            refused(who.call("POST", f"/deploy-requests/{made['id']}/reject"), 403)
        assert other.post(f"/deploy-requests/{made['id']}/cancel", {}, 200)["state"] == "cancelled"
    assert versions(script, pipeline_id) == []


def test_who_may_decide_is_an_editor_there_with_the_right_to(
    app: Flask, script: Script, asker: Script, protected: str, pipeline_id: str
) -> None:
    """A token was given the right or has it not; whoever may not see the environment is told of no request."""
    made = ask(asker, pipeline_id)
    path = f"/deploy-requests/{made['id']}"
    other = script.post("/environments", {"name": "other"})["id"]
    for who, status in (
        (make_script(app, "admin"), 403),
        (approver(app, "viewer"), 403),
        (approver(app, "admin", other), 404),
    ):
        refused(who.call("POST", f"{path}/approve"), status)
        refused(who.call("POST", f"{path}/reject"), status)
    refused(approver(app).call("POST", f"{path}/cancel"), 403)
    assert approver(app, "admin", other).get("/deploy-requests")["items"] == []
    assert [row["id"] for row in approver(app, "viewer", protected).get("/deploy-requests")["items"]] == [
        made["id"]
    ]
    rejected = approver(app, "editor", protected).post(f"{path}/reject", {"comment": "not today"}, 200)
    assert (rejected["state"], rejected["comment"]) == ("rejected", "not today")
    assert "rejected" in refused(approver(app).call("POST", f"{path}/approve"), 409)
    assert versions(script, pipeline_id) == []


def test_other_nodes_than_when_it_was_asked_have_to_be_meant(
    app: Flask, script: Script, asker: Script, protected: str, pipeline_id: str
) -> None:
    """Who joined and who left is shown, and approving says which nodes it means; others again refuse it."""
    stays, leaves = enroll(script, protected, "stays", "leaves")
    for agent in (stays, leaves):
        succeeded(script.call("PATCH", f"/nodes/{node_id(agent)}", {"labels": {"zone": "a"}}), 200)
    change_draft(script, pipeline_id, nodeSelector="zone=a")
    made = ask(asker, pipeline_id)
    assert made["targets"] == 2
    path, second = f"/deploy-requests/{made['id']}", approver(app)
    assert second.get(path)["reach"]["changed"] is False
    succeeded(script.call("PATCH", f"/nodes/{node_id(leaves)}", {"labels": {"zone": "b"}}), 200)
    (joins,) = enroll(script, protected, "joins")
    succeeded(script.call("PATCH", f"/nodes/{node_id(joins)}", {"labels": {"zone": "a"}}), 200)
    reach = second.get(path)["reach"]
    assert (reach["changed"], reach["targets"]) == (True, 2)
    assert [node["name"] for node in reach["joined"]] == ["joins"]
    assert [node["name"] for node in reach["left"]] == ["leaves"]
    sentence = refused(second.call("POST", f"{path}/approve"), 409, "targetsChecksum")
    assert "1 node more would be reached and 1 node would not be reached any more" in sentence
    script.call("DELETE", f"/nodes/{node_id(leaves)}")
    succeeded(script.call("PATCH", f"/nodes/{node_id(stays)}", {"labels": {}}), 200)
    refused(second.call("POST", f"{path}/approve", {"targetsChecksum": reach["checksum"]}), 409)
    now = second.get(path)["reach"]
    assert [node["name"] for node in now["left"]] == ["leaves", "stays"]
    done = second.post(f"{path}/approve", {"targetsChecksum": now["checksum"]}, 200)
    assert done["targets"] == 1


def test_a_deployment_overtakes_what_was_asked_for_before_it(
    app: Flask, script: Script, asker: Script, protected: str, pipeline_id: str
) -> None:
    """Whatever it was compared with is gone; asking for the same again is another request."""
    first = ask(asker, pipeline_id)
    assert ask(asker, pipeline_id)["id"] == first["id"], "asked for already"
    change_draft(script, pipeline_id, configYaml=OTHER_YAML)
    later, second = ask(asker, pipeline_id), approver(app)
    done = second.post(f"/deploy-requests/{later['id']}/approve", {}, 200)
    row = script.get(f"/deploy-requests/{first['id']}")
    assert (row["state"], row["deploymentId"]) == ("overtaken", done["deploymentId"])
    assert acts(script, first["id"]) == ["deploy-request.ask", "deploy-request.overtaken"]
    refused(second.call("POST", f"/deploy-requests/{first['id']}/approve"), 409)
    open_ = ask(asker, pipeline_id)
    script.post(f"/pipelines/{pipeline_id}/undeploy", {"emergency": "now"}, 200)
    assert script.get(f"/deploy-requests/{open_['id']}")["state"] == "overtaken"
    states = {row["state"] for row in script.get("/deploy-requests", pipelineId=pipeline_id)["items"]}
    assert states == {"approved", "overtaken"}


def test_a_request_expires_whether_or_not_anybody_writes_it_down(
    app: Flask, script: Script, asker: Script, pipeline_id: str
) -> None:
    """It cannot be approved from that moment on; the watch notes it, once."""
    succeeded(script.call("PATCH", "/settings", {"deployRequestHours": 1}), 200)
    made = ask(asker, pipeline_id)
    path = f"/deploy-requests/{made['id']}"

    def age(session: Any) -> None:
        session.execute(update(DeployRequest).values(expires_at=utc_now() - timedelta(seconds=1)))

    with app.app_context():
        transaction(age)
    assert script.get(path)["state"] == "expired"
    assert script.get("/deploy-requests", state="open")["items"] == []
    assert len(script.get("/deploy-requests", state="expired")["items"]) == 1
    assert "expired" in refused(approver(app).call("POST", f"{path}/approve"), 409)
    assert versions(script, pipeline_id) == []
    with app.app_context():
        assert deploy_requests.open_counts() == {}
        for holder in ("a", "b", "a"):
            watch.watch(holder)
    assert acts(script, made["id"]) == ["deploy-request.ask", "deploy-request.expired"]
    assert ask(asker, pipeline_id)["id"] != made["id"]


def test_a_row_that_was_changed_by_hand_is_not_deployed(
    app: Flask, script: Script, asker: Script, pipeline_id: str
) -> None:
    """What was reviewed has a checksum; so has what somebody looked at."""
    made = ask(asker, pipeline_id)
    path, second = f"/deploy-requests/{made['id']}/approve", approver(app)
    refused(second.call("POST", path, {"checksum": "0" * 64}), 409)

    def alter(session: Any) -> None:
        session.execute(update(DeployRequest).values(config_yaml=OTHER_YAML))

    with app.app_context():
        transaction(alter)
    refused(second.call("POST", path), 409)
    assert versions(script, pipeline_id) == []


def test_what_cannot_be_deployed_is_not_asked_for(
    script: Script, asker: Script, protected: str, pipeline_id: str
) -> None:
    """As a deploy of it would be refused; and what cannot be any more when it is approved is refused then."""
    change_draft(script, pipeline_id, configYaml="sources: [")
    refused(asker.call("POST", f"/pipelines/{pipeline_id}/deploy"), 400)
    change_draft(script, pipeline_id, configYaml=YAML.replace("blackhole", "SECRET[gone]"))
    refused(asker.call("POST", f"/pipelines/{pipeline_id}/deploy"), 400)
    refused(asker.call("POST", f"/pipelines/{pipeline_id}/rollback", {"version": 7}), 404)
    assert script.get("/deploy-requests")["items"] == []


def test_whoever_wants_to_hear_of_it_does(
    script: Script, asker: Script, protected: str, pipeline_id: str
) -> None:
    """By webhook, without the YAML, which may hold anything."""
    hook = script.post(
        "/webhooks", {"name": "h", "url": "https://hooks.example.org/", "events": ["deploy.requested"]}
    )
    made = ask(asker, pipeline_id)
    (sent,) = script.get(f"/webhooks/{hook['id']}/deliveries")["items"]
    data = sent["payload"]["data"]
    assert (data["deployRequestId"], data["pipeline"], data["askedBy"]) == (
        made["id"],
        "access-log",
        "token tests",
    )
    assert "demo_logs" not in str(data)


def test_protection_is_an_admins_and_audited(
    app: Flask, script: Script, asker: Script, protected: str
) -> None:
    """An editor cannot lift it to deploy alone."""
    refused(asker.call("PATCH", f"/environments/{protected}", {"protected": False}), 403)
    succeeded(script.call("PATCH", f"/environments/{protected}", {"protected": False}), 200)
    entry = script.get("/audit", action="environment.update")["items"][0]
    assert entry["detail"]["before"] == {"protected": True}
    assert entry["detail"]["after"] == {"protected": False}


@pytest.mark.parametrize("other", ["approve", "reject", "cancel", "edit"])
def test_two_who_decide_at_once_make_one_deployment_at_most(
    app: Flask, script: Script, asker: Script, pipeline_id: str, other: str
) -> None:
    """Whoever is first; the other one is told how it ended. An edit in between is not deployed."""
    seconds = [approver(app), approver(app)]
    for number in range(1, 4):
        change_draft(script, pipeline_id, configYaml=YAML + f"# {number}\n")
        made = ask(asker, pipeline_id)
        path = f"/deploy-requests/{made['id']}"
        answers: dict[str, Any] = {}
        calls = {"approve": lambda path=path: seconds[0].call("POST", f"{path}/approve")}
        if other == "edit":
            calls[other] = lambda: asker.call("PUT", f"/pipelines/{pipeline_id}", {"configYaml": OTHER_YAML})
        else:
            who = asker if other == "cancel" else seconds[1]
            act = other
            calls[f"other {other}"] = lambda path=path, who=who, act=act: Script(
                app.test_client(), who.token
            ).call("POST", f"{path}/{act}")
        start = threading.Barrier(len(calls))

        def run(name: str, call: Any, start: Any = start, answers: dict[str, Any] = answers) -> None:
            start.wait()
            answers[name] = call()

        threads = [threading.Thread(target=run, args=each) for each in calls.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        statuses = sorted(answer.status_code for answer in answers.values())
        assert statuses == ([200, 200] if other == "edit" else [200, 409]), answers
        state = script.get(path)["state"]
        deployed = script.get(f"/pipelines/{pipeline_id}")["wantedVersion"]
        if state == "approved":
            content = script.get(f"/pipelines/{pipeline_id}/versions/{deployed}")["configYaml"]
            assert content == YAML + f"# {number}\n"
        else:
            assert state in ("rejected", "cancelled")
    approved = script.get("/deploy-requests", state="approved")["items"]
    assert len(versions(script, pipeline_id)) == len(approved)
    assert len({row["deploymentId"] for row in approved}) == len(approved)


def test_a_deploy_while_protection_begins_is_either_before_or_asked_for(
    app: Flask, script: Script, environment_id: str, pipeline_id: str
) -> None:
    """Never an error, and never a deployment after the protection that nobody approved."""
    for protected in (True, False) * 4:
        statuses = at_once(
            app,
            script.token,
            ("POST", f"/pipelines/{pipeline_id}/deploy", {}),
            ("PATCH", f"/environments/{environment_id}", {"protected": protected}),
        )
        assert statuses[1] == 200
        assert statuses[0] in (200, 202)
    with app.app_context():
        rows = transaction(lambda session: session.scalars(select(DeployRequest.state)).all())
    assert set(rows) <= {"open", "overtaken"}
