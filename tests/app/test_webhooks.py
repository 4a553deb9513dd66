"""Webhooks through the operator API, on each kind of database; what the watch tells of, each change once."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select, update

from app import leases, watch, webhook_delivery, webhook_events
from app.clock import utc_now
from app.database import db, transaction
from app.models import Lease, Node, WebhookDelivery
from tests.app.conftest import Script, enroll, make_script, node_id, refused
from tests.support.receiver import receiver

EVERY = list(webhook_events.EVENTS)
URL = "https://hooks.example.org/services/T0/secret-part"


@pytest.fixture
def hook(script: Script) -> dict[str, Any]:
    """One that hears of everything."""
    made: dict[str, Any] = script.post("/webhooks", {"name": "chat", "url": URL, "events": EVERY})
    return made


@pytest.fixture
def turn(app: Flask) -> Callable[..., int]:
    """One turn of the watch."""

    def run(holder: str = "a") -> int:
        with app.app_context():
            return watch.watch(holder)

    return run


def sent(script: Script, hook: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """What was put into the queue, oldest first."""
    items = script.get(f"/webhooks/{hook['id']}/deliveries")["items"]
    return [(each["event"], each["payload"]["data"]) for each in reversed(items)]


def later(app: Flask, agent: Script, minutes: int) -> None:
    """As if the node had last been heard of so long ago, and somebody had watched since."""
    long_ago = utc_now() - timedelta(minutes=minutes)
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(update(Node).where(Node.id == node_id(agent)).values(last_seen_at=long_ago))
        connection.execute(update(Lease).values(unbroken_since=long_ago))


def test_a_webhook_is_made_changed_and_deleted(
    app: Flask, script: Script, environment_id: str, hook: dict[str, Any]
) -> None:
    """Its secret is shown once; the audit log, which everybody reads, has neither that nor the whole address."""
    assert hook["secret"].startswith("whsec_")
    row = script.get(f"/webhooks/{hook['id']}")
    assert "secret" not in row
    assert (row["url"], row["events"], row["enabled"], row["environmentId"]) == (URL, EVERY, True, None)
    changed = script.call("PATCH", f"/webhooks/{hook['id']}", {"events": ["node.back"], "enabled": False})
    assert changed.get_json()["events"] == ["node.back"]
    refused(script.call("POST", f"/webhooks/{hook['id']}/test"), 409)
    other = script.post(f"/webhooks/{hook['id']}/secret")["secret"]
    assert other.startswith("whsec_")
    assert other != hook["secret"]
    assert [each["name"] for each in script.get("/webhooks")["items"]] == ["chat"]
    log = str(script.get("/audit", action="webhook.*"))
    assert "hooks.example.org" in log
    for hidden in ("secret-part", hook["secret"], other):
        assert hidden not in log
    assert script.call("DELETE", f"/webhooks/{hook['id']}").status_code == 204
    refused(script.call("GET", f"/webhooks/{hook['id']}"), 404)


def test_webhooks_are_for_admins_and_stay_in_their_environment(
    app: Flask, script: Script, environment_id: str, hook: dict[str, Any]
) -> None:
    """Editors may not look: an address can hold a token. An admin of one environment has those of it."""
    for path in ("/webhooks", f"/webhooks/{hook['id']}", f"/webhooks/{hook['id']}/deliveries"):
        refused(make_script(app, "editor").call("GET", path), 403)
    limited = make_script(app, "admin", environment_id)
    body = {"name": "own", "url": URL, "events": EVERY}
    refused(limited.call("POST", "/webhooks", body), 403)
    own = limited.post("/webhooks", {**body, "environmentId": environment_id})
    assert [each["id"] for each in limited.get("/webhooks")["items"]] == [own["id"]]
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/test"), ("POST", "/secret")):
        refused(limited.call(method, f"/webhooks/{hook['id']}{path}"), 404)
    other = script.post("/environments", {"name": "other"})["id"]
    refused(limited.call("POST", "/webhooks", {**body, "environmentId": other}), 404)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"url": "hooks.example"}, "url"),
        ({"url": "https://me:pw@hooks.example/"}, "url"),
        ({"events": []}, "events"),
        ({"events": ["node.gone"]}, "events"),
        ({"name": " "}, "name"),
    ],
)
def test_what_cannot_be_used_is_refused_by_field(
    script: Script, hook: dict[str, Any], change: dict[str, Any], field: str
) -> None:
    """For a new one and for one that is there; nothing is half changed."""
    refused(
        script.call("POST", "/webhooks", {"name": "n", "url": URL, "events": EVERY, **change}), 400, field
    )
    refused(script.call("PATCH", f"/webhooks/{hook['id']}", {"name": "renamed", **change}), 400, field)
    assert script.get(f"/webhooks/{hook['id']}")["name"] == "chat"


def test_a_deployment_that_has_finished_is_told_of_once(
    script: Script, environment_id: str, pipeline_id: str, hook: dict[str, Any], turn: Callable[..., int]
) -> None:
    """Not before the last node; with how it went and who failed."""
    good, bad = enroll(script, environment_id, "good", "bad")
    done = script.post(f"/pipelines/{pipeline_id}/deploy", {}, 200)
    assert turn() == 0
    running = {"pipelineId": pipeline_id, "version": 1, "status": "RUNNING"}
    good.post("/heartbeat", {"pipelines": [running]}, 200)
    assert turn() == 0
    failed = {"pipelineId": pipeline_id, "version": 1, "status": "CRASH_LOOP", "error": "no such file"}
    bad.post("/heartbeat", {"pipelines": [failed]}, 200)
    assert turn() == 2
    assert turn() == 0
    (first, finished), (second, broken) = sent(script, hook)
    assert (first, finished["deploymentId"], finished["outcome"]) == (
        "deployment.finished",
        done["deploymentId"],
        "failed",
    )
    assert finished["nodes"] == {"failed": 1, "running": 1}
    assert finished["failedNodes"] == ["bad"]
    assert (second, broken["pipeline"], broken["count"]) == ("pipeline.failed", "access-log", 1)
    assert broken["nodes"][0]["name"] == "bad"
    assert "no such file" not in str(broken), "what a child printed may hold anything"
    # healthy again, then failed again: told of again
    bad.post("/heartbeat", {"pipelines": [running]}, 200)
    assert turn() == 0
    bad.post("/heartbeat", {"pipelines": [failed]}, 200)
    assert turn() == 1


def test_a_node_that_goes_and_comes_back_is_told_of_once_each(
    app: Flask, script: Script, environment_id: str, hook: dict[str, Any], turn: Callable[..., int]
) -> None:
    """Not before somebody has watched as long as a node may be silent: the server itself may have been away."""
    (agent,) = enroll(script, environment_id, "edge-01")
    agent.post("/heartbeat", {"pipelines": []}, 200)
    assert turn() == 0
    long_ago = utc_now() - timedelta(minutes=10)
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(update(Node).values(last_seen_at=long_ago))
    assert turn() == 0, "nobody has watched for long enough"
    later(app, agent, 10)
    assert turn() == 1
    assert turn() == 0
    agent.post("/heartbeat", {"pipelines": []}, 200)
    assert turn() == 1
    assert turn() == 0
    assert [event for event, _ in sent(script, hook)] == ["node.unreachable", "node.back"]
    assert {data["nodes"][0]["name"] for _, data in sent(script, hook)} == {"edge-01"}


def test_only_the_events_and_the_environment_that_were_asked_for(
    app: Flask, script: Script, environment_id: str, turn: Callable[..., int]
) -> None:
    """One of another environment, one of other events, and a disabled one hear nothing."""
    other = script.post("/environments", {"name": "other"})["id"]
    hooks = [
        script.post("/webhooks", {"name": "n", "url": URL, **more})
        for more in (
            {"events": EVERY, "environmentId": environment_id},
            {"events": EVERY, "environmentId": other},
            {"events": ["node.back"]},
            {"events": EVERY},
        )
    ]
    script.call("PATCH", f"/webhooks/{hooks[3]['id']}", {"enabled": False})
    (agent,) = enroll(script, environment_id, "edge-01")
    agent.post("/heartbeat", {"pipelines": []}, 200)
    turn()
    later(app, agent, 10)
    assert turn() == 1
    assert [len(sent(script, hook)) for hook in hooks] == [1, 0, 0, 0]


def test_one_worker_watches_and_each_step_looks_at_the_lease_again(
    app: Flask, script: Script, environment_id: str, hook: dict[str, Any], turn: Callable[..., int]
) -> None:
    """A second worker does nothing meanwhile; one that was frozen past its lease writes nothing when it wakes."""
    (agent,) = enroll(script, environment_id, "edge-01")
    agent.post("/heartbeat", {"pipelines": []}, 200)
    turn("a")
    later(app, agent, 10)
    assert turn("b") == 0
    with app.app_context():
        frozen = leases.take(watch.LEASE, "a", watch.LEASE_SPAN)
        assert frozen is not None
        past = utc_now() - timedelta(seconds=1)
        transaction(lambda session: session.execute(update(Lease).values(expires_at=past)) and None)
        with pytest.raises(leases.LeaseLostError):
            watch.silent_nodes(frozen)
    assert sent(script, hook) == []
    assert turn("b") == 0, "a gap: it must watch for a while first"
    later(app, agent, 10)
    assert turn("b") == 1
    # given up on purpose: the next one goes on at once, without a gap
    with app.app_context():
        watch.stop("b")
        handed_over = leases.take(watch.LEASE, "c", watch.LEASE_SPAN)
    assert handed_over is not None
    assert handed_over.unbroken_since < utc_now() - timedelta(minutes=9)


def test_a_failed_delivery_can_be_sent_again_and_a_full_queue_says_so(
    app: Flask, script: Script, hook: dict[str, Any]
) -> None:
    """The log has both; one that waits is not sent twice."""
    delivery = script.post(f"/webhooks/{hook['id']}/test", status=202)["deliveryId"]
    again = f"/webhooks/{hook['id']}/deliveries/{delivery}/resend"
    refused(script.call("POST", again), 409)
    with app.app_context():
        transaction(lambda session: session.execute(update(WebhookDelivery).values(status="FAILED")) and None)
    second = script.post(again, status=202)["deliveryId"]
    items = script.get(f"/webhooks/{hook['id']}/deliveries")["items"]
    assert [each["id"] for each in items] == [second, delivery]
    assert items[0]["payload"] == items[1]["payload"]
    refused(script.call("POST", f"/webhooks/{hook['id']}/deliveries/{'0' * 32}/resend"), 404)

    def fill(session: Any) -> None:
        payload = {"type": "test", "timestamp": "now", "data": {}}
        for _ in range(webhook_events.MOST_WAITING):
            webhook_events.queue(session, hook["id"], payload, utc_now())

    with app.app_context():
        transaction(fill)
        waiting = select(func.count()).where(WebhookDelivery.status == "PENDING")
        assert db.session.scalar(waiting) == webhook_events.MOST_WAITING
    newest = script.get(f"/webhooks/{hook['id']}/deliveries", limit="1")["items"][0]
    assert newest["status"] == "FAILED"
    assert "waiting already" in newest["lastError"]


def test_an_address_in_a_network_of_ones_own_is_refused_when_it_is_sent_to(
    app: Flask, script: Script
) -> None:
    """Unless SIGNALBOX_WEBHOOK_NETWORKS allows it; the receiver gets nothing, the log says why."""
    with receiver() as own:
        hook = script.post("/webhooks", {"name": "inside", "url": own.url, "events": EVERY})
        script.post(f"/webhooks/{hook['id']}/test", status=202)
        with app.app_context():
            assert webhook_delivery.deliver_due() == 1
        assert own.received() == []
    (row,) = script.get(f"/webhooks/{hook['id']}/deliveries")["items"]
    assert (row["status"], row["attempts"], row["lastStatus"]) == ("PENDING", 1, None)
    assert "leads to 127.0.0.1" in row["lastError"]
