"""The operator API's readable page: every operation, with a command, from the document itself."""

import re

from app.operator_api import openapi
from tests.app.pages.conftest import SignIn


def test_every_operation_has_a_place_and_a_command(sign_in: SignIn) -> None:
    """Made of the same document, so that none can be missing; nothing is loaded from elsewhere."""
    visitor = sign_in("viewer")
    page = visitor.client.get("/docs/api")
    assert page.status_code == 200
    for route in openapi.routes(visitor.client.application):
        name = route.endpoint.replace(".", "_")
        assert page.text.count(f'id="{name}"') == 1, name
        assert f'href="#{name}"' in page.text
        assert f'aria-label="Command for {name}"' in page.text
    for status in (400, 401, 403, 404, 409, 412, 422, 429, 503):
        assert f'id="problem-{status}"' in page.text, "what a problem's type leads to"
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page.text)
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]


def test_operations_can_be_found(sign_in: SignIn) -> None:
    """By a part of the address or by words; for nothing found it says what to try."""
    client = sign_in("viewer").client
    page = client.get("/docs/api?q=Deploy+pipeline")
    assert 'id="pipelines_deploy"' in page.text
    assert 'id="webhooks_create"' not in page.text
    assert "No operation has" in client.get("/docs/api?q=<b>nonsense").text
