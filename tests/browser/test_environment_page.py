"""An environment's page in a real browser: from the token to the node that joins with it."""

import shlex

from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.test_fleet_page import context, email, environment_id, sign_in
from tests.conftest import StartAgent
from tests.support.api import AgentByHand, Operator
from tests.support.server import Server

__all__ = ["context", "email", "environment_id"]


def open_environment(context: BrowserContext, environment_id: str) -> Page:
    page = context.new_page()
    page.goto(f"/environments/{environment_id}")
    return page


def settings_in(command: str) -> dict[str, str]:
    """The variables that a shell would set for the program of *command*."""
    words = shlex.split(command)
    return dict(word.split("=", 1) for word in words if word.startswith("SIGNALBOX_"))


def test_a_node_that_joins_with_the_shown_command_turns_the_line_green(
    context: BrowserContext,
    server: Server,
    operator: Operator,
    environment_id: str,
    start_agent: StartAgent,
) -> None:
    """The old token ends with the new one; the line names the node, and nothing was reloaded."""
    former = operator.enrollment_token(environment_id)
    page = open_environment(context, environment_id)
    page.get_by_text("New token…").click()
    page.get_by_role("button", name="Make a new token").click()
    line = page.locator("#joined")
    expect(line).to_have_attribute("data-state", "waiting")
    expect(page.locator("#live")).to_have_attribute("data-state", "stream")
    before = line.evaluate("element => getComputedStyle(element).backgroundColor")
    told = settings_in(page.locator("#enrollment-command").inner_text())
    assert told["SIGNALBOX_URL"] == server.url
    assert told["SIGNALBOX_TOKEN"] not in (former, "")

    agent = start_agent(told["SIGNALBOX_URL"], told["SIGNALBOX_TOKEN"])
    expect(line).to_have_attribute("data-state", "joined")
    name = operator.node(agent.node_id)["name"]
    expect(line.get_by_role("link", name=name)).to_have_attribute("href", f"/nodes/{agent.node_id}")
    expect(line.get_by_text("WS", exact=True)).to_be_visible()
    assert line.evaluate("element => getComputedStyle(element).backgroundColor") != before
    expect(page.locator("#counts").get_by_role("link", name="1 connected")).to_be_visible()
    expect(page.locator("#enrollment-command")).to_contain_text(told["SIGNALBOX_TOKEN"])


def test_an_environment_is_renamed_emptied_and_deleted(
    browser: Browser,
    context: BrowserContext,
    server: Server,
    operator: Operator,
    environment_id: str,
    email: str,
) -> None:
    """What it takes along is said and its name asked for; another browser is told that it is gone."""
    agent = AgentByHand(server.url)
    agent.enroll(operator.enrollment_token(environment_id), "edge-01")
    page = open_environment(context, environment_id)
    others = browser.new_context(base_url=server.url)  # its console tells of the page that is gone
    sign_in(others.new_page(), email)
    other = open_environment(others, environment_id)
    expect(page.get_by_text("cannot be deleted: it has 1 node")).to_be_visible()
    name = f"emptied-{environment_id[-8:]}"
    page.get_by_label("Name of the environment").fill(name)
    page.get_by_role("button", name="Rename").click()
    expect(page.get_by_role("heading", level=1, name=name)).to_be_visible()
    operator.call("DELETE", f"/nodes/{agent.node_id}")
    page.reload()
    page.get_by_text("Delete the environment…").click()
    expect(page.get_by_text("takes along 0 secrets")).to_be_visible()
    page.get_by_label("Type its name").fill(name)
    page.get_by_role("button", name=f"Delete {name}").click()
    expect(page.get_by_text(f"Deleted the environment {name}.")).to_be_visible()
    expect(other.locator("#live")).to_have_text("What this page is about no longer exists.")
    others.close()
