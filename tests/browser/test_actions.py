"""Restart and Retry as somebody presses them, with a real agent behind."""

import random
import socket
from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.test_fleet_page import YAML, context, email, environment_id
from tests.conftest import StartAgent
from tests.support.api import Operator
from tests.support.server import Server
from tests.support.until import until

__all__ = ["context", "email", "environment_id"]

EXPORTER = """\
sources:
  host:
    type: internal_metrics
sinks:
  out:
    type: prometheus_exporter
    inputs: [host]
    address: 127.0.0.1:{port}
"""


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    """A listening socket, on a port that nobody else has while it is open, nor is given right after that.

    So it is none of those that the kernel hands out (from 32768 on).
    """
    for port in random.sample(range(20_000, 32_000), 100):
        try:
            listener = socket.create_server(("127.0.0.1", port))
        except OSError:
            continue
        with listener:
            yield listener
        return
    raise AssertionError("no port between 20000 and 32000 is free")


def test_what_failed_by_something_outside_is_retried_without_a_deploy(
    context: BrowserContext,
    server: Server,
    operator: Operator,
    environment_id: str,
    start_agent: StartAgent,
    taken: socket.socket,
) -> None:
    """The port was taken when the pipeline came; once it is free, Retry runs the same version. By keyboard."""
    port = taken.getsockname()[1]
    good = operator.create_pipeline(environment_id, "access-log", YAML)["id"]
    broken = operator.create_pipeline(environment_id, "exporter", EXPORTER.format(port=port))["id"]
    for pipeline_id in (good, broken):
        operator.deploy(pipeline_id)
    agent = start_agent(server.url, operator.enrollment_token(environment_id))

    page = context.new_page()
    page.goto(f"/nodes/{agent.node_id}")
    expect(page.locator(f"#run-{good}").get_by_text("running", exact=True)).to_be_visible()
    retry = page.get_by_role("button", name="Retry exporter")
    expect(retry).to_be_visible()
    expect(page.get_by_role("button", name="Restart access-log")).to_be_visible()

    taken.close()
    retry.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").filter(has_text="told at once")).to_be_visible()
    expect(page.locator(f"#run-{broken}").get_by_text("running", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Restart exporter")).to_be_visible()
    _expect_completed(page, "Restart exporter")
    rows = {row["pipelineId"]: row for row in operator.node(agent.node_id)["pipelines"]}
    assert (rows[broken]["version"], rows[broken]["failedVersion"]) == (1, None)
    assert len(operator.call("GET", f"/pipelines/{broken}/versions")["items"]) == 1

    page.get_by_role("button", name="Restart agent").click()
    _expect_completed(page, "Restart agent")


def test_a_pipeline_is_retried_wherever_it_failed(
    context: BrowserContext,
    server: Server,
    operator: Operator,
    environment_id: str,
    start_agent: StartAgent,
    taken: socket.socket,
) -> None:
    """The pipeline's page offers it while there is a reason, and the page that follows counts by itself."""
    port = taken.getsockname()[1]
    broken = operator.create_pipeline(environment_id, "exporter", EXPORTER.format(port=port))["id"]
    operator.deploy(broken)
    page = context.new_page()
    page.goto(f"/pipelines/{broken}")
    expect(page.locator("#retry")).to_be_hidden()
    agent = start_agent(server.url, operator.enrollment_token(environment_id))
    retry = page.get_by_role("button", name="Retry on 1 failed node")
    expect(retry).to_be_visible()
    taken.close()
    retry.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Restart exporter")
    expect(
        page.get_by_role("status").filter(has_text="Asked 1 node, 1 of them told at once.")
    ).to_be_visible()
    expect(page.locator("#progress")).to_contain_text("1 of 1 node completed")
    expect(page.get_by_role("heading", name="Ended")).to_be_visible()
    page.goto(f"/pipelines/{broken}")
    expect(page.locator("#retry")).to_be_hidden()
    until(
        lambda: operator.node(agent.node_id)["pipelines"][0]["status"] == "RUNNING",
        what="the exporter's running",
    )


def _expect_completed(page: Page, what: str) -> None:
    row = page.locator("#actions tr", has_text=what)
    expect(row.get_by_text("completed", exact=True)).to_be_visible()
