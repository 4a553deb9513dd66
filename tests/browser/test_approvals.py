"""One account asks for a deploy in a protected environment, another one approves it, each in a browser of its own."""

import uuid
from collections.abc import Iterator
from datetime import timedelta

import pytest
from playwright.sync_api import Browser, BrowserContext, expect

from tests.browser.test_fleet_page import PASSWORD, YAML, context, email, environment_id, sign_in
from tests.support.api import AgentByHand, Operator
from tests.support.server import Server

__all__ = ["context", "email", "environment_id"]


@pytest.fixture
def other(browser: Browser, server: Server) -> Iterator[BrowserContext]:
    """Somebody else, in another browser."""
    address = f"{uuid.uuid4().hex[:8]}@example.org"
    server.create_admin(address, PASSWORD)
    context = browser.new_context(base_url=server.url, viewport={"width": 400, "height": 900})
    context.set_default_timeout(timedelta(seconds=40) / timedelta(milliseconds=1))
    sign_in(context.new_page(), address).close()
    yield context
    context.close()


def test_one_asks_and_another_approves(
    operator: Operator, server: Server, context: BrowserContext, other: BrowserContext, environment_id: str
) -> None:
    """The approver's page hears of the request, and the asker's of the approval, without a reload."""
    agent = AgentByHand(server.url)
    agent.enroll(operator.enrollment_token(environment_id), "edge-01")
    name = f"asked-{uuid.uuid4().hex[:8]}"
    pipeline_id = operator.create_pipeline(environment_id, name, YAML)["id"]

    asker = context.new_page()
    asker.goto(f"/environments/{environment_id}")
    asker.get_by_role("button", name="Protect it").click()
    expect(asker.get_by_text("somebody else must approve what is deployed here")).to_be_visible()

    approver = other.new_page()
    approver.goto("/approvals")
    expect(approver.get_by_role("heading", name="Approvals")).to_be_visible()

    asker.goto(f"/pipelines/{pipeline_id}")
    asker.get_by_role("button", name="Deploy…", exact=True).click()
    asker.get_by_label("What changes").fill("the first")
    asker.get_by_role("button", name="Ask for approval").click()
    expect(asker.get_by_text("You have asked for this; somebody else must approve it.")).to_be_visible()
    expect(asker.get_by_role("button", name="Approve")).to_have_count(0)
    assert operator.call("GET", f"/pipelines/{pipeline_id}")["wantedVersion"] is None

    approver.get_by_role("link", name=f"Deploy {name}").click()
    expect(approver.get_by_text("demo_logs")).to_be_visible()
    later = AgentByHand(server.url)
    later.enroll(operator.enrollment_token(environment_id), "edge-02")
    expect(approver.get_by_text("Joined since")).to_be_visible()
    approver.get_by_label("Comment").fill("looks right")
    approver.get_by_role("button", name="Approve and deploy on 2 nodes").click()
    # The browser itself asks for the tick.
    tick = approver.get_by_role("checkbox")
    expect(tick).to_be_focused()
    tick.check()
    approver.get_by_role("button", name="Approve and deploy on 2 nodes").click()
    expect(approver.get_by_text("Approved, and deployed version 1 for 2 nodes")).to_be_visible()

    expect(asker.get_by_text("looks right")).to_be_visible()
    expect(asker.locator("#request-state")).to_contain_text("approved")
    expect(asker.locator("#request-decision")).to_be_hidden()
    assert operator.call("GET", f"/pipelines/{pipeline_id}")["wantedVersion"] == 1
