"""The fleet page in a real browser, against the real server with real agents."""

import re
import uuid
from collections.abc import Iterator

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    expect,
)

from tests.conftest import StartAgent
from tests.support.agent_process import AgentProcess
from tests.support.api import AgentByHand, Operator
from tests.support.server import Server

PASSWORD = "correct horse battery"
WAIT_MS = 40_000
OVERFLOWING = """cells => cells
  .filter((cell) => cell.scrollWidth > cell.clientWidth + 1 && getComputedStyle(cell).overflowX === "visible")
  .map((cell) => cell.textContent)"""
"""What of some cells lies over their neighbours."""
YAML = """\
sources:
  requests:
    type: demo_logs
    format: json
    interval: 0.2
sinks:
  out:
    type: blackhole
    inputs: [requests]
"""


@pytest.fixture(scope="module")
def email(server: Server) -> str:
    """An admin's account on the session's server."""
    email = f"{uuid.uuid4().hex[:8]}@example.org"
    server.create_admin(email, PASSWORD)
    return email


@pytest.fixture
def context(browser: Browser, server: Server, email: str) -> Iterator[BrowserContext]:
    """A browser that has signed in; whatever its pages complain of in the console fails the test."""
    context = browser.new_context(base_url=server.url, viewport={"width": 1400, "height": 900})
    context.set_default_timeout(WAIT_MS)
    complaints: list[str] = []

    def hear(message: ConsoleMessage) -> None:
        if message.type == "error" and "502" not in message.text:  # which only a test itself answers
            complaints.append(message.text)

    context.on("console", hear)
    context.on("weberror", lambda error: complaints.append(str(error.error)))
    sign_in(context.new_page(), email).close()
    yield context
    context.close()
    assert complaints == []


@pytest.fixture
def environment_id(operator: Operator) -> str:
    environment_id: str = operator.create_environment(f"browser-{uuid.uuid4().hex[:8]}")["id"]
    return environment_id


def sign_in(page: Page, email: str) -> Page:
    """Through the form, from the page that asks for it, to the fleet."""
    page.goto("/")
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Fleet")).to_be_visible()
    return page


def open_fleet(context: BrowserContext, environment_id: str) -> Page:
    """The fleet page of one environment, with a mark that a reload would wipe away."""
    page = context.new_page()
    page.goto(f"/?environment={environment_id}")
    page.evaluate("window.isTheSamePage = true")
    return page


def open_pipeline(context: BrowserContext, pipeline_id: str) -> Page:
    page = context.new_page()
    page.goto(f"/pipelines/{pipeline_id}")
    return page


def row(page: Page, node_id: str) -> Locator:
    return page.locator(f"#node-{node_id}")


def was_not_reloaded(page: Page) -> bool:
    return page.evaluate("window.isTheSamePage === true") is True


def start_two_agents(
    operator: Operator, server: Server, environment_id: str, start_agent: StartAgent
) -> list[AgentProcess]:
    token = operator.enrollment_token(environment_id)
    return [start_agent(server.url, token) for _ in range(2)]


def test_a_deploy_arrives_on_an_open_fleet_page(
    context: BrowserContext,
    server: Server,
    operator: Operator,
    environment_id: str,
    start_agent: StartAgent,
) -> None:
    """Nodes, their WS badges and versions appear and change without a reload, and the focus stays where it is."""
    pipeline_id = operator.create_pipeline(environment_id, "access-log", YAML)["id"]
    fleet = open_fleet(context, environment_id)
    expect(fleet.get_by_role("heading", name="No nodes in this environment yet")).to_be_visible()
    expect(fleet.locator("#live")).to_have_attribute("data-state", "stream")
    # Nothing to narrow, sort or select.
    for useless in ("search", "table"):
        expect(fleet.get_by_role(useless)).to_be_hidden()  # type: ignore[arg-type]
    expect(fleet.get_by_role("button", name="Preview…")).to_be_hidden()

    agents = start_two_agents(operator, server, environment_id, start_agent)
    node_ids = [agent.node_id for agent in agents]
    for node_id in node_ids:
        badge = row(fleet, node_id).get_by_text("WS", exact=True)
        expect(badge).to_be_visible()
        expect(badge).to_have_attribute("title", _says("WebSocket open since", "held by worker"))
    expect(fleet.get_by_role("heading", name="No nodes in this environment yet")).to_be_hidden()
    for useful in ("search", "table"):
        expect(fleet.get_by_role(useful)).to_be_visible()  # type: ignore[arg-type]

    link = row(fleet, node_ids[0]).get_by_role("link").first
    link.focus()

    pipeline = open_pipeline(context, pipeline_id)
    expect(pipeline.locator("#targets")).to_contain_text("2 nodes will run it")
    for version in (1, 2):
        pipeline.get_by_role("button", name="Deploy…", exact=True).click()
        pipeline.get_by_label("What changes").fill(f"Change number {version}")
        pipeline.get_by_role("button", name="Deploy on 2 nodes", exact=True).click()
        expect(pipeline.get_by_role("status").filter(has_text="Deployed version")).to_contain_text(
            f"Deployed version {version} for 2 nodes, 2 of them told at once."
        )
        expect(pipeline.locator("#progress")).to_contain_text("2 of 2 running")
        for node_id in node_ids:
            run = fleet.locator(f"#run-{node_id}-{pipeline_id}")
            expect(run.locator(".versions")).to_have_text(f"v{version}")
            expect(run.get_by_text("running", exact=True)).to_be_visible()

    expect(link).to_be_focused()
    agents[0].stop()
    expect(row(fleet, node_ids[0]).get_by_text("not connected")).to_be_visible()
    expect(row(fleet, node_ids[1]).get_by_text("WS", exact=True)).to_be_visible()
    assert was_not_reloaded(fleet)

    fleet.get_by_label("Name or host").fill("nothing-is-called-so")
    fleet.get_by_role("button", name="Filter", exact=True).click()
    expect(fleet.get_by_role("heading", name="No node matches")).to_be_visible()
    expect(fleet.get_by_role("table")).to_be_hidden()
    fleet.locator("#empty").get_by_role("link", name="Clear filters").click()
    expect(row(fleet, node_ids[1])).to_be_visible()
    expect(fleet.get_by_label("Name or host")).to_have_value("")


def test_without_a_stream_the_page_asks_and_stays_current(
    context: BrowserContext, server: Server, operator: Operator, environment_id: str
) -> None:
    """A proxy that breaks streams costs seconds, not truth; and the page says which it is."""
    context.route("**/fleet/events*", lambda route: route.fulfill(status=502, body=""))
    token = operator.enrollment_token(environment_id)
    fleet = open_fleet(context, environment_id)
    expect(fleet.locator("#live")).to_have_attribute("data-state", "poll")
    agent = AgentByHand(server.url)
    agent.enroll(token, "by-hand")
    expect(row(fleet, agent.node_id)).to_contain_text("not seen yet")
    agent.heartbeat(agentVersion="7.7.7")
    expect(row(fleet, agent.node_id)).to_contain_text("7.7.7")
    assert was_not_reloaded(fleet)
    context.unroute_all()


def test_a_row_that_would_move_others_waits_until_it_is_asked_for(
    context: BrowserContext, server: Server, operator: Operator, environment_id: str
) -> None:
    """What goes to the end comes at once; what belongs above is announced, and selecting is not undone by it."""
    token = operator.enrollment_token(environment_id)
    agents = {name: AgentByHand(server.url) for name in ("m", "z", "a")}
    agents["m"].enroll(token, "m")
    fleet = open_fleet(context, environment_id)
    expect(fleet.locator("#live")).to_have_attribute("data-state", "stream")
    fleet.get_by_role("checkbox", name="Select m", exact=True).check()
    agents["z"].enroll(token, "z")
    expect(row(fleet, agents["z"].node_id)).to_be_visible()
    agents["a"].enroll(token, "a")
    held = fleet.locator("#nodes-held")
    expect(held).to_contain_text("1 change of the list waits.")
    expect(fleet.locator("#nodes tr")).to_have_count(2)
    held.get_by_role("button", name="Show").click()
    expect(held).to_be_hidden()
    expect(fleet.locator("#nodes th a")).to_have_text(["a", "m", "z"])
    expect(fleet.locator("#selected")).to_have_text("1 selected, or")
    fleet.get_by_role("button", name="Preview…").click()
    expect(fleet.get_by_role("button", name="Restart 1 node")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_scrolls_sideways_on_a_telephone(
    browser: Browser,
    server: Server,
    email: str,
    operator: Operator,
    environment_id: str,
    scheme: str,
) -> None:
    """400 pixels are enough for every page, names as long as they may be included."""
    agent = AgentByHand(server.url)
    agent.enroll(operator.enrollment_token(environment_id), "a-very-long-host-name-" * 5)
    agent.heartbeat(labels={"a-label": "with-a-value-that-goes-on-and-on-and-on-and-on-and-on"})
    pipeline_id = operator.create_pipeline(environment_id, "a-long-name-of-a-pipeline-" * 3, YAML)["id"]
    operator.deploy(pipeline_id, "What-nobody-can-break-into-lines-" * 3)
    run = {
        "pipelineId": pipeline_id,
        "version": 1,
        "status": "RUNNING",
        "failedVersion": 2,
        "error": "why" * 90,
    }
    for events in (0, 10**8):
        agent.heartbeat(pipelines=[{**run, "eventsIn": events, "eventsOut": events}])
    asked = {"action": "restart", "selector": ""}
    batch_id = operator.call("POST", f"/environments/{environment_id}/actions", asked)["batchId"]
    action_id = operator.call("GET", f"/nodes/{agent.node_id}/actions")["items"][0]["id"]
    agent.heartbeat([run], completedActions=[{"actionId": action_id, "error": "a-word-without-an-end-" * 20}])
    context = browser.new_context(
        base_url=server.url, viewport={"width": 400, "height": 800}, color_scheme=scheme
    )
    page = sign_in(context.new_page(), email)
    for path in (
        f"/?environment={environment_id}",
        "/pipelines",
        "/pipelines/new",
        f"/pipelines/{pipeline_id}",
        "/environments",
        f"/environments/{environment_id}",
        "/audit",
        "/settings",
        f"/nodes/{agent.node_id}",
        f"/environments/{environment_id}/actions?what=self_update",
        f"/actions/{batch_id}",
    ):
        page.goto(path)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 400, f"{path} is {width} pixels wide"
        assert page.locator(".run > *").evaluate_all(OVERFLOWING) == []
    context.close()


def _says(*texts: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(text) for text in texts))
