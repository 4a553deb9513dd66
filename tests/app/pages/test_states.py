"""How the pages show nodes that are not as they should be: revoked, silent, failed."""

import re
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import update

from app import deploys, enrollment, nodes, progress
from app.audit import COMMAND_LINE
from app.clock import utc_now
from app.database import transaction
from app.models import Environment, Node
from tests.app.pages.conftest import SignIn, Visitor
from tests.support.until import until


class Agent:
    """A node that speaks by hand."""

    def __init__(self, app: Flask, environment_id: str, name: str = "edge-01") -> None:
        self.client = app.test_client()
        with app.app_context():
            token = enrollment.rotate_token(environment_id, COMMAND_LINE).text
            enrolled = enrollment.enroll(token, name)
        self.id, self.token, self.app = enrolled.node_id, enrolled.token, app

    def beat(self, *pipelines: dict[str, Any], **more: object) -> None:
        answer = self.client.post(
            "/api/agent/heartbeat",
            json={"pipelines": list(pipelines), **more},
            headers={"Authorization": f"Bearer {self.token}"},
        )
        assert answer.status_code == 200, answer.text

    def revision(self) -> str:
        """What it is to run."""
        answer = self.client.get("/api/agent/config", headers={"Authorization": f"Bearer {self.token}"})
        revision: str = answer.get_json()["configRevision"]
        return revision

    def silent_for(self, age: timedelta) -> None:
        with self.app.app_context():
            seen = utc_now() - age
            transaction(
                lambda session: (
                    session.execute(update(Node).where(Node.id == self.id).values(last_seen_at=seen)) and None
                )
            )


@pytest.fixture
def agent(app: Flask, environment_id: str) -> Agent:
    return Agent(app, environment_id)


def row(visitor: Visitor, agent: Agent) -> str:
    """The node's row on the fleet page."""
    rows = visitor.get("/fleet/rows").json
    assert rows is not None
    html: str = rows["parts"][f"node-{agent.id}"]
    return html


def test_a_revoked_node_says_so_and_cannot_be_revoked_again(
    app: Flask, sign_in: SignIn, agent: Agent
) -> None:
    """On the fleet and on its own page; it does not poll any more, and is not healthy."""
    visitor = sign_in()
    agent.beat()
    assert "Revoke…" in visitor.get(f"/nodes/{agent.id}").text
    with app.app_context():
        nodes.revoke(agent.id, COMMAND_LINE)
    page = visitor.get(f"/nodes/{agent.id}").text
    for text in (row(visitor, agent), page):
        assert ">revoked</span>" in text
        assert "healthy" not in text
        assert "polling" not in text
        assert "the node polls" not in text
    assert "Revoke…" not in page
    assert "Delete…" in page


def test_a_silent_node_does_not_read_as_alive(
    app: Flask, sign_in: SignIn, agent: Agent, pipeline_id: str
) -> None:
    """Without a socket it is not said to poll, and what it ran is said to be what it reported last."""
    visitor = sign_in()
    assert "not connected" in row(visitor, agent)
    assert "polling" not in row(visitor, agent)
    with app.app_context():
        deploys.deploy(pipeline_id, COMMAND_LINE)
    agent.beat({"pipelineId": pipeline_id, "version": 1, "status": "RUNNING"})
    assert ">running</span>" in row(visitor, agent)
    assert "nothing was heard" not in visitor.get(f"/nodes/{agent.id}").text
    agent.silent_for(timedelta(hours=1))
    page = visitor.get(f"/nodes/{agent.id}").text
    for text in (row(visitor, agent), page):
        assert ">unreachable</span>" in text
        assert ">last running</span>" in text
        assert ">running</span>" not in text
        assert "polls" not in text
    assert "As last reported" in page


def test_a_version_that_never_ran_is_not_shown_as_running(
    app: Flask, sign_in: SignIn, agent: Agent, pipeline_id: str
) -> None:
    """But as what is wanted and failed."""
    with app.app_context():
        deploys.deploy(pipeline_id, COMMAND_LINE)
    agent.beat({"pipelineId": pipeline_id, "version": 1, "status": "FAILED", "failedVersion": 1})
    assert re.search(r">none <span[^>]*>→</span> <b>v1</b>", row(sign_in(), agent))


def test_the_tiles_say_what_the_rows_say(
    app: Flask, sign_in: SignIn, environment_id: str, agent: Agent, pipeline_id: str
) -> None:
    """Right after a deploy, where all nodes stand on the page and where they do not."""
    visitor = sign_in()
    agent.beat(configRevision=agent.revision())

    def behind(**query: str) -> str:
        rows = visitor.get("/fleet/rows", query_string=query).json
        assert rows is not None
        found = re.search(r"<b>(\d+)</b> <span>behind", rows["parts"]["counts"])
        assert found is not None
        return found[1]

    looks: list[dict[str, str]] = [{}, {"environment": environment_id}, {"q": "edge"}, {"status": "behind"}]
    assert [behind(**look) for look in looks] == ["0"] * 4
    with app.app_context():
        deploys.deploy(pipeline_id, COMMAND_LINE)
    # What took long to count is counted again after as long.
    until(lambda: [behind(**look) for look in looks] == ["1"] * 4)
    agent.beat(configRevision=agent.revision())
    assert [behind(**look) for look in looks[:2]] == ["0"] * 2


def test_labels_that_selectors_do_not_look_at_are_marked(
    app: Flask, sign_in: SignIn, agent: Agent, pipeline_id: str
) -> None:
    """The agent's own, unless its environment allows them; the selector's hint says so too."""
    visitor = sign_in()
    agent.beat(labels={"zone": "a", "rack": "7"})
    with app.app_context():
        nodes.update(agent.id, COMMAND_LINE, labels={"role": "web"})
        transaction(
            lambda session: (
                session.execute(update(Environment).values(selectable_agent_labels=["rack"])) and None
            )
        )
    marks = re.findall(r'<span class="label( own)?"[^>]*>(\w+)=', row(visitor, agent))
    assert marks == [("", "rack"), ("", "role"), (" own", "zone")]
    assert "whose keys the <a" in visitor.get(f"/pipelines/{pipeline_id}").text


def test_an_environment_without_nodes_offers_an_enrollment_command(
    sign_in: SignIn, environment_id: str, agent: Agent
) -> None:
    """Unlike a filter that leaves all nodes out."""
    visitor = sign_in()
    visitor.post("/environments", name="lonely")
    lonely = re.findall(r'/\?environment=(\w+)"', visitor.get("/environments").text)
    (empty_id,) = [each for each in lonely if each != environment_id]
    offers = "Get an enrollment command"
    assert offers in visitor.get(f"/?environment={empty_id}").text
    assert offers in visitor.get(f"/?environment={empty_id}&status=behind").text
    assert offers not in visitor.get(f"/?environment={environment_id}&status=behind").text


def test_a_bad_enrollment_token_is_answered_alike_each_time(app: Flask, environment_id: str) -> None:
    """Also where it is remembered as bad: the one sentence says what to look for."""
    body = {"token": f"sbx_enroll_{environment_id}_{'0' * 64}", "hostname": "edge-01"}
    answers = [app.test_client().post("/api/agent/enroll", json=body) for _ in range(3)]
    assert {answer.status_code for answer in answers} == {401}
    (sentence,) = {answer.get_json()["error"] for answer in answers}
    assert "may have been rotated" in sentence


def test_a_failed_version_beside_the_previous_one_that_runs(
    app: Flask, sign_in: SignIn, agent: Agent, pipeline_id: str
) -> None:
    """The three pages say so in the same words, with the reason; *running* alone would hide that it failed."""
    visitor, words = sign_in(), "failed, running the previous version"
    pages = (f"/nodes/{agent.id}", f"/pipelines/{pipeline_id}")
    with app.app_context():
        for _ in range(2):
            deploys.deploy(pipeline_id, COMMAND_LINE)
    state: dict[str, Any] = {"pipelineId": pipeline_id, "version": 1, "status": "RUNNING"}
    agent.beat(state)
    for text in (row(visitor, agent), *(visitor.get(page).text for page in pages)):
        assert words not in text

    agent.beat(state | {"failedVersion": 2, "error": "cannot bind"}, triedRevision=agent.revision())
    for text in (row(visitor, agent), *(visitor.get(page).text for page in pages)):
        assert f">{words}</span>" in text
        assert "cannot bind" in text
    with app.app_context():
        assert progress.latest(pipeline_id).failed == 1

    # A first version that fails has nothing before it, nor has one that crashes.
    agent.beat({"pipelineId": pipeline_id, "version": 2, "status": "CRASHED", "failedVersion": 2})
    for text in (row(visitor, agent), *(visitor.get(page).text for page in pages)):
        assert words not in text


def test_a_node_that_never_answers_a_deploy_stands_out(
    app: Flask, sign_in: SignIn, agent: Agent, pipeline_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After five minutes: in the bar, in its words and beside the node's name."""
    visitor = sign_in()
    with app.app_context():
        deploys.deploy(pipeline_id, COMMAND_LINE)
    page = visitor.get(f"/pipelines/{pipeline_id}").text
    assert 'aria-label="Of 1 node: none yet"' in page
    assert "◌ 1 under way" in page
    assert "no answer" not in page
    monkeypatch.setattr(progress, "SILENT_AFTER", timedelta(0))
    page = visitor.get(f"/pipelines/{pipeline_id}").text
    assert 'aria-label="Of 1 node: 1 without an answer"' in page
    assert "▲ 1 without an answer" in page
    assert ">no answer</span>" in page
