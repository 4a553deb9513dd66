"""While Redis is away: every page and answer says that who is connected is unknown, and since when."""

import re
from pathlib import Path

import pytest
from flask import Flask

from app import accounts
from app.audit import COMMAND_LINE
from tests.app.pages.conftest import Make, SignIn, enroll


@pytest.fixture
def app(make_app: Make, tmp_path: Path) -> Flask:
    """The application, and no Redis where it looks for one."""
    return make_app(SIGNALBOX_REDIS_URL=f"unix://{tmp_path}/nobody.sock")


def test_the_pages_say_unknown_and_since_when(
    app: Flask, sign_in: SignIn, environment_id: str, pipeline_id: str
) -> None:
    """In words, with the moment: the fleet with its counts, a node, and how a deployment goes on."""
    visitor = sign_in()
    node_id = enroll(app, environment_id, "edge-01")
    visitor.post(
        f"/pipelines/{pipeline_id}/deploy",
        f"/pipelines/{pipeline_id}",
        config_yaml="sources: {s: {type: demo_logs, format: json}}\nsinks: {o: {type: blackhole, inputs: [s]}}",
    )
    pages = {path: visitor.get(path).text for path in ("/", f"/nodes/{node_id}", f"/pipelines/{pipeline_id}")}
    since = set()
    for path, text in pages.items():
        found = re.search(r'Redis is away since <time datetime="([^"]+)"', text)
        assert found is not None, path
        since.add(found[1])
    assert len(since) == 1, "it is the same moment on every page, not that of the look"
    assert "<b>unknown</b> <span>connected</span>" in pages["/"]
    assert "Version 1" in pages[f"/pipelines/{pipeline_id}"]
    with app.app_context():
        token = accounts.create_api_token("tests", COMMAND_LINE).text
    row = visitor.get(f"/api/v1/nodes/{node_id}", headers={"Authorization": f"Bearer {token}"}).get_json()
    assert row["push"]["connected"] is None
    assert row["push"]["unknownSince"] in since
