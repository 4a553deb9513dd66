"""The pages of samples, without a browser."""

import pytest
from flask import Flask

from app import deploys, sample_results
from app.audit import COMMAND_LINE
from app.clock import utc_now
from app.database import transaction
from app.models import Node, NodePipeline
from tests.app.pages.conftest import SignIn, Visitor, enroll


@pytest.fixture
def node_id(app: Flask, environment_id: str, pipeline_id: str) -> str:
    """A node that runs the deployed pipeline, with an agent of another make and a new Vector."""
    node_id = enroll(app, environment_id, "edge-01")

    def work(session: object) -> None:
        node = session.get(Node, node_id)  # type: ignore[attr-defined]
        node.last_seen_at, node.vector_version = utc_now(), "vector 0.56.0 (x86_64)"
        session.add(  # type: ignore[attr-defined]
            NodePipeline(
                node_id=node_id, pipeline_id=pipeline_id, version=1, status="RUNNING", reported_at=utc_now()
            )
        )

    with app.app_context():
        deploys.deploy(pipeline_id, COMMAND_LINE)
        transaction(work)
    return node_id


def ask(visitor: Visitor, pipeline_id: str, **fields: str) -> str:
    """The address of the page of a new request."""
    path = f"/pipelines/{pipeline_id}/samples"
    answer = visitor.post(path, path, **{"components": "requests", "limit": "5", **fields})
    assert answer.status_code == 302, answer.text
    return answer.location


def test_the_form_asks_and_the_page_shows_what_came(
    app: Flask, sign_in: SignIn, environment_id: str, pipeline_id: str, node_id: str
) -> None:
    """Events, schema, and errors with the node's name; what events hold is text, never markup."""
    visitor = sign_in("editor")
    assert "Sample…" in visitor.get(f"/pipelines/{pipeline_id}").text
    location = ask(visitor, pipeline_id)
    page = visitor.get(location).text
    assert "Under way" in page
    assert "waiting" in page
    assert f'data-events="{location}/events"' in page
    request_id = location.rpartition("/")[2]
    event = {"message": "<script>alert(1)</script>", "n": 7}
    shown = sample_results.ReportedResult(request_id=request_id, component_key="requests", events=[event])
    with app.app_context():
        sample_results.record(node_id, environment_id, [shown])
    page = visitor.get(location).text
    assert "Completed" in page
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "shown by edge-01" in page
    assert ".message" in page
    assert "data-events" not in page, "what has ended changes no more"
    parts = visitor.get(f"{location}/rows").get_json()["parts"]
    assert set(parts) == {"summary", "component-0", "alerts-count", "open-approvals"}

    location = ask(visitor, pipeline_id, components="out")
    failed = sample_results.ReportedResult(
        request_id=location.rpartition("/")[2], component_key="out", error="404 on /graphql"
    )
    with app.app_context():
        sample_results.record(node_id, environment_id, [failed])
    page = visitor.get(location).text
    assert "Ended with errors" in page
    assert "edge-01</strong>" in page
    assert "404 on /graphql" in page
    assert "Vectors from 0.55 on" in page, "why an agent of another make can show nothing"
    assert "what goes in" in page


def test_what_cannot_be_asked_is_said_beside_what_was_typed(
    sign_in: SignIn, pipeline_id: str, node_id: str
) -> None:
    """The choice stays; a viewer sees the page without its form."""
    visitor = sign_in("editor")
    path = f"/pipelines/{pipeline_id}/samples"
    for fields in ({"limit": "0"}, {"limit": "x"}, {"limit": "101"}, {"components": "nope", "limit": "5"}):
        answer = visitor.post(path, path, **{"components": "requests", **fields})
        assert answer.status_code == 400
        assert "Nobody was asked." in answer.text
    answer = visitor.post(path, path, components="requests", limit="0")
    assert 'value="requests" checked' in answer.text
    location = ask(visitor, pipeline_id)
    viewer = sign_in("viewer")
    assert "Sample</button>" not in viewer.get(path).text
    assert viewer.get(location).status_code == 200
    assert viewer.post(path, "/", components="requests", limit="1").status_code == 403
    assert visitor.client.post(path, data={"components": "requests", "limit": "1"}).status_code == 400
    assert viewer.get("/samples/nope").status_code == 404


def test_a_pipeline_that_is_not_deployed_has_nothing_to_sample(sign_in: SignIn, pipeline_id: str) -> None:
    """The page says so."""
    page = sign_in("editor").get(f"/pipelines/{pipeline_id}/samples")
    assert "not deployed" in page.text
