"""A pipeline's page as somebody uses it, with a real agent behind and somebody else looking on."""

from playwright.sync_api import BrowserContext, expect

from tests.browser.test_fleet_page import browser, context, email, environment_id
from tests.browser.test_samples import keep
from tests.conftest import StartAgent
from tests.support.api import Operator
from tests.support.server import Server
from tests.support.until import until

__all__ = ["browser", "context", "email", "environment_id"]

YAML = """\
sources:
  requests: {type: demo_logs, format: json, interval: 0.2}
transforms:
  nothing: {type: filter, inputs: [requests], condition: 'false'}
sinks:
  out: {type: blackhole, inputs: ["req*", nothing]}
"""


def test_the_flow_fills_with_rates_while_somebody_else_looks_on(
    context: BrowserContext,
    server: Server,
    operator: Operator,
    environment_id: str,
    start_agent: StartAgent,
) -> None:
    """From a starter over the review to a deploy; a page that was open before shows it without a reload."""
    agent = start_agent(server.url, operator.enrollment_token(environment_id))
    until(lambda: operator.node(agent.node_id)["push"]["connected"], what="the agent's socket")
    pipeline_id = operator.create_pipeline(environment_id, "access-log", YAML)["id"]
    other = context.new_page()
    other.goto(f"/pipelines/{pipeline_id}")
    expect(other.locator("#glance")).to_contain_text("nowhere")
    other.evaluate("window.isTheSamePage = true")
    box = other.get_by_role("link", name="requests, source of type demo_logs")
    box.focus()
    keep(other, "draft")

    page = context.new_page()
    page.goto(f"/pipelines/{pipeline_id}")
    page.get_by_role("button", name="Deploy…").click()
    expect(page.get_by_role("heading", name="1 node")).to_be_visible()
    keep(page, "review")
    page.get_by_label("What changes").fill("The first one")
    page.get_by_role("button", name="Deploy on 1 node").click()

    expect(other.locator("#glance")).to_contain_text("1 running")
    expect(other.locator("#progress")).to_contain_text("1 of 1 running")
    expect(other.locator("#graph-title")).to_have_text("Flow of v1")
    expect(other.locator("#graph .flow-rate").first).to_contain_text("/s")
    expect(box).to_be_focused()
    assert other.evaluate("window.isTheSamePage === true")
    expect(other.locator("#graph")).to_contain_text("discarded")
    keep(other, "flowing")
    page.goto("/pipelines")
    expect(page.get_by_role("row", name="access-log").first).to_contain_text("1 running")
    keep(page, "list")
    other.set_viewport_size({"width": 400, "height": 800})
    for path in ("", "/review", "/compare"):
        other.goto(f"/pipelines/{pipeline_id}{path}")
        assert other.evaluate("document.documentElement.scrollWidth") <= 400, path
    other.goto("/pipelines/new")
    assert other.evaluate("document.documentElement.scrollWidth") <= 400
    keep(other, "new")
