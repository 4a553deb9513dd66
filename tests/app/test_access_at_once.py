"""What somebody may do changes while they look: it holds at once, in every worker of a server."""

import uuid
from collections.abc import Iterator

import pytest
import requests

from tests.support.api import Operator
from tests.support.server import Server
from tests.support.signed_in import signed_in

PASSWORD = "correct horse battery"
REQUESTS = 8
"""Each on a connection of its own, so that both workers have some of them."""
ENDS_WITHIN_SECONDS = 45.0
"""Of a stream that looks every five seconds, on a machine that is busy."""


@pytest.fixture
def environment_id(operator: Operator) -> str:
    return str(operator.create_environment(f"access-{uuid.uuid4().hex[:8]}")["id"])


@pytest.fixture
def account(operator: Operator, environment_id: str) -> Iterator[dict[str, str]]:
    """Somebody with a role in the environment alone."""
    made: dict[str, str] = operator.call(
        "POST",
        "/accounts",
        {
            "email": f"{uuid.uuid4().hex}@example.org",
            "password": PASSWORD,
            "grants": [{"environmentId": environment_id, "role": "viewer"}],
        },
    )
    yield made
    assert operator.request("DELETE", f"/accounts/{made['id']}").status_code in (204, 404)


def statuses(session: requests.Session, address: str) -> set[int]:
    return {session.get(address, timeout=30, allow_redirects=False).status_code for _ in range(REQUESTS)}


def test_a_changed_role_holds_from_the_next_request_on(
    server: Server, operator: Operator, environment_id: str, account: dict[str, str]
) -> None:
    """In both workers: no answer is as it was before; a disabled account is sent to sign in."""
    session = signed_in(server.url, account["email"], PASSWORD)
    page, path = f"{server.url}/environments/{environment_id}", f"/accounts/{account['id']}"
    assert statuses(session, page) == {200}
    assert statuses(session, f"{server.url}/webhooks") == {403}
    operator.call("PATCH", path, {"grants": []})
    assert statuses(session, page) == {404}
    operator.call("PATCH", path, {"grants": [{"environmentId": environment_id, "role": "admin"}]})
    assert statuses(session, page) == {200}
    assert statuses(session, f"{server.url}/webhooks") == {200}
    operator.call("PATCH", path, {"disabled": True})
    assert statuses(session, page) == {302}


def test_an_open_page_ends_when_its_account_is_disabled(
    server: Server, operator: Operator, environment_id: str, account: dict[str, str]
) -> None:
    """Long before a stream ends by itself."""
    session = signed_in(server.url, account["email"], PASSWORD)
    address = f"{server.url}/environments/{environment_id}/events"
    with session.get(address, stream=True, timeout=ENDS_WITHIN_SECONDS) as stream:
        lines = stream.iter_lines(decode_unicode=True)
        assert any(line == "event: change" for line in lines)
        operator.call("PATCH", f"/accounts/{account['id']}", {"disabled": True})
        seen = [line for line in lines if line.startswith("event:")]
    assert len(seen) <= 6, "the stream went on"
    assert session.get(address, timeout=30).status_code == 401
