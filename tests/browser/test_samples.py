"""Samples as somebody asks for them, with a real agent behind."""

import os
from pathlib import Path

from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.test_fleet_page import context, email, environment_id
from tests.conftest import StartAgent
from tests.support.api import Operator
from tests.support.server import Server
from tests.support.until import until

__all__ = ["context", "email", "environment_id"]

YAML = """\
sources:
  requests:
    type: demo_logs
    format: json
    interval: 0.2
transforms:
  nothing:
    type: filter
    inputs: [requests]
    condition: 'false'
sinks:
  out:
    type: blackhole
    inputs: [requests, nothing]
"""


def test_events_fill_the_page_as_they_come(
    context: BrowserContext,
    server: Server,
    operator: Operator,
    environment_id: str,
    start_agent: StartAgent,
) -> None:
    """By keyboard from the pipeline's page; what has events shows them while another component still waits."""
    pipeline_id = operator.create_pipeline(environment_id, "access-log", YAML)["id"]
    agent = start_agent(server.url, operator.enrollment_token(environment_id))
    operator.deploy(pipeline_id)
    until(
        lambda: [run["status"] for run in operator.node(agent.node_id)["pipelines"]] == ["RUNNING"],
        seconds=60,
        what="the pipeline",
    )
    page = context.new_page()
    page.goto(f"/pipelines/{pipeline_id}")
    page.get_by_role("link", name="Sample…").focus()
    page.keyboard.press("Enter")
    for name in ("requests", "nothing", "out"):
        page.get_by_role("checkbox", name=name).focus()
        page.keyboard.press("Space")
    keep(page, "form")
    page.get_by_label("Events of each").fill("3")
    page.keyboard.press("Enter")

    for number in (0, 2):
        expect(page.locator(f"#component-{number}")).to_contain_text("3 events")
        expect(page.locator(f"#component-{number} pre")).to_have_count(3)
    expect(page.locator("#component-0")).to_contain_text(".message")
    expect(page.locator("#component-0")).to_contain_text(operator.node(agent.node_id)["name"])
    expect(page.locator("#component-1")).to_contain_text("waiting")
    keep(page, "waiting")
    expect(page.get_by_role("heading", name="Ended with errors")).to_be_visible()
    expect(page.locator("#component-1")).to_contain_text("no event came within 15 s")
    keep(page, "ended")

    page.set_viewport_size({"width": 400, "height": 800})
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 400, "nothing sticks out of a narrow window"
    page.goto(f"/pipelines/{pipeline_id}/samples")
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    expect(page.get_by_role("region", name="Asked lately")).to_contain_text("requests, nothing, out")


def keep(page: Page, name: str) -> None:
    """Pictures for people, where somebody wants them."""
    folder = os.environ.get("SIGNALBOX_TEST_PICTURES")
    if folder:
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            page.screenshot(path=Path(folder) / f"{name}-{scheme}.png", full_page=True)
        size = page.viewport_size
        page.set_viewport_size({"width": 400, "height": 800})
        page.screenshot(path=Path(folder) / f"{name}-400.png", full_page=True)
        assert size is not None
        page.set_viewport_size(size)
