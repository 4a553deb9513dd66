"""The alerts' pages: rules with a preview, what fires in all places where it is looked for, and its end."""

import re

from flask import Flask
from sqlalchemy import update

from app import alert_evaluation
from app.clock import utc_now
from app.database import transaction
from app.models import Node, NodePipeline
from tests.app.pages.conftest import SignIn, Visitor, enroll

FORM = {"for_minutes": "0", "clear_minutes": "2", "severity": "critical"}
COUNT = re.compile(r'id="alerts-count" class="nav-count">(\d+)<')


def crash(app: Flask, node_id: str, pipeline_id: str) -> None:
    """As if the node had just reported that the pipeline crashed."""
    now = utc_now()

    def work(session: object) -> None:
        session.add(  # type: ignore[attr-defined]
            NodePipeline(
                node_id=node_id, pipeline_id=pipeline_id, version=1, status="CRASHED", reported_at=now
            )
        )
        session.execute(  # type: ignore[attr-defined]
            update(Node).where(Node.id == node_id).values(last_heartbeat_at=now, last_seen_at=now)
        )

    with app.app_context():
        transaction(work)


def evaluate(app: Flask) -> None:
    with app.app_context():
        alert_evaluation.evaluate("a", 10.0)


def rule_page(visitor: Visitor, name: str) -> str:
    """The address of the rule of that name."""
    found = re.search(rf'href="(/alerts/rules/[0-9a-f]{{32}})">{name}<', visitor.get("/alerts/rules").text)
    assert found is not None
    return found[1]


def test_an_alert_from_its_rule_to_its_end(
    app: Flask, sign_in: SignIn, environment_id: str, pipeline_id: str
) -> None:
    """Previewed, made, firing on every page that it belongs to, seen to, and resolved with its rule."""
    visitor = sign_in("editor")
    node_id = enroll(app, environment_id, "edge-01")
    crash(app, node_id, pipeline_id)
    assert "No alert rule yet" in visitor.get("/alerts").text
    assert "Pipeline failed" in visitor.get("/alerts/rules/new").text
    form = "/alerts/rules/new?kind=pipeline_failed"
    wanted = {**FORM, "kind": "pipeline_failed", "name": "crashes", "pipeline": pipeline_id}
    seen = visitor.post("/alerts/rules/preview", form, **wanted)
    assert "Would fire for 1 of 1 pipeline on a node now</strong>." in seen.text
    assert "access-log on edge-01 is CRASHED." in seen.text
    assert 'value="crashes"' in seen.text
    assert "No alert rules yet" in visitor.get("/alerts/rules").text, "a preview makes nothing"
    assert visitor.post("/alerts/rules", form, **wanted).location == "/alerts/rules"
    assert "not looked at yet" in visitor.get("/alerts/rules").text
    assert "Nothing fires." in visitor.get("/alerts").text
    assert not COUNT.search(visitor.get("/").text)

    evaluate(app)
    page = visitor.get("/alerts").text
    for address in (f"/nodes/{node_id}", f"/pipelines/{pipeline_id}", rule_page(visitor, "crashes")):
        assert f'href="{address}"' in page
    rows = visitor.get("/alerts/rows").json
    assert rows is not None
    assert "access-log on edge-01 is CRASHED." in rows["parts"]["alerts-firing"]
    app.extensions.pop("alert-counts")  # else it is two seconds old at most
    for path in ("/", f"/nodes/{node_id}", f"/pipelines/{pipeline_id}"):
        found = COUNT.search(visitor.get(path).text)
        assert found is not None, path
        assert found[1] == "1"
    for path in (f"/nodes/{node_id}", f"/pipelines/{pipeline_id}"):
        assert "1 alert fires" in visitor.get(path).text

    act = re.search(r'action="(/alerts/[0-9a-f]{32}/acknowledge)"', page)
    assert act is not None
    assert visitor.post(act[1], "/alerts").location == "/alerts"
    assert "editor@example.org" in visitor.get("/alerts").text
    assert not COUNT.search(visitor.get("/alerts").text), "somebody sees to it"
    assert visitor.post(act[1], "/alerts").status_code == 409

    rule = rule_page(visitor, "crashes")
    assert "1 firing alert of it is resolved" in visitor.get(rule).text
    assert visitor.post(f"{rule}/enable", rule, enabled="no").location == rule
    assert "It is disabled." in visitor.get(rule).text
    assert "The rule was disabled." in visitor.get("/alerts").text
    assert "1 alert fires" not in visitor.get(f"/nodes/{node_id}").text
    visitor.post(f"{rule}/enable", rule, enabled="yes")
    assert "Would fire for 1 of 1" in visitor.post(f"{rule}/preview", rule, **wanted).text
    assert visitor.post(rule, rule, **{**wanted, "name": "renamed", "for_minutes": "2.5"}).location == rule
    assert "<h1>renamed</h1>" in visitor.get(rule).text
    assert visitor.post(f"{rule}/delete", rule).location == "/alerts/rules"
    assert visitor.get(rule).status_code == 404
    assert "crashes" in visitor.get("/alerts?state=RESOLVED").text, "history stays, with the name that it had"


def test_the_rules_to_begin_with_are_made_when_asked_for_and_once(sign_in: SignIn) -> None:
    """Those that were chosen; a second click makes no second one."""
    visitor = sign_in("editor")
    assert "To begin with" in visitor.get("/alerts/rules").text
    for _ in range(2):
        visitor.post("/alerts/rules/starters", "/alerts/rules/new?kind=node_unreachable", starter="failed")
    page = visitor.get("/alerts/rules").text
    assert len(re.findall(r'href="/alerts/rules/[0-9a-f]{32}">', page)) == 1
    assert 'value="unreachable"' in page
    assert 'value="failed"' not in page


def test_what_cannot_be_used_is_said_and_kept(sign_in: SignIn) -> None:
    """In the form, with what was typed; nothing is made or changed."""
    visitor = sign_in("editor")
    form = "/alerts/rules/new?kind=errors_above"
    wanted = {**FORM, "kind": "errors_above", "name": "e", "threshold": "5"}
    for field, typed, words in (
        ("threshold", "many", "it is a number"),
        ("threshold", "-1", "from 0 to"),
        ("for_minutes", "nan", "it is a number of minutes"),
        ("clear_minutes", "0", "from 30 to"),
        ("node_selector", "a in (", "cannot be read"),
    ):
        for path in ("/alerts/rules", "/alerts/rules/preview"):
            refused = visitor.post(path, form, **{**wanted, field: typed})
            assert refused.status_code == 400, field
            assert words in refused.text
            assert f'value="{typed}"' in refused.text
    assert visitor.post("/alerts/rules", form, **{**wanted, "kind": "nope"}).status_code == 400
    assert "No alert rules yet" in visitor.get("/alerts/rules").text
    visitor.post("/alerts/rules", form, **wanted)
    rule = rule_page(visitor, "e")
    assert visitor.post(rule, rule, **{**wanted, "threshold": "x"}).status_code == 400
    assert "5 errors/s" in visitor.get(rule).text


def test_a_viewer_sees_and_changes_nothing(app: Flask, sign_in: SignIn) -> None:
    """The forms are not even shown."""
    editor, viewer = sign_in("editor"), sign_in("viewer")
    editor.post("/alerts/rules/starters", "/alerts/rules", starter="failed")
    rule = rule_page(viewer, "Pipeline failed")
    for path in ("/alerts", "/alerts/rules", rule):
        page = viewer.get(path)
        assert page.status_code == 200
        assert 'method="post"' not in page.text.partition("<main")[2]
    assert viewer.get("/alerts/rules/new").status_code == 403
