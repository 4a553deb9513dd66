"""A deploy that fails on one node, and what is asked of many: with real agents, and somebody else looking on."""

import socket

from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.test_actions import EXPORTER, taken
from tests.browser.test_fleet_page import (
    context,
    email,
    environment_id,
    open_fleet,
    open_pipeline,
    row,
    sign_in,
    start_two_agents,
    was_not_reloaded,
)
from tests.browser.test_samples import keep
from tests.conftest import StartAgent
from tests.support.api import Operator
from tests.support.server import Server

__all__ = ["context", "email", "environment_id", "taken"]


def test_one_of_two_nodes_fails_and_both_are_asked_to_restart(
    browser: Browser,
    context: BrowserContext,
    email: str,
    server: Server,
    operator: Operator,
    environment_id: str,
    start_agent: StartAgent,
    taken: socket.socket,
) -> None:
    """Two agents of one machine want the same port. A second browser sees each change arrive without a reload."""
    pipeline_id = operator.create_pipeline(
        environment_id, "exporter", EXPORTER.format(port=taken.getsockname()[1])
    )["id"]
    node_ids = [agent.node_id for agent in start_two_agents(operator, server, environment_id, start_agent)]
    with browser.new_context(base_url=server.url, viewport={"width": 1400, "height": 900}) as other:
        sign_in(other.new_page(), email).close()
        fleet, watched = open_fleet(other, environment_id), open_pipeline(other, pipeline_id)
        for node_id in node_ids:
            expect(row(fleet, node_id).get_by_text("WS", exact=True)).to_be_visible()

        taken.close()
        page = open_pipeline(context, pipeline_id)
        page.get_by_role("button", name="Deploy…", exact=True).click()
        page.get_by_role("button", name="Deploy on 2 nodes", exact=True).click()
        for each in (page, watched):
            expect(each.locator("#progress")).to_contain_text("1 of 2 running, 1 failed")
            bar = each.locator("#progress").get_by_role("img", name="Of 2 nodes: 1 running, 1 failed")
            expect(bar).to_be_visible()
            expect(bar.locator("rect.good[width='50.0%'], rect.hatched[x='50.0%']")).to_have_count(2)
            expect(each.locator("#progress .legend")).to_contain_text("✕ 1 failed")
        keep(watched, "one-failed")
        expect(fleet.locator("#counts")).to_contain_text("1 failed")

        page = open_fleet(context, environment_id)
        page.get_by_role("link", name="Status", exact=True).click()
        expect(page.get_by_role("columnheader", name="Status")).to_have_attribute("aria-sort", "ascending")
        expect(page.locator("#nodes tr").first.get_by_text("failed", exact=True).first).to_be_visible()
        select_all(page, "Begin maintenance")
        for node_id in node_ids:
            name = operator.node(node_id)["name"]
            expect(page.locator(".names")).to_contain_text(name)
        page.get_by_role("button", name="Stop everything on 2 nodes").click()
        expect(page.get_by_text("Maintenance began on 2 nodes.")).to_be_visible()
        for node_id in node_ids:
            expect(row(fleet, node_id).get_by_text("maintenance", exact=True)).to_be_visible()
            expect(row(fleet, node_id).locator(".run")).to_have_count(0)

        select_all(page, "Restart the agent")
        page.get_by_role("button", name="Restart 2 nodes").click()
        expect(
            page.get_by_role("status").filter(has_text="Asked 2 nodes, 2 of them told at once.")
        ).to_be_visible()
        watched.goto(page.url)
        watched.evaluate("window.isTheSamePage = true")
        for each in (page, watched):
            expect(each.locator("#progress")).to_contain_text("2 of 2 nodes completed")
            expect(each.get_by_role("heading", name="Ended")).to_be_visible()
            expect(each.get_by_role("img", name="Of 2 nodes: 2 completed")).to_be_visible()
        for node_id in node_ids:
            expect(row(fleet, node_id).get_by_text("WS", exact=True)).to_be_visible()
        assert was_not_reloaded(fleet)
        assert was_not_reloaded(watched)


def select_all(page: Page, what: str) -> None:
    """Both nodes of the page, and the preview of what to do with them."""
    page.get_by_role("checkbox", name="Select every node of this page").check()
    expect(page.locator("#selected")).to_have_text("2 selected, or")
    page.get_by_label("What to do with them").select_option(label=what)
    page.get_by_role("button", name="Preview…").click()
    expect(page.get_by_role("heading", name="2 nodes in")).to_be_visible()
