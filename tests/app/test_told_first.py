"""A deploy commits whom it concerns, tells them, and makes a row for each of them afterwards (ADR 29).

The server dies in between here: whoever comes next, whatever it is that they do, finds the rows.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import Engine, delete, text, update

from app import deployments, deploys, leases, progress, watch
from app.audit import COMMAND_LINE
from app.clock import rfc3339, utc_now
from app.database import db, transaction
from app.models import Deployment, Node
from tests.app.conftest import Script, enroll, node_id
from tests.support.until import until


class DiedError(Exception):
    """The server is gone."""


@pytest.fixture
def deploy_and_die(app: Flask, pipeline_id: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """Deploys as a server does that dies once it has committed that; the deployment's id."""

    def deploy() -> str:
        acts = []

        def die(act: object, *_: object) -> None:
            acts.append(act)
            raise DiedError

        with monkeypatch.context() as patch, app.app_context():
            patch.setattr(deploys, "tell", die)
            with pytest.raises(DiedError):
                deploys.deploy(pipeline_id, COMMAND_LINE)
        return str(acts[0].deployment_id)

    return deploy


def rows(script: Script, deployment_id: str) -> dict[str, tuple[str, bool]]:
    """Of each node its status, and whether it has fetched."""
    report = script.get(f"/deployments/{deployment_id}")
    return {
        item["nodeId"]: (item["status"], item["fetchedAt"] is not None) for item in report["nodes"]["items"]
    }


def heartbeat(agent: Script, pipeline_id: str, version: int) -> None:
    reported = {"pipelineId": pipeline_id, "status": "RUNNING", "version": version}
    agent.post("/heartbeat", {"pipelines": [reported]}, 200)


def test_a_node_that_fetches_is_noted(
    script: Script, environment_id: str, pipeline_id: str, deploy_and_die: Callable[[], str]
) -> None:
    one, other = enroll(script, environment_id, "n1", "n2")
    deployment_id = deploy_and_die()
    report = script.get(f"/deployments/{deployment_id}")
    assert (report["targets"], report["nodes"]["items"]) == (2, []), "nobody has made rows"
    assert [each["pipelineId"] for each in one.get("/config")["pipelines"]] == [pipeline_id]
    assert rows(script, deployment_id) == {
        node_id(one): ("PENDING", True),
        node_id(other): ("PENDING", False),
    }


def test_a_node_that_runs_it_is_noted(
    script: Script, environment_id: str, pipeline_id: str, deploy_and_die: Callable[[], str]
) -> None:
    one, other = enroll(script, environment_id, "n1", "n2")
    deployment_id = deploy_and_die()
    heartbeat(one, pipeline_id, 1)
    assert rows(script, deployment_id) == {
        node_id(one): ("RUNNING", False),
        node_id(other): ("PENDING", False),
    }


def test_a_nudge_is_noted(
    app: Flask, script: Script, environment_id: str, deploy_and_die: Callable[[], str]
) -> None:
    (one,) = enroll(script, environment_id, "n1")
    deployment_id, now = deploy_and_die(), utc_now()
    with app.app_context():
        deployments.record_nudged([(deployment_id, node_id(one), now)])
    (item,) = script.get(f"/deployments/{deployment_id}")["nodes"]["items"]
    assert item["nudgedAt"] == rfc3339(now)


def test_the_next_deploy_overtakes_it(
    script: Script, environment_id: str, pipeline_id: str, deploy_and_die: Callable[[], str]
) -> None:
    agents = enroll(script, environment_id, "n1", "n2")
    older = deploy_and_die()
    newer = script.post(f"/pipelines/{pipeline_id}/deploy", status=200)
    assert rows(script, older) == {node_id(agent): ("SUPERSEDED", False) for agent in agents}
    assert rows(script, newer["deploymentId"]) == {node_id(agent): ("PENDING", False) for agent in agents}


def test_it_is_no_end_that_nobody_is_waited_for_yet(
    app: Flask, script: Script, environment_id: str, pipeline_id: str, deploy_and_die: Callable[[], str]
) -> None:
    """The watch makes the rows of one that nobody else has come to; only then may it be finished."""
    (one,) = enroll(script, environment_id, "n1")
    deployment_id = deploy_and_die()
    with app.app_context():
        latest = progress.latest(pipeline_id)
        assert latest is not None
        assert (latest.counts, latest.under_way) == ({"PENDING": 1}, 1)
        held = leases.take(watch.LEASE, "tests", watch.LEASE_SPAN)
        assert held is not None
        assert watch.finished_deployments(held) == 0
    assert rows(script, deployment_id) == {}, "somebody may be about to"

    past = utc_now() - timedelta(minutes=2)
    aged = update(Deployment).where(Deployment.id == deployment_id).values(created_at=past)
    with app.app_context():
        transaction(lambda session: session.execute(aged) and None)
        assert watch.finished_deployments(held) == 0
        latest = progress.latest(pipeline_id)
        assert latest is not None
        assert latest.under_way == 1
    assert rows(script, deployment_id) == {node_id(one): ("PENDING", False)}


def test_nobody_waits_for_nodes_that_have_gone_or_moved(
    script: Script, environment_id: str, deploy_and_die: Callable[[], str]
) -> None:
    stays, moves, goes = enroll(script, environment_id, "n1", "n2", "n3")
    elsewhere = script.post("/environments", {"name": "elsewhere"})["id"]
    deployment_id = deploy_and_die()
    assert script.call("PATCH", f"/nodes/{node_id(moves)}", {"environmentId": elsewhere}).status_code == 200
    assert script.call("DELETE", f"/nodes/{node_id(goes)}").status_code in (200, 204)
    stays.get("/config")
    assert rows(script, deployment_id) == {node_id(stays): ("PENDING", True)}


def test_an_older_release_finds_rows_and_what_was_due_is_kept(
    app: Flask, script: Script, environment_id: str, pipeline_id: str, deploy_and_die: Callable[[], str]
) -> None:
    """The schema goes down and up again: rows that were there stay, those that were due are made."""
    (one,) = enroll(script, environment_id, "n1")
    older = script.post(f"/pipelines/{pipeline_id}/deploy", status=200)["deploymentId"]
    heartbeat(one, pipeline_id, 1)
    newer = deploy_and_die()
    for command in (("downgrade", "0015"), ("upgrade",)):
        done = app.test_cli_runner().invoke(args=["db", *command])
        assert done.exit_code == 0, done.output
    assert rows(script, older) == {node_id(one): ("RUNNING", False)}
    assert rows(script, newer) == {node_id(one): ("PENDING", False)}


def test_a_node_that_is_deleted_while_rows_are_made_is_no_failure(
    app: Flask, script: Script, environment_id: str, deploy_and_die: Callable[[], str]
) -> None:
    """Whoever makes them waits for the node's lock and finds that nobody is there any more; SQLite has one writer."""
    stays, goes = enroll(script, environment_id, "n1", "n2")
    deployment_id = deploy_and_die()
    if "sqlite" in app.config["SQLALCHEMY_DATABASE_URI"]:
        assert script.call("DELETE", f"/nodes/{node_id(goes)}").status_code in (200, 204)
        stays.get("/config")
    else:
        with app.app_context():
            engine = db.engine
        with engine.connect() as deleter, ThreadPoolExecutor() as pool:
            deleter.execute(delete(Node).where(Node.id == node_id(goes)))
            fetch = pool.submit(stays.get, "/config")
            until(lambda: is_waiting(engine), seconds=10, what="somebody who waits for the node's lock")
            deleter.commit()
            assert fetch.result(timeout=20)["pipelines"]
    assert rows(script, deployment_id) == {node_id(stays): ("PENDING", True)}


def is_waiting(engine: Engine) -> bool:
    """Whether somebody waits for a lock in this database."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    with engine.connect() as connection:
        return bool(connection.execute(waiting).scalar_one())
