"""The page on which agents of another system are adopted."""

import hashlib

from flask import Flask

from tests.app.pages.conftest import SignIn

TOKEN = f"vf_node_{'5e' * 32}"


def test_an_admin_adopts_on_the_page(app: Flask, sign_in: SignIn, environment_id: str) -> None:
    """Empty at first; then fingerprint, address and a form, and the node's page after it."""
    visitor = sign_in()
    assert "No agent was refused" in visitor.get("/adoption").text
    agent = app.test_client()
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert agent.get("/api/agent/config", headers=headers).status_code == 401
    fingerprint = hashlib.sha256(TOKEN.encode()).hexdigest()[:16]
    page = visitor.get("/adoption").text
    assert fingerprint in page
    assert TOKEN not in page
    path = f"/adoption/{fingerprint}"
    assert visitor.post(path, environment_id=environment_id, name="bad\x00name").status_code == 400
    answer = visitor.post(path, environment_id=environment_id, name="edge-07")
    assert answer.status_code == 302
    assert "edge-07" in visitor.get(answer.headers["Location"]).text
    assert agent.get("/api/agent/config", headers=headers).status_code == 200


def test_nobody_else_sees_it(sign_in: SignIn) -> None:
    """Neither the page nor the way to it."""
    visitor = sign_in("editor")
    assert visitor.get("/adoption").status_code == 403
    assert "/adoption" not in visitor.get("/environments").text
