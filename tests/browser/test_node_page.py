"""The page of one node, with a real agent behind it."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.browser.test_fleet_page import YAML, context, email, environment_id
from tests.conftest import StartAgent
from tests.support.api import Operator
from tests.support.server import Server
from tests.support.until import until

__all__ = ["context", "email", "environment_id"]


@pytest.fixture
def hasty_heartbeats(operator: Operator) -> Iterator[None]:
    """Agents report every second: a chart's first point takes two reports."""
    names = ("heartbeatIntervalMs", "idleHeartbeatIntervalMs")
    before = operator.call("GET", "/settings")
    operator.call("PATCH", "/settings", dict.fromkeys(names, 1000))
    yield
    operator.call("PATCH", "/settings", {name: before[name] for name in names})


@pytest.mark.usefixtures("hasty_heartbeats")
def test_what_runs_what_it_did_and_what_became_of_its_channels(
    context: BrowserContext,
    server: Server,
    operator: Operator,
    environment_id: str,
    start_agent: StartAgent,
) -> None:
    """Differences, charts with their tables, and the push channel's history arrive on the open page."""
    pipeline_id = operator.create_pipeline(environment_id, "access-log", YAML)["id"]
    agent = start_agent(server.url, operator.enrollment_token(environment_id))
    (node,) = until(lambda: operator.nodes(environmentId=environment_id), what="the node")
    path = f"/nodes/{node['id']}"
    page = context.new_page()
    page.goto(path)
    expect(page.get_by_text("None yet")).to_be_visible()
    operator.deploy(pipeline_id)
    run = page.locator(f"#run-{pipeline_id}")
    for label, text in (("Runs", "v1"), ("Should run", "v1"), ("Difference", "none"), ("Status", "running")):
        expect(run.locator(f"[data-label='{label}']")).to_contain_text(text, timeout=15_000)
    chart = page.locator(f"#chart-{pipeline_id}-events")
    expect(chart.get_by_role("img")).to_be_visible(timeout=40_000)
    chart.get_by_text("Values").click()
    expect(chart.get_by_role("row").nth(1)).to_contain_text("/s")
    expect(page.locator("#chart-host-cpu")).to_be_visible()
    agent.stop()
    channels = page.locator("#channels")
    expect(channels.get_by_text("agent closed")).to_be_visible(timeout=15_000)
    expect(chart.get_by_role("table")).to_be_visible()  # nobody has closed it
    page.get_by_role("link", name="Week", exact=True).click()
    expect(page.locator("#chart-host-cpu")).to_be_visible()
    page.goto(f"{path}/channels")
    expect(page.get_by_role("table").get_by_text("agent closed")).to_be_visible()
