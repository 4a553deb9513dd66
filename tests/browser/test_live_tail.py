"""The live tail as somebody uses it, with an agent behind that can do it."""

import re
from pathlib import Path

from playwright.sync_api import BrowserContext, expect

from tests.browser.test_fleet_page import YAML, context, email, environment_id
from tests.conformance.agent_b import AgentB
from tests.conftest import StartAgent
from tests.support.api import Operator
from tests.support.server import Server
from tests.support.until import until

__all__ = ["context", "email", "environment_id"]

PAST_TWO_BATCHES = re.compile(r'\{"message":"event (599|[6-9]\d\d|\d{4,})"\}')
"""The page shows the latest events only, so a single one may come and go unseen."""


def test_events_appear_while_the_page_is_open(
    context: BrowserContext, server: Server, operator: Operator, environment_id: str, tmp_path: Path
) -> None:
    """Pick a component, see its events, stop; nothing piles up."""
    pipeline_id = operator.create_pipeline(environment_id, "access-log", YAML)["id"]
    page = context.new_page()
    page.goto(f"/pipelines/{pipeline_id}")
    expect(page.get_by_text("Nothing is deployed, so there is nothing to watch.")).to_be_visible()
    operator.deploy(pipeline_id)
    agent = AgentB(tmp_path, server.url, operator.enrollment_token(environment_id), name="tailed")
    agent.tap_seconds, agent.tap_batch = 0.5, 300
    agent.start()
    try:
        until(lambda: any(node["push"]["connected"] for node in operator.nodes(environmentId=environment_id)))
        until(lambda: agent.counts["heartbeats"] >= 2)
        page.reload()
        page.get_by_role("button", name="Start", exact=True).click()
        events = page.locator("#tail-events")
        expect(events).to_contain_text(PAST_TWO_BATCHES)
        assert len(events.inner_text().splitlines()) <= 200
        page.get_by_role("button", name="Stop", exact=True).click()
        expect(page.get_by_text("Stopped.")).to_be_visible()
        until(lambda: agent.taps == 0)
    finally:
        agent.stop()


def test_our_own_agent_shows_its_events(
    context: BrowserContext,
    server: Server,
    operator: Operator,
    environment_id: str,
    start_agent: StartAgent,
) -> None:
    """Through `vector tap`, with the environment's secrets masked; no process is left when it is stopped."""
    operator.call("PUT", f"/environments/{environment_id}/secrets/method", {"value": "GET"})
    pipeline_id = operator.create_pipeline(environment_id, "access-log", YAML)["id"]
    operator.deploy(pipeline_id)
    agent = start_agent(server.url, operator.enrollment_token(environment_id))
    until(lambda: operator.node(agent.node_id)["push"]["connected"], seconds=40)
    until(
        lambda: [each["status"] for each in operator.node(agent.node_id)["pipelines"]] == ["RUNNING"],
        seconds=40,
    )
    page = context.new_page()
    page.goto(f"/pipelines/{pipeline_id}")
    page.get_by_role("button", name="Start", exact=True).click()
    events = page.locator("#tail-events")
    expect(events).to_contain_text("message", timeout=30_000)
    expect(events).to_contain_text("***", timeout=30_000)
    assert "GET" not in events.inner_text()
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.get_by_text("Stopped.")).to_be_visible()
    until(lambda: len(agent.child_pids()) == 1, what="no tap to be left")
