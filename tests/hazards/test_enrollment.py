"""Hazard 31: a lost answer leaves no ghost, a leaked token makes no unlimited fleet."""

from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import select, update

from app import enrollment
from app.clock import utc_now
from app.database import snapshot, transaction
from app.ids import first_id_at
from app.models import AuditEntry, Node
from app.standings import DatabaseQuestions
from tests.app.conftest import Script, make_script, node_id, succeeded


class Enrolling:
    """An environment, and whoever holds its token."""

    def __init__(self, app: Flask) -> None:
        self.script = make_script(app)
        self.environment_id = str(self.script.post("/environments", {"name": "ghosts"})["id"])
        self.token = self.rotate()

    def rotate(self) -> str:
        self.token = str(self.script.post(f"/environments/{self.environment_id}/enrollment-token")["token"])
        return self.token

    def enroll(self, **more: object) -> Script:
        agent = Script(self.script.client, None, "/api/agent")
        body = {"token": self.token, "hostname": "edge", **more}
        agent.token = str(agent.post("/enroll", body, 200)["nodeToken"])
        return agent

    def nodes(self) -> set[str]:
        query = select(Node.id).where(Node.environment_id == self.environment_id)
        return snapshot(lambda session: set(session.scalars(query)))


@pytest.fixture
def enrolling(application: Flask) -> Enrolling:
    return Enrolling(application)


def test_who_enrolls_again_with_its_install_id_leaves_no_ghost(enrolling: Enrolling) -> None:
    """The answer was lost; the token in it was never used, and is no good any more."""
    lost, kept = enrolling.enroll(installId="a"), enrolling.enroll(installId="a")
    assert enrolling.nodes() == {node_id(kept)}
    assert lost.call("GET", "/config").status_code == 401
    assert kept.call("GET", "/config").status_code == 200


def test_a_node_that_was_ever_heard_of_is_never_replaced(enrolling: Enrolling) -> None:
    """Else whoever knows an install id takes a running node's place."""
    running = enrolling.enroll(installId="a")
    succeeded(running.call("POST", "/heartbeat", {"pipelines": []}), 200)
    asking = enrolling.enroll(installId="b")
    assert asking.call("GET", "/config").status_code == 200
    again = enrolling.enroll(installId="a"), enrolling.enroll(installId="b")
    assert enrolling.nodes() == {node_id(each) for each in (running, asking, *again)}


def test_a_host_name_says_nothing_about_who_somebody_is(enrolling: Enrolling) -> None:
    """Nor does the install id of another environment's node."""
    first, second = enrolling.enroll(), enrolling.enroll(installId="a")
    third = enrolling.enroll(installId="c")
    ours = {node_id(each) for each in (first, second, third)}
    assert enrolling.nodes() == ours
    other = str(enrolling.script.post("/environments", {"name": "elsewhere"})["id"])
    token = str(enrolling.script.post(f"/environments/{other}/enrollment-token")["token"])
    agent = Script(enrolling.script.client, None, "/api/agent")
    agent.post("/enroll", {"token": token, "hostname": "edge", "installId": "a"}, 200)
    assert enrolling.nodes() == ours


def test_one_token_makes_only_so_many_nodes(enrolling: Enrolling, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaced and deleted ones count, another environment's do not; an hour or a new token begins anew."""
    monkeypatch.setattr(enrollment, "MAX_ENROLLED", 3)
    for _ in range(3):
        enrolling.enroll(installId="a")
    assert len(enrolling.nodes()) == 1
    agent = Script(enrolling.script.client, None, "/api/agent")
    body = {"token": enrolling.token, "hostname": "edge"}
    refused = agent.call("POST", "/enroll", body)
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) > 0
    assert refused.get_json()["error"].endswith(".")
    assert len(enrolling.nodes()) == 1, "nothing was written"
    monkeypatch.setattr(enrollment, "CAP_TIME", timedelta(0))
    assert agent.call("POST", "/enroll", body).status_code == 200
    monkeypatch.undo()
    monkeypatch.setattr(enrollment, "MAX_ENROLLED", 3)
    enrolling.rotate()
    enrolling.enroll()


def test_a_ghost_is_gone_after_a_day(application: Flask, enrolling: Enrolling) -> None:
    """Only a node that never used its token, and only then; the audit log says so."""

    def age(agent: Script, hours: float) -> str:
        new = first_id_at(utc_now() - timedelta(hours=hours))[:12] + node_id(agent)[12:]
        was = node_id(agent)
        transaction(
            lambda session: session.execute(update(Node).where(Node.id == was).values(id=new)) and None
        )
        return new

    ghost, young, used = enrolling.enroll(), enrolling.enroll(), enrolling.enroll()
    assert used.call("GET", "/config").status_code == 200
    gone, still, stays = age(ghost, 24.1), age(young, 23.9), age(used, 100)
    settings = application.extensions["settings"]
    questions = DatabaseQuestions(application, settings.database_url)
    questions.tidy_up()
    assert enrolling.nodes() == {still, stays}
    entries = select(AuditEntry.subject_id, AuditEntry.actor).where(AuditEntry.action == "node.ghost")
    assert snapshot(lambda session: [tuple(row) for row in session.execute(entries)]) == [(gone, "server")]
    if questions._engine is not None:
        questions._engine.dispose()
