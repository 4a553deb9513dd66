"""Hazards 1, 2, 3, 5 and 6: what nodes are told is what the database says, in every release, in every order."""

import secrets
import threading

import pytest
from flask import Flask
from sqlalchemy import event, select, update

from app import assembly, deploys, environments, pipelines
from app.audit import COMMAND_LINE
from app.clock import utc_now
from app.database import db, transaction
from app.ids import new_id
from app.models import Environment, Pipeline, PipelineVersion
from tests.conftest import StartServer
from tests.hazards.conftest import YAML, Fleet, MakeFleet
from tests.support.doors import TRANSPORTS
from tests.support.redis_proxy import RedisProxy
from tests.support.until import until


def an_environment(environment_id: str | None = None, nonce: str = "0" * 32) -> str:
    environment_id = environment_id or new_id()

    def work(session):  # type: ignore[no-untyped-def]
        session.add(
            Environment(
                id=environment_id, name=environment_id, nonce=nonce, checksum_key=secrets.token_hex(32),
                protected=False, selectable_agent_labels=[], created_at=utc_now(),
            )
        )  # fmt: skip

    transaction(work)
    return environment_id


def a_pipeline(environment_id: str, name: str = "made") -> str:
    pipeline_id = new_id()

    def work(session):  # type: ignore[no-untyped-def]
        session.add(
            Pipeline(
                id=pipeline_id, environment_id=environment_id, name=name, config_yaml=YAML, node_selector="",
                created_at=utc_now(), updated_at=utc_now(),
            )
        )  # fmt: skip

    transaction(work)
    return pipeline_id


def versions_wanted(environment_id: str) -> list[int]:
    plan = assembly.wanted_for(environment_id).for_node({}, maintenance=False)
    return [pipeline.version for pipeline in plan.pipelines]


@pytest.mark.parametrize("statement", range(4))
def test_a_deploy_in_the_middle_of_an_assembly_is_never_hidden_by_it(
    application: Flask, statement: int
) -> None:
    """Hazard 1: whichever query of the assembly the deploy comes behind, the next one asked sees it.

    Content read before the nonce would be cached under the deploy's nonce and served until the next deploy.
    """
    environment_id = an_environment()
    pipeline_id = a_pipeline(environment_id)
    deploys.deploy(pipeline_id, COMMAND_LINE)
    seen: list[str] = []
    deploying: list[threading.Thread] = []

    def deploy_elsewhere() -> None:
        with application.app_context():
            deploys.deploy(pipeline_id, COMMAND_LINE)
            db.session.remove()

    def after(_connection, _cursor, sql, _parameters, _context, _many):  # type: ignore[no-untyped-def]
        if threading.current_thread() is not threading.main_thread() or not sql.startswith("SELECT"):
            return
        seen.append(sql)
        if len(seen) == statement + 1:
            thread = threading.Thread(target=deploy_elsewhere)
            deploying.append(thread)
            thread.start()
            thread.join(30)

    event.listen(db.engine, "after_cursor_execute", after)
    try:
        versions_wanted(environment_id)
    finally:
        event.remove(db.engine, "after_cursor_execute", after)
    assert len(deploying) == 1, "the assembly has fewer queries than this test thinks"
    assert versions_wanted(environment_id) == [2]


def test_two_changes_at_once_make_two_nonces_and_two_versions(application: Flask) -> None:
    """Hazard 1: a counter read and written by two sessions would count once."""
    environment_id = an_environment()
    pipeline_id = a_pipeline(environment_id)
    outcomes: list[int | None] = []
    together = threading.Barrier(4)

    def deploy() -> None:
        with application.app_context():
            together.wait(10)
            outcomes.append(deploys.deploy(pipeline_id, COMMAND_LINE).version)
            db.session.remove()

    threads = [threading.Thread(target=deploy) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes, key=str) == [1, 2, 3, 4]
    assert versions_wanted(environment_id) == [4]


def test_the_revision_is_the_content_and_nothing_else(application: Flask) -> None:
    """Hazard 2: equal sets have equal revisions; another version, maintenance or an empty set another one."""
    environment_id = an_environment()
    pipeline_id = a_pipeline(environment_id)
    empty = assembly.wanted_for(environment_id).for_node({}, maintenance=False)
    deploys.deploy(pipeline_id, COMMAND_LINE)
    first = assembly.wanted_for(environment_id)
    one, other = first.for_node({"zone": "a"}, False), first.for_node({"zone": "b"}, False)
    assert one.revision == other.revision
    resting = first.for_node({"zone": "a"}, maintenance=True)
    other_pipeline = a_pipeline(environment_id, "other")  # a draft changes nothing
    assert assembly.wanted_for(environment_id).for_node({}, False).revision == one.revision
    deploys.deploy(other_pipeline, COMMAND_LINE)
    second = assembly.wanted_for(environment_id).for_node({}, False)
    assert len({empty.revision, one.revision, resting.revision, second.revision}) == 4
    deploys.undeploy(other_pipeline, COMMAND_LINE)
    assert assembly.wanted_for(environment_id).for_node({}, False).revision == one.revision


def test_a_deploy_to_some_nodes_makes_those_and_no_others_behind(fleet: Fleet) -> None:
    """Hazard 2: with one revision for the environment, 3 targets of 12 would make 12 nodes fetch."""
    agents = fleet.agents(12)
    for agent in agents[:3]:
        fleet.operator.call("PATCH", f"/nodes/{agent.node_id}", {"labels": {"zone": "a"}})
    for agent in agents:
        agent.heartbeat(configRevision=agent.config().json()["configRevision"])
    fleet.operator.call(
        "PUT",
        f"/pipelines/{fleet.pipeline_id}",
        {"name": "made", "configYaml": YAML, "nodeSelector": "zone=a"},
    )
    assert fleet.operator.deploy(fleet.pipeline_id)["targets"] == 3
    behind = {
        node["id"] for node in fleet.operator.nodes(environmentId=fleet.environment_id) if node["behind"]
    }
    assert behind == {agent.node_id for agent in agents[:3]}


def test_the_etag_covers_the_intervals_and_the_revision_does_not(own_fleet: Fleet) -> None:
    """Hazard 2: a changed poll interval is a new answer, but no reason for anything to be behind."""
    agent = own_fleet.agent()
    before = agent.config()
    assert before.headers["Cache-Control"] == "private, no-store"
    assert agent.config(before.headers["ETag"]).status_code == 304
    assert agent.config("W/" + before.headers["ETag"]).status_code == 304
    own_fleet.operator.call("PATCH", "/settings", {"pollIntervalMs": 7000})
    after = until(
        lambda: (answer := agent.config(before.headers["ETag"])).status_code == 200 and answer,
        what="the answer with the new interval",
    )
    assert after.json()["pollIntervalMs"] == 7000
    assert after.json()["configRevision"] == before.json()["configRevision"]
    assert own_fleet.agent().config().headers["ETag"] != after.headers["ETag"]


GOLDEN_YAML = """
sources:
  made:
    type: demo_logs
    format: json
sinks:
  gone:
    type: blackhole
    inputs: [made]
"""
# Scheme 1, computed by the first release. If one of these changes, every pipeline of every fleet restarts.
GOLDEN_PLAIN = "56cf5470f72197fbcf37b7555e6ad6519c2c6d2833de82866d54eede88e6a999"
GOLDEN_LOG_LEVEL = "7977f1fb411c1fbbb5e731aa4755fca4c4b0f306fcfd2876c72169c51ba02d0c"
GOLDEN_SECRETS = "c17a4ec4dd509b439720590e97b72a12fd7fe67a79f89338a2e1628f968e3e39"


def test_no_checksum_changes_between_releases() -> None:
    """Hazard 3: golden values of scheme 1. A new formula takes a new scheme number and leaves these alone."""
    key = "00" * 31 + "01"
    assert assembly.CHECKSUM_SCHEME == 1
    assert assembly.checksum_of(key, GOLDEN_YAML, None) == GOLDEN_PLAIN
    assert assembly.checksum_of(key, GOLDEN_YAML, "debug") == GOLDEN_LOG_LEVEL
    assert (
        assembly.checksum_of(key, GOLDEN_YAML, None, {"VF_SECRET_A": "ü"}, [("ca.pem", b"\x00\xff")])
        == GOLDEN_SECRETS
    )


def test_a_server_that_renders_and_hashes_differently_restarts_nothing(application: Flask) -> None:
    """Hazard 3: what an older release stored with the version is served as it is, and copied by a roll back."""
    environment_id = an_environment()
    pipeline_id = a_pipeline(environment_id)
    deploys.deploy(pipeline_id, COMMAND_LINE)

    def as_an_older_release(session):  # type: ignore[no-untyped-def]
        session.execute(
            update(PipelineVersion)
            .where(PipelineVersion.pipeline_id == pipeline_id)
            .values(rendered_yaml="# rendered long ago\n", checksum="ab" * 32, checksum_scheme=0)
        )
        session.execute(update(Environment).values(nonce="1" * 32))

    transaction(as_an_older_release)
    served = assembly.wanted_for(environment_id).for_node({}, False).pipelines[0]
    assert (served.rendered_yaml, served.checksum) == ("# rendered long ago\n", "ab" * 32)
    deploys.rollback(pipeline_id, 1, COMMAND_LINE)
    again = assembly.wanted_for(environment_id).for_node({}, False).pipelines[0]
    assert (again.version, again.checksum) == (2, "ab" * 32)


def test_an_identical_redeploy_makes_a_version_and_restarts_nothing(application: Flask) -> None:
    """The checksum covers what must cause a restart, and the version's number is not that."""
    environment_id = an_environment()
    pipeline_id = a_pipeline(environment_id)
    deploys.deploy(pipeline_id, COMMAND_LINE)
    deploys.deploy(pipeline_id, COMMAND_LINE)
    checksums = db.session.scalars(
        select(PipelineVersion.checksum).where(PipelineVersion.pipeline_id == pipeline_id)
    ).all()
    assert len(checksums) == 2
    assert len(set(checksums)) == 1


def test_an_identifier_is_never_used_twice(application: Flask) -> None:
    """Hazard 5: what comes after a deleted environment has another id, so no cache can hand it the old one's."""
    made = [new_id() for _ in range(1000)]
    assert len(set(made)) == 1000
    assert made == sorted(made)
    first = environments.create("tenant", COMMAND_LINE)
    environments.delete(first.id, COMMAND_LINE)
    second = environments.create("tenant", COMMAND_LINE)
    assert second.id != first.id


def test_an_environment_with_a_deleted_one_s_id_gets_nothing_of_its_plan(application: Flask) -> None:
    """Hazard 5: should an id ever come back, from a backup say, the nonce is another: caches go by both."""
    environment_id = an_environment()
    pipeline_id = a_pipeline(environment_id)
    deploys.deploy(pipeline_id, COMMAND_LINE)
    assert versions_wanted(environment_id) == [1]
    before = assembly.wanted_for(environment_id)
    deploys.undeploy(pipeline_id, COMMAND_LINE)
    pipelines.delete(pipeline_id, COMMAND_LINE)
    environments.delete(environment_id, COMMAND_LINE)
    an_environment(environment_id, "1" * 32)
    after = assembly.wanted_for(environment_id)
    assert (after.nonce, after.pipelines) == ("1" * 32, ())
    assert after.key != before.key


def test_a_deploy_behind_the_authentication_is_seen_by_the_look(
    application: Flask,
    database_url: str,
    redis_proxy: RedisProxy,
    start_server: StartServer,
    make_fleet: MakeFleet,
) -> None:
    """Hazard 6: a look in the authentication's transaction sees the past, and its node waits for its next poll.

    The deploy comes between the two: its nudge goes where nobody hears it, and nothing sweeps.
    """
    settings = {"SIGNALBOX_DATABASE_URL": database_url, "SIGNALBOX_REDIS_URL": redis_proxy.url}
    fleet = make_fleet(start_server({**settings, "SIGNALBOX_SWEEP_INTERVAL": "3600"}, workers=1))

    def deploy_elsewhere() -> None:
        with application.app_context():
            deploys.deploy(fleet.pipeline_id, COMMAND_LINE)
            db.session.remove()

    for version, transport in enumerate(TRANSPORTS, 1):
        agent = fleet.agent()
        revision = agent.follow()
        redis_proxy.act_before((b"SUBSCRIBE", agent.node_id.encode()), deploy_elsewhere)
        channel = fleet.open(agent, transport, revision=revision)
        assert channel.read_message() == {"type": "config_changed", "reason": "connected"}
        assert [each["version"] for each in agent.config().json()["pipelines"]] == [version]
