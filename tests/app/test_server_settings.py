"""The settings that people change while the server runs."""

from dataclasses import replace

import pytest
from flask import Flask

from app import server_settings
from app.clock import utc_now
from app.fleet_size import MOST_STRETCHED_MS, stretched_ms
from app.node_status import Clock
from app.server_settings import TABLE
from tests.app.conftest import Script, enroll, refused, succeeded
from tests.support.api import AgentByHand, Operator
from tests.support.until import until

DEFAULTS = {
    "pollIntervalMs": 15000,
    "idlePollIntervalMs": 300000,
    "heartbeatIntervalMs": 15000,
    "idleHeartbeatIntervalMs": 60000,
}
ALL = {
    **DEFAULTS,
    "minuteMetricsHours": 48,
    "hourMetricsDays": 35,
    "dayMetricsDays": 730,
    "nodeLogDays": 7,
    "sampleDays": 1,
    "deploymentDays": 180,
    "versionsKept": 100,
    "channelHistoryDays": 14,
    "webhookDeliveryDays": 14,
    "sessionIdleHours": 12,
    "sessionDays": 14,
    "alertDays": 90,
    "deployRequestHours": 24,
    "deployRequestDays": 180,
    "endedTokenDays": 90,
    "unseenNodeDays": 0,
}


def test_intervals_begin_as_the_server_was_started_and_change_by_name(
    script: Script, environment_id: str
) -> None:
    """What is changed is in the next config answer, under another ETag; the rest stays."""
    (agent,) = enroll(script, environment_id, "n")
    assert script.get("/settings") == ALL
    before = agent.call("GET", "/config")
    changed = {"idlePollIntervalMs": 600_000, "heartbeatIntervalMs": 1000}
    assert succeeded(script.call("PATCH", "/settings", changed), 200) == {**ALL, **changed}
    assert script.get("/settings") == {**ALL, **changed}
    after = agent.call("GET", "/config")
    assert {name: after.get_json()[name] for name in DEFAULTS} == {**DEFAULTS, **changed}
    assert after.headers["ETag"] != before.headers["ETag"]
    assert after.get_json()["configRevision"] == before.get_json()["configRevision"]
    entry = script.get("/audit")["items"][0]
    assert (entry["action"], entry["detail"]["after"]) == ("settings.update", changed)


@pytest.mark.parametrize("value", [0, 999, 24 * 3600 * 1000 + 1, 2**31])
def test_an_interval_outside_of_a_second_to_a_day_is_400(script: Script, value: int) -> None:
    """Named, and nothing of the same body is changed."""
    body = {"pollIntervalMs": 5000, "idlePollIntervalMs": value}
    refused(script.call("PATCH", "/settings", body), 400, "idlePollIntervalMs")
    assert script.get("/settings") == ALL


def test_a_changed_interval_is_pushed(operator: Operator) -> None:
    """The poll interval by its own message; the others stand in the config answer, which is fetched again."""
    environment = operator.create_environment("settings")
    agent = AgentByHand(operator.url)
    agent.enroll(operator.enrollment_token(environment["id"]))
    revision = agent.config().json()["configRevision"]
    agent.heartbeat(configRevision=revision)
    with agent.connect({"X-Config-Revision": revision}) as channel:
        until(lambda: operator.node(agent.node_id)["push"]["connected"], what="the badge")
        operator.call("PATCH", "/settings", {"pollIntervalMs": 20_000})
        assert channel.read_message() == {"type": "poll_interval", "intervalMs": 20_000}
        operator.call("PATCH", "/settings", {"pollIntervalMs": 20_000})  # the same again tells nobody
        operator.call("PATCH", "/settings", {"idlePollIntervalMs": 200_000})
        message = channel.read_message()
        assert (message["type"], message["reason"]) == ("config_changed", "resync")
        assert agent.config().json()["idlePollIntervalMs"] == 200_000
    operator.call("PATCH", "/settings", DEFAULTS)


def test_every_setting_says_its_unit_and_bounds(script: Script) -> None:
    """What is kept for how long is changed like an interval, within its own bounds, and audited."""
    assert [each.name for each in TABLE] == list(ALL)
    for each in TABLE:
        assert each.label, each
        assert each.help.endswith("."), each
        assert each.least <= ALL[each.name] <= each.most, each
        for value in (each.least - 1, each.most + 1):
            if value >= 0:
                refused(script.call("PATCH", "/settings", {each.name: value}), 400, each.name)
    succeeded(script.call("PATCH", "/settings", {"unseenNodeDays": 3, "deploymentDays": 30}), 200)
    assert script.get("/settings") == {**ALL, "unseenNodeDays": 3, "deploymentDays": 30}
    detail = script.get("/audit")["items"][0]["detail"]
    assert detail["before"] == {"unseenNodeDays": 0, "deploymentDays": 180}


@pytest.mark.parametrize("nodes", [0, 1, 499, 7500, 7501, 10_000, 30_000, 30_001, 100_000])
@pytest.mark.parametrize("interval_ms", [5000, 15_000, 60_000])
def test_the_heartbeats_of_a_fleet_stay_within_their_budget(nodes: int, interval_ms: int) -> None:
    """Never more often than was set, never half as often as the budget allows."""
    stretched = stretched_ms(interval_ms, nodes, 500)
    assert stretched >= interval_ms
    assert nodes * 1000 / stretched <= 500
    assert stretched == interval_ms or nodes * 1000 / stretched > 250
    assert stretched % interval_ms == 0
    assert stretched_ms(interval_ms, 10**9, 1) <= MOST_STRETCHED_MS, "nobody is told to report never"


def test_a_fleet_that_outgrows_its_budget_is_told_to_report_less_often(
    app: Flask, script: Script, environment_id: str
) -> None:
    """And is given that much longer before it counts as out of reach. Polls stay as they are."""
    agents = enroll(script, environment_id, *(f"n{number}" for number in range(5)))
    idle = agents[0].get("/config")
    assert 3_600_000 / idle["idlePollIntervalMs"] + 3_600_000 / idle["idleHeartbeatIntervalMs"] <= 72
    with app.app_context():
        settings = replace(app.extensions["settings"], heartbeat_budget=1, heartbeat_interval_ms=1000)
        app.extensions["settings"] = settings
        clock = Clock(server_settings.intervals(), utc_now())
    told = agents[0].get("/config")
    assert told["heartbeatIntervalMs"] == clock.intervals.heartbeat_interval_ms == 8000
    assert {name: told[name] for name in DEFAULTS} == {**DEFAULTS, "heartbeatIntervalMs": 8000}
    assert script.get("/settings")["heartbeatIntervalMs"] == 1000, "what was set stays set"
