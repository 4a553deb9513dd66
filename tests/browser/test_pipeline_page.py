"""A pipeline's page as somebody uses it, with a real agent behind and somebody else looking on."""

from playwright.sync_api import Browser, BrowserContext, expect

from tests.browser.test_fleet_page import context, email, environment_id, sign_in
from tests.browser.test_samples import keep
from tests.conftest import StartAgent
from tests.support.api import Operator
from tests.support.server import Server
from tests.support.until import until

__all__ = ["context", "email", "environment_id"]

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
    """From the review to a deploy; a page that was open before shows it without a reload.

    With heartbeats a minute apart: the agent does not wait for the next one, so that there are rates.
    """
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
    expect(other.locator("#graph .flow-box", has_text="nothing")).to_contain_text("discarded")
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


def test_the_editor_checks_completes_and_lets_go(
    context: BrowserContext, operator: Operator, environment_id: str
) -> None:
    """While it is typed, with line and component; Tab leads out; and nothing of it offends the security policy."""
    operator.call("PUT", f"/environments/{environment_id}/secrets/loki-password", {"value": "x"})
    pipeline_id = operator.create_pipeline(environment_id, "typed", YAML)["id"]
    page = context.new_page()
    page.goto(f"/pipelines/{pipeline_id}")
    expect(page.locator("#editor-state")).to_have_text("● Nothing wrong: this can be deployed.")
    page.get_by_text("Draft: Vector configuration").click()
    page.keyboard.press("Control+End")
    page.keyboard.type("  other:\ntype: socket", delay=10)
    expect(page.locator(".CodeMirror-hints")).to_have_count(0)
    page.keyboard.press("Enter")
    # A whole name is what was meant, although "websocket" holds it, too.
    assert page.locator(".CodeMirror-line").all_inner_texts()[-2:-1] == ["    type: socket"]
    for _ in "socket\n    ":
        page.keyboard.press("Backspace")
    page.keyboard.type("cons", delay=10)
    expect(page.locator(".CodeMirror-hint-active")).to_have_text("console")
    page.keyboard.press("Enter")
    page.keyboard.type("\ninputs: [requ", delay=10)
    expect(page.locator(".CodeMirror-hint-active")).to_have_text("requests")
    keep(page, "completing")
    page.keyboard.press("Escape")
    page.keyboard.type("]", delay=10)
    expect(page.locator("#editor-problems")).to_contain_text('the input "requ" is no source or transform')
    expect(page.locator("#editor-problems button")).to_have_text("other, line 9")
    expect(page.locator(".editor-mark")).to_have_count(1)
    keep(page, "problem")
    page.keyboard.press("ArrowLeft")
    page.keyboard.type("ests", delay=10)
    page.keyboard.press("Escape")
    page.keyboard.press("End")
    page.keyboard.type("\nkey: SECRET[", delay=10)
    expect(page.locator(".CodeMirror-hint-active")).to_have_text("loki-password")
    page.keyboard.press("Enter")
    expect(page.locator("#editor-state")).to_have_text("● Nothing wrong: this can be deployed.")
    page.get_by_text("Picture of what stands here").click()
    expect(
        page.locator("#editor-graph").get_by_role("link", name="other, sink of type console")
    ).to_be_visible()
    page.get_by_text("Draft: Vector configuration").click()
    page.keyboard.press("Tab")
    assert not page.evaluate("document.activeElement.closest('.CodeMirror')"), "Tab leads out"
    page.get_by_role("button", name="Save draft").click()
    expect(page.get_by_text("Saved the draft.")).to_be_visible()
    saved = operator.call("GET", f"/pipelines/{pipeline_id}")["configYaml"]
    assert saved.endswith(
        "  other:\n    type: console\n    inputs: [requests]\n    key: SECRET[loki-password]"
    )


def test_without_scripts_the_editor_is_a_field_that_saves(
    browser: Browser, server: Server, email: str, operator: Operator, environment_id: str
) -> None:
    """And what belongs to scripts does not show."""
    pipeline_id = operator.create_pipeline(environment_id, "plain", YAML)["id"]
    context = browser.new_context(base_url=server.url, java_script_enabled=False)
    page = sign_in(context.new_page(), email)
    page.goto(f"/pipelines/{pipeline_id}")
    expect(page.locator("#editor-help")).to_be_hidden()
    page.get_by_label("Draft: Vector configuration").fill(YAML + "# more\n")
    page.get_by_role("button", name="Deploy…").click()
    expect(page.get_by_text("# more")).to_be_visible()
    context.close()
