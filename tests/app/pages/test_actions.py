"""Restart, Retry and what many nodes are asked, through the pages' forms."""

import re
from typing import Any

from flask import Flask

from app import action_progress, deploys, node_actions, nodes
from app.audit import COMMAND_LINE
from app.clock import utc_now
from app.database import snapshot, transaction
from app.models import AuditEntry, NodePipeline
from app.node_actions import ActionRow
from tests.app.pages.conftest import SignIn, Visitor, enroll

UPDATE = {
    "what": "self_update",
    "target_version": "9.9.9",
    "download_url": "https://signalbox.example/agent.pyz",
    "checksum": "sha256:" + "0" * 64,
    "max_failures": "0",
}


def asked_of(app: Flask, node_id: str) -> list[ActionRow]:
    with app.app_context():
        return node_actions.of_node(node_id).items


def report(app: Flask, node_id: str, pipeline_id: str, **columns: Any) -> None:
    """What the node says of the pipeline."""
    with app.app_context():
        row = NodePipeline(
            **{"status": "RUNNING", "version": 1, **columns},
            node_id=node_id,
            pipeline_id=pipeline_id,
            reported_at=utc_now(),
        )
        transaction(lambda session: session.merge(row) and None)


def test_an_editor_restarts_an_agent_and_a_pipeline(
    app: Flask, sign_in: SignIn, environment_id: str, pipeline_id: str
) -> None:
    """The page lists what was asked, by whom; what is refused is said on it; the audit log knows of it."""
    visitor = sign_in("editor")
    node_id = enroll(app, environment_id, "edge-01")
    path = f"/nodes/{node_id}"
    assert "was asked nothing yet" in visitor.get(path).text
    assert visitor.post(f"{path}/restart", path).location == path
    page = visitor.get(path).text
    assert "it hears of it when it next asks" in page
    assert re.search(r"Restart agent</span>.*pending.*editor@example.org", page, re.S)
    visitor.post(f"{path}/restart", path)
    assert "the same restart waits for it already" in visitor.get(path).text
    visitor.post(f"{path}/restart", path, pipeline_id=pipeline_id)
    assert "is not deployed" in visitor.get(path).text
    with app.app_context():
        deploys.deploy(pipeline_id, COMMAND_LINE)
    assert 'Restart<span class="unseen"> access-log</span>' in visitor.get(path).text
    visitor.post(f"{path}/restart", path, pipeline_id=pipeline_id)
    assert [row.pipeline_id for row in asked_of(app, node_id)] == [pipeline_id, None]
    with app.app_context():
        entries = snapshot(lambda s: s.query(AuditEntry).filter_by(action="node.restart").all())
    assert {(entry.actor, entry.subject_id) for entry in entries} == {("editor@example.org", node_id)}
    assert "Update agent…" not in page
    assert "Update agent…" in sign_in().get(path).text
    assert "Restart agent</button>" not in sign_in("viewer").get(path).text


def test_retry_stands_where_a_pipeline_has_failed(
    app: Flask, sign_in: SignIn, environment_id: str, pipeline_id: str
) -> None:
    """On the node's page for that node, on the pipeline's for all of them; each while there is a reason."""
    visitor = sign_in("editor")
    ids = [enroll(app, environment_id, f"edge-{number}") for number in range(4)]
    path = f"/pipelines/{pipeline_id}"
    with app.app_context():
        deploys.deploy(pipeline_id, COMMAND_LINE)
    assert "Retry" not in visitor.get(path).text
    assert visitor.post(f"{path}/retry", path).location == path
    assert "No node can be asked" in visitor.get(path).text
    report(app, ids[0], pipeline_id)
    report(app, ids[1], pipeline_id, status="FAILED")
    report(app, ids[2], pipeline_id, status="CRASH_LOOP")
    report(app, ids[3], pipeline_id, failed_version=1)
    for node_id, word in zip(ids, ("Restart", "Retry", "Retry", "Retry"), strict=True):
        assert f'{word}<span class="unseen"> access-log</span>' in visitor.get(f"/nodes/{node_id}").text
    assert "Retry on 3 failed nodes</button>" in visitor.get(path).text
    viewers = sign_in("viewer").get(path).text
    assert "failed on <strong>3 nodes" in viewers
    assert "Retry on 3" not in viewers
    batch = visitor.post(f"{path}/retry", path).location
    page = visitor.get(batch).text
    assert "Asked 3 nodes, 0 of them told at once." in page
    assert "Restart access-log" in page
    assert [len(asked_of(app, node_id)) for node_id in ids] == [0, 1, 1, 1]
    rows = visitor.get(f"{batch}/rows").json
    assert rows is not None
    assert rows["parts"]["progress"] in page
    assert "0 of 3 nodes</strong> completed, 3 pending" in page


def test_many_nodes_are_asked_by_a_form(app: Flask, sign_in: SignIn, environment_id: str) -> None:
    """By label rules or by name; what makes no sense is refused with what was typed still there."""
    visitor = sign_in("editor")
    ids = [enroll(app, environment_id, f"edge-{number}") for number in range(3)]
    with app.app_context():
        nodes.update(ids[0], COMMAND_LINE, labels={"zone": "a"})
    path = f"/environments/{environment_id}/actions"
    fields = {"what": "restart", "selector": "", "nodes": "", "max_failures": "0"}

    def refuse(status: int, **more: str) -> str:
        answer = visitor.post(path, path, **{**fields, **more})
        assert answer.status_code == status, answer.text
        return answer.text

    def batch(visitor: Visitor, **more: str) -> action_progress.BatchRow:
        question = visitor.post(path, path, **{**fields, **more})
        assert (question.status_code, "Nothing has been done yet." in question.text) == (200, True)
        answer = visitor.post(path, path, **{**fields, **more, "confirmed": "yes"})
        assert answer.status_code == 302, answer.text
        with app.app_context():
            return action_progress.get(answer.location.rpartition("/")[2])

    assert batch(visitor, selector="zone=a").total == 1
    assert batch(visitor, nodes=f"edge-1\r\n\r\n{ids[2]}\r\n").total == 2
    assert "no node &#34;edge-9&#34;" in refuse(400, nodes="edge-9")
    assert "edge-9</textarea>" in refuse(400, nodes="edge-9")
    assert "either label rules or names" in refuse(400, nodes="edge-1", selector="zone=a")
    assert "zone=z" in refuse(409, selector="zone=z")
    refuse(400, selector="zone==(")
    refuse(400, max_failures="many")
    refuse(400, what="explode")
    assert "needs the role admin" in refuse(403, **UPDATE)
    admin = sign_in()
    answer = admin.post(path, path, **{**fields, **UPDATE, "checksum": "nope"})
    assert (answer.status_code, 'value="9.9.9"' in answer.text) == (400, True)
    assert "sha256: and 64" in answer.text
    answer = admin.post(path, path, **{**fields, **UPDATE})
    assert (answer.status_code, "not connected" in answer.text) == (409, True)
    page = admin.get(path).text
    assert page.count("Restart agent</a>") == 2
    assert visitor.client.post(path, data=fields).status_code == 400, "without the form's token"
    linked = admin.get(f"{path}?what=self_update&nodes={ids[0]}").text
    assert f"{ids[0]}</textarea>" in linked
    for address in ("/environments/nope/actions", "/actions/nope"):
        assert admin.get(address).status_code == 404
