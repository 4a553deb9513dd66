"""Alert rules through the operator API, on each kind of database: each fires and is resolved once, and none flaps."""

import base64
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError

from app import alert_evaluation, create_app, leases, server_settings
from app.clock import utc_now
from app.config import Settings
from app.database import db, transaction
from app.ids import new_id
from app.models import Alert, AlertRule, Lease, Node, NodePipeline
from tests.app.conftest import SECRETS, Script, enroll, make_script, node_id, refused, succeeded
from tests.app.test_secrets import pem

Turn = Callable[..., int]
INTERVAL = 10.0
RULE = {"name": "rule", "forSeconds": 60, "clearSeconds": 60}


@pytest.fixture
def turn(app: Flask) -> Turn:
    """One turn of the evaluation; *after* so many seconds in which nobody's data have changed."""

    def run(after: float = 0, holder: str = "a") -> int:
        with app.app_context():
            if after:
                passed(after)
            return alert_evaluation.evaluate(holder, INTERVAL)

    return run


@pytest.fixture
def hook(script: Script) -> dict[str, Any]:
    """A webhook that hears of alerts."""
    events = ["alert.firing", "alert.resolved"]
    made: dict[str, Any] = script.post(
        "/webhooks", {"name": "h", "url": "https://hooks.example/", "events": events}
    )
    return made


def passed(seconds: float) -> None:
    """As if alerts had been as they are for so much longer, and the evaluation had gone on."""
    span = timedelta(seconds=seconds)

    def age(session: Any) -> None:
        for alert in session.query(Alert).all():
            alert.since -= span
            alert.clear_since = alert.clear_since and alert.clear_since - span
        for lease in session.query(Lease).all():
            lease.unbroken_since -= span

    transaction(age)


def make(script: Script, kind: str, **more: Any) -> dict[str, Any]:
    rule: dict[str, Any] = script.post("/alert-rules", {**RULE, "kind": kind, **more})
    return rule


def alerts(script: Script, **query: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = script.get("/alerts", **query)["items"]
    return items


def states(script: Script) -> list[str]:
    """Of all alerts, oldest first."""
    return [alert["state"] for alert in reversed(alerts(script))]


def told(script: Script, hook: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """What was put into the queue, oldest first."""
    items = script.get(f"/webhooks/{hook['id']}/deliveries")["items"]
    return [(each["event"], each["payload"]["data"]) for each in reversed(items)]


def silent(app: Flask, agent: Script, minutes: float = 10) -> None:
    """As if the node had last been heard of so long ago, and somebody had watched since."""
    long_ago = utc_now() - timedelta(minutes=minutes)
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(
            update(Node)
            .where(Node.id == node_id(agent))
            .values(last_seen_at=long_ago, last_heartbeat_at=long_ago)
        )
        connection.execute(update(Lease).values(unbroken_since=long_ago))


def heartbeat(agent: Script, pipeline_id: str, status: str = "RUNNING", **more: Any) -> None:
    report = {"pipelineId": pipeline_id, "version": 1, "status": status, **more}
    agent.post("/heartbeat", {"pipelines": [report]}, 200)


def counted(app: Flask, agent: Script, pipeline_id: str, counter: str, a_second: float) -> None:
    """Two heartbeats, ten seconds apart, between which *counter* grows by so much a second."""
    heartbeat(agent, pipeline_id, **{counter: 1000})
    earlier = utc_now() - timedelta(seconds=10)
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(update(NodePipeline).values(reported_at=earlier))
    heartbeat(agent, pipeline_id, **{counter: 1000 + round(a_second * 10)})


Fleet = tuple[Script, str]


@pytest.fixture
def fleet(script: Script, environment_id: str, pipeline_id: str) -> Fleet:
    """A node, and the id of a pipeline that it runs well."""
    (agent,) = enroll(script, environment_id, "edge-01")
    script.post(f"/pipelines/{pipeline_id}/deploy", {}, 200)
    heartbeat(agent, pipeline_id)
    return agent, pipeline_id


# ---- each kind ----

WAYS: dict[str, tuple[dict[str, Any], Callable[..., None], Callable[..., None], str]] = {
    "node_unreachable": (
        {},
        lambda app, agent, pipeline: silent(app, agent),
        lambda app, agent, pipeline: heartbeat(agent, pipeline),
        "edge-01 has not been heard of since",
    ),
    "pipeline_failed": (
        {},
        lambda app, agent, pipeline: heartbeat(agent, pipeline, "CRASH_LOOP", error="hunter2"),
        lambda app, agent, pipeline: heartbeat(agent, pipeline),
        "access-log on edge-01 is CRASH_LOOP.",
    ),
    "errors_above": (
        {"threshold": 5},
        lambda app, agent, pipeline: counted(app, agent, pipeline, "errorsTotal", 7),
        lambda app, agent, pipeline: counted(app, agent, pipeline, "errorsTotal", 1),
        "errors/s, above 5.",
    ),
    "discarded_above": (
        {"threshold": 5},
        lambda app, agent, pipeline: counted(app, agent, pipeline, "eventsDiscarded", 7),
        lambda app, agent, pipeline: counted(app, agent, pipeline, "eventsDiscarded", 1),
        "events/s, above 5.",
    ),
    "throughput_below": (
        {"threshold": 5},
        lambda app, agent, pipeline: counted(app, agent, pipeline, "eventsOut", 1),
        lambda app, agent, pipeline: counted(app, agent, pipeline, "eventsOut", 9),
        "events/s, below 5.",
    ),
}


@pytest.mark.parametrize("kind", WAYS)
def test_each_kind_about_nodes_fires_and_is_resolved_once(
    app: Flask, script: Script, environment_id: str, fleet: Fleet, hook: dict[str, Any], turn: Turn, kind: str
) -> None:
    """After it was so for its time, and well for its time; each change is one event, and no child's output in it."""
    agent, pipeline = fleet
    more, worsen, mend, text = WAYS[kind]
    rule = make(script, kind, **more)
    assert turn() == 0
    assert alerts(script) == []
    worsen(app, agent, pipeline)
    assert turn() == 0
    assert states(script) == ["PENDING"]
    assert turn(after=50) == 0
    assert states(script) == ["PENDING"]
    assert told(script, hook) == []
    assert turn(after=20) == 1
    assert turn() == 0
    (alert,) = alerts(script)
    assert (alert["state"], alert["nodeId"], alert["ruleId"]) == ("FIRING", node_id(agent), rule["id"])
    assert text in alert["text"]
    assert script.get(f"/alert-rules/{rule['id']}")["firing"] == 1
    mend(app, agent, pipeline)
    assert turn() == 0
    assert turn(after=50) == 0
    assert states(script) == ["FIRING"]
    assert turn(after=20) == 1
    assert turn(after=100) == 0
    (alert,) = alerts(script)
    assert (alert["state"], alert["resolvedReason"]) == ("RESOLVED", "recovered")
    (first, fired), (second, resolved) = told(script, hook)
    assert (first, second) == ("alert.firing", "alert.resolved")
    assert fired["alerts"][0]["alertId"] == resolved["alerts"][0]["alertId"] == alert["id"]
    assert (fired["rule"], fired["kind"], fired["count"], fired["environmentId"]) == (
        "rule",
        kind,
        1,
        environment_id,
    )
    assert fired["alerts"][0]["firedAt"] == alert["firedAt"]
    assert "hunter2" not in str(fired)
    # again, and it is another alert
    worsen(app, agent, pipeline)
    turn()
    assert turn(after=70) == 1
    assert states(script) == ["RESOLVED", "FIRING"]


def test_a_certificate_that_expires_fires_and_is_resolved_by_another_one(
    script: Script, environment_id: str, hook: dict[str, Any], turn: Turn
) -> None:
    """Within its days, not before; one that is deleted is resolved for that."""
    rule = make(script, "certificate_expires", threshold=14, forSeconds=0)

    def put(name: str, days: float) -> None:
        body = {"filename": f"{name}.pem", "data": base64.b64encode(pem(days=days)).decode()}
        path = f"/environments/{environment_id}/certificates/{name}"
        assert script.call("PUT", path, body).status_code == 200

    for name, days in (("soon", 5), ("gone", 9), ("later", 100)):
        put(name, days)
    assert turn() == 2
    found = {alert["certificate"]: alert for alert in alerts(script)}
    assert set(found) == {"soon", "gone"}
    assert 4.9 < found["soon"]["value"] <= 5
    assert "expires on" in found["soon"]["text"]
    assert (found["soon"]["unit"], found["soon"]["environmentId"]) == ("days", environment_id)
    (_, data) = told(script, hook)[0]
    assert data["count"] == 2, "one event for what fires together"
    put("soon", 14.5)
    assert script.call("DELETE", f"/environments/{environment_id}/certificates/gone").status_code == 204
    assert turn() == 1
    assert turn(after=100) == 0, "within the margin it goes on"
    put("soon", 365)
    turn()
    assert turn(after=100) == 1
    reasons = {alert["certificate"]: alert["resolvedReason"] for alert in alerts(script)}
    assert reasons == {"soon": "recovered", "gone": "certificate_deleted"}
    assert script.get(f"/alert-rules/{rule['id']}")["firing"] == 0


# ---- no flapping ----


def test_what_comes_and_goes_does_not_flap(
    app: Flask, script: Script, fleet: Fleet, hook: dict[str, Any], turn: Turn
) -> None:
    """By a rule that fires at once it fires once and goes on; by one that waits it never fires."""
    agent, pipeline = fleet
    make(script, "node_unreachable", name="at once", forSeconds=0)
    make(script, "node_unreachable", name="waits", forSeconds=60)
    make(script, "pipeline_failed", name="failed", forSeconds=0)
    turn()
    for _ in range(5):
        heartbeat(agent, pipeline, "CRASH_LOOP")
        silent(app, agent)
        turn(after=40)
        heartbeat(agent, pipeline)
        turn(after=40)
    assert sorted(each["rule"] for each in alerts(script)) == ["at once"]
    assert [event for event, _ in told(script, hook)] == ["alert.firing"]
    heartbeat(agent, pipeline, "CRASH_LOOP")
    turn(after=40)
    for _ in range(5):
        heartbeat(agent, pipeline)
        turn(after=40)
        heartbeat(agent, pipeline, "CRASH_LOOP")
        turn(after=40)
    assert [(event, data["rule"]) for event, data in told(script, hook)] == [
        ("alert.firing", "at once"),
        ("alert.firing", "failed"),
        ("alert.resolved", "at once"),  # whose node was heard of all this time
    ]
    assert [each["rule"] for each in alerts(script, state="FIRING")] == ["failed"]


def test_a_value_within_the_margin_neither_fires_nor_is_resolved(
    app: Flask, script: Script, fleet: Fleet, turn: Turn
) -> None:
    """A tenth of the threshold."""
    agent, pipeline = fleet
    make(script, "errors_above", threshold=100, forSeconds=0)
    counted(app, agent, pipeline, "errorsTotal", 95)
    assert turn() == 0
    assert alerts(script) == []
    counted(app, agent, pipeline, "errorsTotal", 200)
    assert turn() == 1
    counted(app, agent, pipeline, "errorsTotal", 95)
    turn()
    assert turn(after=1000) == 0
    assert states(script) == ["FIRING"]
    counted(app, agent, pipeline, "errorsTotal", 80)
    turn()
    assert turn(after=1000) == 1


# ---- missing data ----


def test_what_nobody_knows_neither_fires_nor_is_resolved(
    app: Flask, script: Script, environment_id: str, fleet: Fleet, turn: Turn
) -> None:
    """No metrics yet, no heartbeat lately; a node that has never reported; a pipeline that does not run."""
    agent, pipeline = fleet
    (never,) = enroll(script, environment_id, "never")
    for kind in ("errors_above", "discarded_above", "throughput_below"):
        make(script, kind, threshold=1, forSeconds=0)
    make(script, "node_unreachable", forSeconds=0)
    turn()
    assert turn(after=1000) == 0
    assert alerts(script) == [], "one heartbeat says no rate"
    counted(app, agent, pipeline, "errorsTotal", 50)
    assert turn() == 1
    heartbeat(agent, pipeline, errorsTotal=1500)
    silent(app, agent)
    turn()
    assert turn(after=1000) == 0
    fired = {alert["kind"]: alert["state"] for alert in alerts(script)}
    assert fired == {"errors_above": "FIRING", "node_unreachable": "FIRING"}
    heartbeat(agent, pipeline, "STARTING", errorsTotal=1500, eventsOut=0)
    turn()
    assert "throughput_below" not in {alert["kind"] for alert in alerts(script)}
    assert node_id(never) not in {alert["nodeId"] for alert in alerts(script)}


def test_after_an_outage_of_the_server_what_was_pending_begins_anew(
    app: Flask, script: Script, environment_id: str, fleet: Fleet, turn: Turn
) -> None:
    """Then all nodes were silent: not before somebody has watched for as long as one may be; what fires goes on."""
    agent, pipeline = fleet
    make(script, "node_unreachable", forSeconds=60)
    make(script, "pipeline_failed", name="failed", forSeconds=60)
    heartbeat(agent, pipeline, "CRASHED")
    turn()
    assert states(script) == ["PENDING"]
    # an hour in which nobody evaluated, and nobody could report
    hour_ago = utc_now() - timedelta(hours=1)
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(update(Node).values(last_seen_at=hour_ago))
        connection.execute(update(AlertRule).values(evaluated_at=hour_ago))
        connection.execute(update(Alert).values(since=hour_ago))
        connection.execute(update(Lease).values(expires_at=hour_ago))
    assert turn(holder="b") == 0
    assert states(script) == ["PENDING"]
    assert turn(after=70, holder="b") == 1
    assert [alert["rule"] for alert in alerts(script)] == ["failed"]


def test_while_redis_is_away_nobody_is_said_to_be_unreachable(
    app: Flask, script: Script, environment_id: str, fleet: Fleet, turn: Turn, database_url: str
) -> None:
    """Who is connected is unknown then; what else is looked at goes on."""
    agent, pipeline = fleet
    (other,) = enroll(script, environment_id, "edge-02")
    make(script, "node_unreachable", forSeconds=0)
    make(script, "pipeline_failed", name="failed", forSeconds=0)
    turn()
    heartbeat(other, pipeline, "CRASHED")
    silent(app, agent)
    settings = {
        **SECRETS,
        "SIGNALBOX_DATABASE_URL": database_url,
        "SIGNALBOX_REDIS_URL": "redis://127.0.0.1:1/0",
        "SIGNALBOX_REDIS_PREFIX": "nowhere:",
    }
    blind = create_app(Settings.from_environ(settings))
    with blind.app_context():
        assert alert_evaluation.evaluate("a", INTERVAL) == 1
        body = {**RULE, "kind": "node_unreachable"}
        seen = Script(blind.test_client(), script.token).post("/alert-rules/preview", body, 200)
        assert (seen["subjects"], seen["bad"], seen["unknown"]) == (2, 0, 1)
        db.engine.dispose()
    assert [alert["rule"] for alert in alerts(script)] == ["failed"]
    assert turn() == 1
    assert len(alerts(script)) == 2


# ---- what ends an alert ----


@pytest.mark.parametrize(
    ("reason", "end"),
    [
        (
            "maintenance",
            lambda script, ids: script.call("PATCH", f"/nodes/{ids['node']}", {"maintenanceMode": True}),
        ),
        ("node_revoked", lambda script, ids: script.call("POST", f"/nodes/{ids['node']}/revoke")),
        ("node_deleted", lambda script, ids: script.call("DELETE", f"/nodes/{ids['node']}")),
        ("rule_deleted", lambda script, ids: script.call("DELETE", f"/alert-rules/{ids['rule']}")),
        (
            "rule_disabled",
            lambda script, ids: script.call("PATCH", f"/alert-rules/{ids['rule']}", {"enabled": False}),
        ),
        (
            "out_of_scope",
            lambda script, ids: script.call(
                "PATCH", f"/alert-rules/{ids['rule']}", {"nodeSelector": "zone=b"}
            ),
        ),
        ("pipeline_stopped", lambda script, ids: ids["agent"].call("POST", "/heartbeat", {"pipelines": []})),
    ],
)
def test_what_is_gone_or_set_aside_is_resolved_with_that_reason(
    app: Flask,
    script: Script,
    fleet: Fleet,
    hook: dict[str, Any],
    turn: Turn,
    reason: str,
    end: Callable[..., Any],
) -> None:
    """At once and once; what was only pending is forgotten, and told to nobody."""
    agent, pipeline = fleet
    rule = make(script, "pipeline_failed", forSeconds=0)
    other = make(script, "pipeline_failed", name="pending", forSeconds=600)
    heartbeat(agent, pipeline, "CRASHED")
    assert turn() == 1
    assert sorted(states(script)) == ["FIRING", "PENDING"]
    ids = {"node": node_id(agent), "rule": rule["id"], "agent": agent}
    assert end(script, ids).status_code in (200, 204)
    turn()
    turn()
    first = next(alert for alert in alerts(script) if alert["ruleId"] == rule["id"])
    assert (first["state"], first["resolvedReason"]) == ("RESOLVED", reason)
    assert (first["node"], first["pipeline"], first["rule"]) == ("edge-01", "access-log", "rule")
    assert [event for event, _ in told(script, hook)] == ["alert.firing", "alert.resolved"]
    left = [alert for alert in alerts(script) if alert["ruleId"] == other["id"]]
    assert len(left) == (1 if reason in ("rule_deleted", "rule_disabled", "out_of_scope") else 0)


def test_a_rule_of_one_pipeline_whose_pipeline_is_deleted_says_so(
    app: Flask, script: Script, fleet: Fleet, turn: Turn
) -> None:
    """Its alert is resolved; the rule stays, broken, until somebody deletes it."""
    agent, pipeline = fleet
    rule = make(script, "pipeline_failed", forSeconds=0, pipelineId=pipeline)
    heartbeat(agent, pipeline, "CRASHED")
    assert turn() == 1
    script.post(f"/pipelines/{pipeline}/undeploy", {}, 200)
    assert script.call("DELETE", f"/pipelines/{pipeline}").status_code == 204
    turn()
    assert alerts(script)[0]["resolvedReason"] in ("pipeline_deleted", "pipeline_stopped")
    row = script.get(f"/alert-rules/{rule['id']}")
    assert "deleted" in row["problem"]
    assert row["problemSince"] is not None


def test_an_environment_that_is_deleted_tells_of_what_fired_in_it(
    script: Script, environment_id: str, hook: dict[str, Any], turn: Turn
) -> None:
    """Its alerts go with it; whoever was told that they fire is told that they do not."""
    make(script, "certificate_expires", threshold=30, forSeconds=0)
    body = {"filename": "c.pem", "data": base64.b64encode(pem(days=1)).decode()}
    succeeded(script.call("PUT", f"/environments/{environment_id}/certificates/c", body), 200)
    assert turn() == 1
    assert script.call("DELETE", f"/environments/{environment_id}").status_code == 204
    (_, _), (event, data) = told(script, hook)
    assert (event, data["alerts"][0]["resolvedReason"]) == ("alert.resolved", "environment_deleted")
    assert turn() == 0
    assert alerts(script) == []


# ---- broken rules, lost leases ----


def test_a_broken_rule_says_why_and_stops_no_other(
    app: Flask, script: Script, fleet: Fleet, turn: Turn
) -> None:
    """Its alerts stay as they were; mended, it goes on."""
    agent, pipeline = fleet
    broken = make(script, "pipeline_failed", name="broken", forSeconds=0)
    make(script, "pipeline_failed", name="fine", forSeconds=600)
    heartbeat(agent, pipeline, "CRASHED")
    assert turn() == 1
    with app.app_context(), db.engine.begin() as connection:
        values = {"node_selector": "zone in (", "revision": 7}
        connection.execute(update(AlertRule).where(AlertRule.id == broken["id"]).values(**values))
    heartbeat(agent, pipeline)
    assert turn() == 0
    row = script.get(f"/alert-rules/{broken['id']}")
    assert "cannot be read" in row["problem"]
    assert [alert["state"] for alert in alerts(script)] == ["FIRING"], (
        "the other one's was pending and is well"
    )
    succeeded(script.call("PATCH", f"/alert-rules/{broken['id']}", {"nodeSelector": ""}), 200)
    turn()
    row = script.get(f"/alert-rules/{broken['id']}")
    assert (row["problem"], row["problemSince"]) == (None, None)
    assert turn(after=100) == 1


def test_one_worker_evaluates_and_one_that_has_lost_the_lease_writes_nothing(
    app: Flask, script: Script, fleet: Fleet, hook: dict[str, Any], turn: Turn
) -> None:
    """Not in a turn of another one's, and not when it wakes in the middle of its own."""
    agent, pipeline = fleet
    rule_id = make(script, "pipeline_failed", forSeconds=0)["id"]
    turn()
    heartbeat(agent, pipeline, "CRASHED")
    assert turn(holder="b") == 0
    with app.app_context():
        frozen = leases.take(alert_evaluation.LEASE, "a", timedelta(seconds=30))
        assert frozen is not None
        rule = db.session.get(AlertRule, rule_id)
        assert rule is not None
        db.session.expunge(rule)
        past = utc_now() - timedelta(seconds=1)
        transaction(lambda session: session.execute(update(Lease).values(expires_at=past)) and None)

        def evaluate() -> int:
            return alert_evaluation.evaluate_rule(
                frozen, rule, alert_evaluation.GAP, server_settings.intervals()
            )

        with pytest.raises(leases.LeaseLostError):
            evaluate()
        assert (alerts(script), told(script, hook)) == ([], [])
        # nor does one that holds the lease, by a rule that was changed meanwhile
        held = leases.take(alert_evaluation.LEASE, "a", timedelta(seconds=30))
        assert held is not None
        succeeded(script.call("PATCH", f"/alert-rules/{rule_id}", {"nodeSelector": "zone=b"}), 200)
        assert (
            alert_evaluation.evaluate_rule(held, rule, alert_evaluation.GAP, server_settings.intervals()) == 0
        )
        assert alerts(script) == []
        alert_evaluation.stop("a", INTERVAL)
    succeeded(script.call("PATCH", f"/alert-rules/{rule_id}", {"nodeSelector": ""}), 200)
    assert turn(holder="b") == 1
    assert len(told(script, hook)) == 1


def test_the_database_itself_holds_no_second_open_alert(
    app: Flask, script: Script, environment_id: str
) -> None:
    """Of one rule and subject; resolved ones may be many."""
    now = utc_now()
    same = {
        "rule_id": new_id(),
        "environment_id": environment_id,
        "subject": "s",
        "rule_name": "r",
        "kind": "k",
    }

    def add(*wanted: str) -> Callable[[Any], None]:
        return lambda session: session.add_all(
            Alert(id=new_id(), severity="info", state=state, since=now, text="t", **same) for state in wanted
        )

    with app.app_context():
        transaction(add("RESOLVED", "RESOLVED", "FIRING"))
        with pytest.raises(IntegrityError):
            transaction(add("PENDING"))


# ---- rules and lists ----


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"kind": "nope"}, "kind"),
        ({"threshold": 5}, "threshold"),
        ({"kind": "errors_above"}, "threshold"),
        ({"kind": "throughput_below", "threshold": 0}, "threshold"),
        ({"kind": "certificate_expires", "threshold": 5, "nodeSelector": "a=b"}, "nodeSelector"),
        ({"nodeSelector": "a in ("}, "nodeSelector"),
        ({"forSeconds": 8 * 86400}, "forSeconds"),
        ({"clearSeconds": 29}, "clearSeconds"),
        ({"severity": "loud"}, "severity"),
        ({"pipelineId": "0" * 32}, "pipelineId"),
        ({"name": " "}, "name"),
    ],
)
def test_a_rule_that_cannot_be_used_is_refused_by_field(
    script: Script, body: dict[str, Any], field: str
) -> None:
    """To be made, to be previewed; nothing is kept."""
    wanted = {**RULE, "kind": "node_unreachable", **body}
    refused(script.call("POST", "/alert-rules", wanted), 400, field)
    refused(script.call("POST", "/alert-rules/preview", wanted), 400, field)
    assert script.get("/alert-rules")["items"] == []


def test_a_rule_is_changed_and_the_audit_log_knows(script: Script, environment_id: str) -> None:
    """Before and after; its kind and its environment stay."""
    rule = make(script, "errors_above", threshold=5, environmentId=environment_id)
    path = f"/alert-rules/{rule['id']}"
    changed = succeeded(script.call("PATCH", path, {"threshold": 7.5, "severity": "critical"}), 200)
    assert (changed["threshold"], changed["severity"], changed["forSeconds"]) == (7.5, "critical", 60)
    refused(script.call("PATCH", path, {"threshold": None}), 400, "threshold")
    entry = script.get("/audit", action="alert_rule.update")["items"][0]
    assert entry["detail"]["before"] == {"threshold": 5.0, "severity": "warning"}
    assert entry["detail"]["after"] == {"threshold": 7.5, "severity": "critical"}
    assert script.call("DELETE", path).status_code == 204
    refused(script.call("GET", path), 404)


def test_rules_and_alerts_of_an_environment_are_seen_by_those_who_may_see_it(
    app: Flask, script: Script, environment_id: str, fleet: Fleet, turn: Turn
) -> None:
    """Paged and filtered; a rule of all environments is nothing for a token of one."""
    agent, pipeline = fleet
    other = script.post("/environments", {"name": "other"})["id"]
    wheres: list[dict[str, Any]] = [{"environmentId": environment_id}, {"environmentId": other}, {}]
    ids = [make(script, "pipeline_failed", forSeconds=0, **where)["id"] for where in wheres]
    heartbeat(agent, pipeline, "CRASHED")
    assert turn() == 2
    here, there = make_script(app, "editor", environment_id), make_script(app, "editor", other)
    assert [each["id"] for each in here.get("/alert-rules")["items"]] == [ids[0]]
    assert len(alerts(here)) == 2
    assert alerts(there) == []
    alert = alerts(here)[0]
    refused(there.call("GET", f"/alerts/{alert['id']}"), 404)
    refused(there.call("POST", f"/alerts/{alert['id']}/acknowledge"), 404)
    refused(here.call("PATCH", f"/alert-rules/{ids[2]}", {"name": "x"}), 404)
    refused(here.call("POST", "/alert-rules", {**RULE, "kind": "node_unreachable"}), 403)
    body = {**RULE, "kind": "node_unreachable", "environmentId": other}
    refused(here.call("POST", "/alert-rules", body), 404)

    page = script.get("/alerts", limit="1", state="FIRING")
    rest = script.get("/alerts", limit="1", state="FIRING", cursor=page["nextCursor"])
    assert {each["id"] for each in page["items"] + rest["items"]} == {each["id"] for each in alerts(script)}
    assert rest["nextCursor"] is None
    assert [each["ruleId"] for each in alerts(script, ruleId=ids[0])] == [ids[0]]
    assert alerts(script, environmentId=other) == []
    refused(script.call("GET", "/alerts", state="LOUD"), 400, "state")


def test_a_selector_reads_the_labels_that_each_environment_allows(
    app: Flask, script: Script, environment_id: str, turn: Turn
) -> None:
    """As pipelines' selectors do: an agent's own labels count where their keys are allowed."""
    other = script.post("/environments", {"name": "other"})["id"]
    succeeded(script.call("PATCH", f"/environments/{other}", {"selectableAgentLabels": ["zone"]}), 200)
    agents = [enroll(script, each, name)[0] for each, name in ((environment_id, "own"), (other, "allowed"))]
    for agent in agents:
        agent.post("/heartbeat", {"pipelines": [], "labels": {"zone": "a"}}, 200)
    (labelled,) = enroll(script, environment_id, "labelled")
    labelled.post("/heartbeat", {"pipelines": []}, 200)
    succeeded(script.call("PATCH", f"/nodes/{node_id(labelled)}", {"labels": {"zone": "a"}}), 200)
    make(script, "node_unreachable", nodeSelector="zone=a", forSeconds=0)
    turn()
    for agent in (*agents, labelled):
        silent(app, agent)
    seen = script.post(
        "/alert-rules/preview", {**RULE, "kind": "node_unreachable", "nodeSelector": "zone=a"}, 200
    )
    assert (seen["subject"], seen["subjects"], seen["bad"], len(seen["examples"])) == ("node", 2, 2, 2)
    assert turn() == 2
    assert {alert["node"] for alert in alerts(script)} == {"allowed", "labelled"}


def test_an_alert_is_acknowledged_once(app: Flask, script: Script, fleet: Fleet, turn: Turn) -> None:
    """By name, in the audit log; it goes on firing."""
    agent, pipeline = fleet
    make(script, "pipeline_failed")
    heartbeat(agent, pipeline, "CRASHED")
    turn()
    path = f"/alerts/{alerts(script)[0]['id']}/acknowledge"
    assert "not fire yet" in refused(script.call("POST", path), 409)
    turn(after=70)
    assert script.post(path, status=200)["acknowledgedBy"] == "token tests"
    refused(script.call("POST", path), 409)
    assert states(script) == ["FIRING"]
    assert script.get("/audit", action="alert.acknowledge")["items"][0]["detail"]["rule"] == "rule"
