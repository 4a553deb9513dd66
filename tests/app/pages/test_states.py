"""How the pages show nodes that are not as they should be: revoked, silent, failed."""

from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import update

from app import enrollment, nodes
from app.audit import COMMAND_LINE
from app.clock import utc_now
from app.database import transaction
from app.models import Node
from tests.app.pages.conftest import SignIn, Visitor


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
