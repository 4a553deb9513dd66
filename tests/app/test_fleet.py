"""The read model: what nodes run and should run, who follows, who answers, and the counts of all that."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from threading import Thread
from typing import Any, NamedTuple

import pytest
from flask import Flask
from sqlalchemy import event, select, update

from app import create_app, fleet, fleet_filter, paging, selectors
from app.clock import utc_now
from app.config import Settings
from app.database import db, transaction
from app.errors import InvalidInputError
from app.models import Environment, Node
from app.node_status import Clock, NodeStatus
from app.push.entries import Entry
from app.server_settings import Intervals
from tests.app.conftest import Script, enroll, make_script, node_id, refused, succeeded
from tests.support.until import until
from tools.redis_server import RedisServer


def deploy(script: Script, pipeline_id: str) -> int:
    version: int = script.post(f"/pipelines/{pipeline_id}/deploy", status=200)["version"]
    return version


def beat(agent: Script, *pipelines: dict[str, Any], **more: object) -> None:
    agent.post("/heartbeat", {"pipelines": list(pipelines), **more}, 200)


def running(pipeline_id: str, version: int, **more: object) -> dict[str, Any]:
    return {"pipelineId": pipeline_id, "version": version, "status": "RUNNING", **more}


def row_of(script: Script, agent: Script) -> Any:
    return script.get(f"/nodes/{node_id(agent)}")


# ---- what runs and what should ----


def test_a_node_shows_what_runs_beside_what_should(
    script: Script, environment_id: str, pipeline_id: str
) -> None:
    """From the deploy to the heartbeat: wanted, behind, running, followed."""
    (agent,) = enroll(script, environment_id, "n")
    assert row_of(script, agent)["behind"] is False
    deploy(script, pipeline_id)
    state = {"pipelineId": pipeline_id, "name": "access-log", "error": None, "failedVersion": None}
    row = row_of(script, agent)
    assert row["behind"] is True
    assert row["pipelines"] == [{**state, "version": None, "wantedVersion": 1, "status": "PENDING"}]
    revision = agent.get("/config")["configRevision"]
    beat(agent, running(pipeline_id, 1), configRevision=revision)
    row = row_of(script, agent)
    assert (row["behind"], row["status"]) == (False, "HEALTHY")
    assert row["pipelines"] == [{**state, "version": 1, "wantedVersion": 1, "status": "RUNNING"}]
    deploy(script, pipeline_id)
    row = row_of(script, agent)
    assert row["behind"] is True
    assert row["pipelines"] == [{**state, "version": 1, "wantedVersion": 2, "status": "RUNNING"}]


def test_what_was_tried_and_failed_is_shown_and_counts_as_followed(
    script: Script, environment_id: str, pipeline_id: str
) -> None:
    """The version that runs, the one that did not, and why."""
    (agent,) = enroll(script, environment_id, "n")
    deploy(script, pipeline_id)
    good = agent.get("/config")["configRevision"]
    deploy(script, pipeline_id)
    tried = agent.get("/config")["configRevision"]
    failed = running(pipeline_id, 1, failedVersion=2, error="no such component")
    beat(agent, failed, configRevision=good, triedRevision=tried)
    row = row_of(script, agent)
    assert row["behind"] is False
    state = row["pipelines"][0]
    assert (state["version"], state["wantedVersion"], state["failedVersion"]) == (1, 2, 2)
    assert state["error"] == "no such component"
    assert [each["name"] for each in script.get("/nodes", status="FAILED")["items"]] == ["n"]


@pytest.mark.parametrize(
    ("status", "failed_version", "runs"),
    [("FAILED", 1, None), ("FAILED", 2, 1), ("CRASHED", 1, 1), ("CRASH_LOOP", 1, 1), ("RUNNING", 2, 1)],
)
def test_a_version_that_failed_before_it_ran_does_not_count_as_running(
    script: Script, environment_id: str, pipeline_id: str, status: str, failed_version: int, runs: int | None
) -> None:
    """Unlike one that crashed, and unlike the one before it, which goes on."""
    (agent,) = enroll(script, environment_id, "n")
    for _ in range(failed_version):
        deploy(script, pipeline_id)
    beat(
        agent,
        {"pipelineId": pipeline_id, "version": 1, "status": status, "failedVersion": failed_version},
        triedRevision=agent.get("/config")["configRevision"],
    )
    row = row_of(script, agent)
    state = row["pipelines"][0]
    assert (state["version"], state["wantedVersion"]) == (runs, failed_version)
    assert (state["status"], state["failedVersion"], row["behind"]) == (status, failed_version, False)


def test_an_agent_that_reports_no_revision_is_judged_by_its_versions(
    script: Script, environment_id: str, pipeline_id: str
) -> None:
    """As older agents must be (hazard 8)."""
    (agent,) = enroll(script, environment_id, "n")
    deploy(script, pipeline_id)
    beat(agent, running(pipeline_id, 1))
    assert row_of(script, agent)["behind"] is False
    deploy(script, pipeline_id)
    assert row_of(script, agent)["behind"] is True
    assert [each["name"] for each in script.get("/nodes", status="behind")["items"]] == ["n"]


def test_a_pipeline_that_should_no_longer_run_is_shown_until_the_node_drops_it(
    script: Script, environment_id: str, pipeline_id: str
) -> None:
    """With no wanted version."""
    (agent,) = enroll(script, environment_id, "n")
    deploy(script, pipeline_id)
    beat(agent, running(pipeline_id, 1))
    script.post(f"/pipelines/{pipeline_id}/undeploy", status=200)
    state = row_of(script, agent)["pipelines"][0]
    assert (state["version"], state["wantedVersion"]) == (1, None)
    beat(agent)
    assert row_of(script, agent)["pipelines"] == []


def test_events_a_second_come_from_two_heartbeats(
    app: Flask, script: Script, environment_id: str, pipeline_id: str
) -> None:
    """Unknown before there are two."""
    (agent,) = enroll(script, environment_id, "n")
    deploy(script, pipeline_id)
    beat(agent, running(pipeline_id, 1, eventsIn=10, eventsOut=5))
    with app.app_context():
        state = fleet.node(node_id(agent)).pipelines[0]
        assert (state.events_in, state.events_out, state.events_in_rate) == (10, 5, None)
        transaction(
            lambda session: (
                session.execute(
                    db.text("UPDATE node_pipeline SET reported_at = :then"),
                    {"then": "2020-01-01 00:00:00.000000"},
                )
                and None
            )
        )
    beat(agent, running(pipeline_id, 1, eventsIn=10**9, eventsOut=10**9))
    with app.app_context():
        state = fleet.node(node_id(agent)).pipelines[0]
        assert state.events_in_rate is not None
        assert state.events_in_rate > 0


# ---- who answers ----

INTERVALS = Intervals(
    poll_interval_ms=15_000,
    idle_poll_interval_ms=300_000,
    heartbeat_interval_ms=15_000,
    idle_heartbeat_interval_ms=60_000,
)


class Seen(NamedTuple):
    """When a node was heard from."""

    last_seen_at: datetime | None
    last_heartbeat_at: datetime | None
    revoked_at: datetime | None = None


@pytest.mark.parametrize(
    ("connected", "seconds", "status"),
    [
        (True, 10_000, NodeStatus.HEALTHY),
        (False, 44, NodeStatus.HEALTHY),
        (False, 46, NodeStatus.UNREACHABLE),
        (None, 179, NodeStatus.HEALTHY),
        (None, 181, NodeStatus.UNREACHABLE),
    ],
)
def test_a_node_is_unreachable_after_three_missed_heartbeats(
    connected: bool | None, seconds: int, status: NodeStatus
) -> None:
    """At least 45 seconds; a node that is connected is alive; while presence is unknown, by last-seen alone."""
    now = utc_now()
    seen = now - timedelta(seconds=seconds)
    assert Clock(INTERVALS, now).status(Seen(seen, seen), connected) is status


def test_three_missed_heartbeats_are_never_less_than_45_seconds() -> None:
    """Also where heartbeats come each second, and a node that never sent one is unknown."""
    now = utc_now()
    clock = Clock(Intervals(1000, 1000, 1000, 1000), now)
    assert clock.status(Seen(now - timedelta(seconds=44), now), False) is NodeStatus.HEALTHY
    assert clock.status(Seen(now - timedelta(seconds=46), now), False) is NodeStatus.UNREACHABLE
    assert clock.status(Seen(now, None), True) is NodeStatus.UNKNOWN


def set_node(app: Flask, agent: Script, **values: object) -> None:
    with app.app_context():
        transaction(
            lambda session: (
                session.execute(update(Node).where(Node.id == node_id(agent)).values(**values)) and None
            )
        )


# ---- lists and counts ----


def test_nodes_are_filtered_by_each_thing_that_is_asked(
    app: Flask, script: Script, environment_id: str, pipeline_id: str
) -> None:
    """Environment, status, connected, label, a part of the name; and by several at once."""
    alive, silent, fresh = enroll(script, environment_id, "web-1", "WEB-2", "db%1", labels={"own": "1"})
    other = script.post("/environments", {"name": "other"})["id"]
    enroll(script, other, "web-9")
    for agent in (alive, silent):
        beat(agent, configRevision=agent.get("/config")["configRevision"])
    set_node(app, silent, last_seen_at=utc_now() - timedelta(hours=1))
    succeeded(script.call("PATCH", f"/nodes/{node_id(alive)}", {"labels": {"zone": "a"}}), 200)

    def found(**query: str) -> list[str]:
        return [row["name"] for row in script.get("/nodes", **query)["items"]]

    everything = sorted(["web-1", "WEB-2", "db%1", "web-9"])
    assert sorted(found()) == everything
    assert found(environmentId=other) == ["web-9"]
    assert found(environmentId="nope") == []
    assert found(status="HEALTHY") == ["web-1"]
    assert found(status="unreachable") == ["WEB-2"]
    assert sorted(found(status="UNKNOWN")) == ["db%1", "web-9"]
    assert found(status="FAILED") == found(status="BEHIND") == []
    assert found(connected="true") == []
    assert sorted(found(connected="false")) == everything
    assert found(label="zone=a") == ["web-1"]
    assert sorted(found(label="own=1,!zone")) == ["WEB-2", "db%1"]
    assert sorted(found(q="web")) == sorted(["web-1", "WEB-2", "web-9"])
    assert found(q="%") == ["db%1"]
    assert found(q="web", status="HEALTHY", label="zone in (a)", environmentId=environment_id) == ["web-1"]
    for query in ({"status": "dead"}, {"connected": "yes"}, {"label": "a=b=c"}):
        refused(script.call("GET", "/nodes", **query), 400, *query)
    assert fresh.get("/config")["pipelines"] == []


def test_what_only_redis_and_the_plans_know_pages_like_any_other_filter(
    app: Flask, script: Script, environment_id: str, pipeline_id: str
) -> None:
    """Each match once and in order: connected or not, behind, and what follows from both."""
    agents = enroll(script, environment_id, *(f"n{number:02}" for number in range(12)))
    connect(app, *agents[::2])
    deploy(script, pipeline_id)
    for agent in agents[6:]:
        set_node(app, agent, running_revision=agent.get("/config")["configRevision"])
    now, long_ago = utc_now(), utc_now() - timedelta(hours=1)
    for number, agent in enumerate(agents):
        set_node(app, agent, last_heartbeat_at=now, last_seen_at=now if number % 3 else long_ago)

    def found(**query: str) -> list[int]:
        names: list[str] = []
        page = script.get("/nodes", limit="4", **query)
        while True:
            names += [row["name"] for row in page["items"]]
            if page["nextCursor"] is None:
                return [int(name[1:]) for name in names]
            page = script.get("/nodes", limit="4", cursor=page["nextCursor"], **query)

    assert found(connected="true") == [0, 2, 4, 6, 8, 10]
    assert found(connected="false") == [1, 3, 5, 7, 9, 11]
    assert found(status="HEALTHY") == [0, 1, 2, 4, 5, 6, 7, 8, 10, 11]
    assert found(status="UNREACHABLE") == [3, 9]
    assert found(status="BEHIND") == [0, 1, 2, 3, 4, 5]
    with app.app_context():
        counts = fleet.counts(environment_id)
    assert (counts.connected, counts.unreachable, counts.behind) == (6, 2, 6)


def connect(app: Flask, *agents: Script) -> None:
    """Say in Redis that a worker holds a channel of each of these."""
    registry = app.extensions["switchboard"]._registry
    registry.renew_lease("w", "host:1")
    since_ms = int(utc_now().timestamp() * 1000)
    registry.restore(
        {node_id(each): Entry(1, node_id(each), "w", "ws", since_ms, "host:1", "-", True) for each in agents}
    )


def test_by_status_the_worst_come_first(
    app: Flask, script: Script, environment_id: str, pipeline_id: str
) -> None:
    """As the badges say: failed, unreachable, behind, in maintenance, never seen, healthy; revoked ones last."""
    names = ("revoked", "healthy-1", "fresh", "paused", "healthy-2", "behind", "silent", "failed")
    agents = dict(zip(names, enroll(script, environment_id, *names), strict=True))
    deploy(script, pipeline_id)
    succeeded(script.call("PATCH", f"/nodes/{node_id(agents['paused'])}", {"maintenanceMode": True}), 200)
    for name in ("healthy-1", "paused", "healthy-2", "silent", "revoked"):
        beat(agents[name], configRevision=agents[name].get("/config")["configRevision"])
    beat(agents["behind"], configRevision="another")
    beat(agents["failed"], {"pipelineId": pipeline_id, "version": 1, "status": "CRASHED"})
    connect(app, agents["healthy-1"])
    for name in ("silent", "healthy-1"):
        set_node(app, agents[name], last_seen_at=utc_now() - timedelta(hours=1))
    # It enrolled, was told of nothing and said nothing: what it is to run it cannot have reported.
    set_node(app, agents["fresh"], running_revision=agents["fresh"].get("/config")["configRevision"])
    script.post(f"/nodes/{node_id(agents['revoked'])}/revoke", status=200)
    worst_first = ["failed", "silent", "behind", "paused", "fresh", "healthy-1", "healthy-2", "revoked"]
    with app.app_context():
        page = fleet.page(fleet_filter.FleetFilter(), fleet_filter.Order("status"))
        assert [row.name for row in page.items] == worst_first
        page = fleet.page(fleet_filter.FleetFilter(environment_id), fleet_filter.Order("status", True))
        assert [row.name for row in page.items] == worst_first[::-1]
        for cursor in (paging.encode_cursor("7", "n", "x"), paging.encode_cursor("x", "n", "x")):
            with pytest.raises(InvalidInputError):
                fleet.page(fleet_filter.FleetFilter(), fleet_filter.Order("status"), cursor=cursor)


def test_the_counts_say_what_the_rows_say(
    app: Flask, script: Script, environment_id: str, pipeline_id: str
) -> None:
    """In the whole fleet and in one environment: behind by revision and by version, failed, unreachable."""
    agents = enroll(script, environment_id, *(f"n{number}" for number in range(6)), labels={"host": "x"})
    other = script.post("/environments", {"name": "other"})["id"]
    enroll(script, other, "elsewhere")
    for agent in agents[:5]:
        beat(agent, configRevision=agent.get("/config")["configRevision"])
    deploy(script, pipeline_id)
    now = agents[0].get("/config")["configRevision"]
    beat(agents[0], running(pipeline_id, 1), configRevision=now)
    beat(agents[1], running(pipeline_id, 1))
    beat(agents[2], {"pipelineId": pipeline_id, "version": 1, "status": "CRASH_LOOP"}, triedRevision=now)
    set_node(app, agents[3], last_seen_at=utc_now() - timedelta(hours=1))
    script.post(f"/nodes/{node_id(agents[4])}/revoke", status=200)

    def counts(of: str | None) -> fleet.FleetCounts:
        with app.app_context():
            return fleet.counts(of)

    expected = fleet.FleetCounts(nodes=6, connected=0, behind=2, failed=1, unreachable=1, maintenance=0)
    assert counts(environment_id) == expected
    assert counts(None) == fleet.FleetCounts(
        nodes=7, connected=0, behind=2, failed=1, unreachable=1, maintenance=0
    )
    assert counts(other) == fleet.FleetCounts(
        nodes=1, connected=0, behind=0, failed=0, unreachable=0, maintenance=0
    )
    rows = script.get("/nodes", environmentId=environment_id)["items"]
    assert sum(row["behind"] for row in rows) == expected.behind
    assert [row["name"] for row in rows if row["behind"]] == ["n3", "n5"]
    assert [row["name"] for row in script.get("/nodes", status="BEHIND")["items"]] == ["n3", "n5"]


def test_a_revoked_node_says_so_and_counts_as_nothing_else(
    app: Flask, script: Script, environment_id: str, pipeline_id: str
) -> None:
    """It is listed and counted neither as healthy, unreachable, behind nor failed, whatever it said before."""
    alive, revoked = enroll(script, environment_id, "n1", "n2")
    deploy(script, pipeline_id)
    for agent in (alive, revoked):
        beat(agent, {"pipelineId": pipeline_id, "version": 1, "status": "CRASHED"})
    assert "revokedAt" not in row_of(script, revoked)
    answer = script.post(f"/nodes/{node_id(revoked)}/revoke", status=200)
    deploy(script, pipeline_id)
    row = row_of(script, revoked)
    assert (row["revokedAt"], row["revokedAt"][-1]) == (answer["revokedAt"], "Z")
    assert (row["status"], row["behind"]) == ("HEALTHY", False)

    def found(status: str) -> list[str]:
        return [each["name"] for each in script.get("/nodes", status=status)["items"]]

    assert found("REVOKED") == ["n2"]
    assert found("UNKNOWN") == []
    assert found("FAILED") == found("HEALTHY") == found("BEHIND") == ["n1"]
    set_node(app, revoked, last_seen_at=utc_now() - timedelta(hours=1))
    assert row_of(script, revoked)["status"] == "UNREACHABLE"
    assert found("UNREACHABLE") == []
    with app.app_context():
        assert fleet.counts() == fleet.FleetCounts(
            nodes=2, connected=0, behind=1, failed=1, unreachable=0, maintenance=0
        )


def test_a_node_that_reports_while_the_fleet_is_counted_is_counted_once(
    app: Flask, script: Script, environment_id: str, pipeline_id: str
) -> None:
    """As it was when counting began: between two looks it would be of both kinds, or of neither."""
    (agent,) = enroll(script, environment_id, "n")
    revision = agent.get("/config")["configRevision"]
    beat(agent, configRevision=revision)
    deploy(script, pipeline_id)

    def report_no_revision(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "GROUP BY" in statement and not reported:
            reported.append(True)
            Thread(target=beat, args=(agent,)).start()
            until(reports_none)

    def reports_none() -> bool:
        with app.app_context(), db.engine.connect() as connection:
            query = select(Node.running_revision).where(Node.id == node_id(agent))
            return connection.scalar(query) is None

    reported: list[bool] = []
    with app.app_context():
        event.listen(db.engine, "after_cursor_execute", report_no_revision)
        try:
            assert fleet.counts().behind == 1
        finally:
            event.remove(db.engine, "after_cursor_execute", report_no_revision)
    assert reported


def test_agents_labels_count_where_the_environment_allows_them(
    app: Flask, script: Script, environment_id: str, pipeline_id: str
) -> None:
    """Only keys on its list choose pipelines; the counts judge such nodes one by one."""
    first, second = enroll(script, environment_id, "n1", labels={"zone": "a"}) + enroll(
        script, environment_id, "n2", labels={"zone": "b"}
    )
    succeeded(script.call("PUT", f"/pipelines/{pipeline_id}", {"nodeSelector": "zone=a"}), 200)
    with app.app_context():
        transaction(
            lambda session: (
                session.execute(update(Environment).values(selectable_agent_labels=["zone"])) and None
            )
        )
    for agent in (first, second):
        beat(agent, configRevision=agent.get("/config")["configRevision"])
    deploy(script, pipeline_id)
    assert [row_of(script, agent)["behind"] for agent in (first, second)] == [True, False]
    with app.app_context():
        assert fleet.counts(environment_id).behind == 1


@contextmanager
def counted_statements(app: Flask) -> Iterator[list[str]]:
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.lstrip().upper().startswith("SELECT"):
            statements.append(statement)

    with app.app_context():
        engine = db.engine
    event.listen(engine, "before_cursor_execute", note)
    yield statements
    event.remove(engine, "before_cursor_execute", note)


def test_a_page_of_many_nodes_costs_as_many_queries_as_a_page_of_one(
    app: Flask, script: Script, environment_id: str, pipeline_id: str
) -> None:
    """Nothing is asked node by node."""
    deploy(script, pipeline_id)
    agents = enroll(script, environment_id, *(f"n{number:02}" for number in range(30)))
    for agent in agents:
        beat(agent, running(pipeline_id, 1))
    script.get("/nodes")
    costs = []
    for limit in ("1", "30"):
        with counted_statements(app) as statements:
            assert len(script.get("/nodes", limit=limit)["items"]) == int(limit)
        costs.append(len(statements))
    assert costs[0] == costs[1]
    assert costs[0] <= 8


def test_while_redis_is_away_it_is_unknown_who_is_connected(
    app: Flask, script: Script, environment_id: str, own_redis: RedisServer
) -> None:
    """`null` and since when, never `false`; nodes are judged by when they were last seen, and no list fails."""
    (agent,) = enroll(script, environment_id, "n")
    beat(agent, configRevision=agent.get("/config")["configRevision"])
    settings: Settings = app.extensions["settings"]
    lonely = create_app(replace(settings, redis_url=own_redis.url))
    own_redis.stop()
    blind = make_script(lonely)
    push = row_of(blind, agent)["push"]
    assert push["connected"] is None
    assert push["unknownSince"].endswith("Z")
    assert [row["status"] for row in blind.get("/nodes")["items"]] == ["HEALTHY"]
    assert [row["name"] for row in blind.get("/nodes", status="HEALTHY")["items"]] == ["n"]
    for asked in ("true", "false"):
        assert blind.get("/nodes", connected=asked)["items"] == []
    with lonely.app_context():
        assert fleet.counts().connected is None
        assert fleet.counts().unreachable == 0
        db.engine.dispose()
    assert row_of(script, agent)["push"]["connected"] is False


@pytest.mark.parametrize(
    "text",
    [
        "zone=a",
        "zone!=a",
        "zone in (a,b)",
        "zone notin (a)",
        "zone",
        "!zone",
        "zone=",
        "example.org/x=1,zone",
    ],
)
def test_the_database_judges_label_rules_as_the_selector_does(
    app: Flask, script: Script, environment_id: str, text: str
) -> None:
    """Over the agent's labels under the operator's, absent keys and empty values included."""
    labels: dict[str, tuple[dict[str, str], dict[str, str]]] = {
        "n1": ({}, {}),
        "n2": ({"zone": "a"}, {}),
        "n3": ({"zone": "a"}, {"zone": "b"}),
        "n4": ({}, {"zone": ""}),
        "n5": ({"example.org/x": "1"}, {"zone": "a"}),
    }
    for (own, operators), agent in zip(labels.values(), enroll(script, environment_id, *labels), strict=True):
        set_node(app, agent, agent_labels=own, operator_labels=operators)
    selector = selectors.parse(text)
    expected = [name for name, (own, ops) in labels.items() if selector.matches({**own, **ops})]
    with app.app_context():
        assert [row.name for row in fleet.nodes(label=selector).items] == expected


@pytest.mark.parametrize("order", fleet_filter.ORDERS)
@pytest.mark.parametrize("descending", [False, True])
def test_pages_lead_there_and_back_in_every_order(
    app: Flask, script: Script, environment_id: str, order: str, descending: bool
) -> None:
    """Each node once, equal values and missing ones included, and the way back shows the same pages."""
    agents = enroll(script, environment_id, "c", "a", "b", "a", "d")
    set_node(app, agents[0], agent_version="2", vector_version="vector 0.57.0")
    set_node(app, agents[1], agent_version="1", last_seen_at=utc_now())
    by, pages = fleet_filter.Order(order, descending), []
    with app.app_context():
        page = fleet.page(fleet_filter.FleetFilter(), by, limit=2)
        assert page.previous_cursor is None
        while True:
            pages.append([row.id for row in page.items])
            if page.next_cursor is None:
                break
            page = fleet.page(fleet_filter.FleetFilter(), by, limit=2, cursor=page.next_cursor)
        assert sorted(each for ids in pages for each in ids) == sorted(map(node_id, agents))
        for expected in reversed(pages[:-1]):
            page = fleet.page(fleet_filter.FleetFilter(), by, limit=2, before=page.previous_cursor)
            assert [row.id for row in page.items] == expected
        assert page.previous_cursor is None
