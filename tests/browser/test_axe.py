"""axe on every page: light and dark, wide and narrow; and no page that this list does not know."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from app import create_app
from app.config import Settings
from tests.browser.test_fleet_page import YAML, browser, context, email, environment_id, sign_in
from tests.support.api import AgentByHand, Operator
from tests.support.server import Server

__all__ = ["browser", "context", "email", "environment_id"]

AXE = (Path(__file__).parent.parent / "support" / "vendor" / "axe" / "axe.min.js").read_text()

PAGES = {
    "pages.fleet.index": "/",
    "pages.first_steps.index": "/getting-started",
    "pages.fleet_batches.preview": "/fleet/actions?what=pause&node={node}",
    "pages.nodes.show": "/nodes/{node}",
    "pages.nodes.channels": "/nodes/{node}/channels",
    "pages.pipelines.index": "/pipelines",
    "pages.pipelines.new": "/pipelines/new",
    "pages.pipelines.show": "/pipelines/{pipeline}",
    "pages.pipelines.targets": "/pipelines/{pipeline}/targets?change=kept",
    "pages.pipelines.versions": "/pipelines/{pipeline}/versions",
    "pages.pipelines.version": "/pipelines/{pipeline}/versions/1",
    "pages.pipelines.compare": "/pipelines/{pipeline}/compare?from=1&to=draft",
    "pages.pipelines.review_deploy": "/pipelines/{pipeline}/review",
    "pages.pipelines.review_rollback": "/pipelines/{pipeline}/rollback/1",
    "pages.environments.index": "/environments",
    "pages.environments.show": "/environments/{environment}",
    "pages.environments.secrets": "/environments/{environment}/secrets",
    "pages.actions.of_environment": "/environments/{environment}/actions",
    "pages.actions.show": "/actions/{batch}",
    "pages.samples.index": "/pipelines/{pipeline}/samples",
    "pages.samples.show": "/samples/{sample}",
    "pages.adoption.index": "/adoption",
    "pages.audit.index": "/audit",
    "pages.webhooks.index": "/webhooks",
    "pages.webhooks.show": "/webhooks/{webhook}",
    "pages.settings.index": "/settings",
}
"""By endpoint, an address at which the page has something to show. A new page needs a line here."""
NO_PAGES = (".events", ".rows", ".export")
"""What scripts of pages ask for, and files."""
ELSEWHERE = {"static", "sign_in.form", "setup.form", "pages.editor.completions"}
"""No pages of the signed-in: names for the editor, the form (looked at below), and the first-run page."""


def test_every_page_is_listed(server: Server) -> None:
    """By the application's own routes: whatever answers GET outside of the APIs is a page."""
    app = create_app(Settings.from_environ(server.settings))
    found = {
        rule.endpoint
        for rule in app.url_map.iter_rules()
        if "GET" in (rule.methods or ())
        and rule.endpoint.startswith(("pages.", "sign_in.", "setup."))
        and not rule.endpoint.endswith(NO_PAGES)
    }
    assert found - ELSEWHERE == set(PAGES)


@pytest.fixture(scope="module")
def filled(operator: Operator, server: Server) -> dict[str, str]:
    """What the addresses of the pages name."""
    environment = operator.create_environment("axe")["id"]
    agent = AgentByHand(server.url)
    agent.enroll(operator.enrollment_token(environment), "edge-01")
    pipeline = operator.create_pipeline(environment, "axe", YAML)["id"]
    operator.deploy(pipeline)
    agent.heartbeat(
        [
            {
                "pipelineId": pipeline,
                "version": 1,
                "status": "CRASHED",
                "error": "it died",
                "recentLogs": ["x"],
            }
        ],
        labels={"zone": "a"},
    )
    asked = {"action": "restart", "selector": ""}
    batch = operator.call("POST", f"/environments/{environment}/actions", asked)["batchId"]
    agent.heartbeat([{"pipelineId": pipeline, "version": 1, "status": "RUNNING"}], labels={"zone": "a"})
    wanted = {"componentKeys": ["requests"]}
    sample = operator.call("POST", f"/pipelines/{pipeline}/samples", wanted)["requestId"]
    hook = {"name": "chat", "url": "https://hooks.invalid/", "events": ["node.back"]}
    webhook = operator.call("POST", "/webhooks", hook)["id"]
    operator.call("POST", f"/webhooks/{webhook}/test")
    return {
        "node": agent.node_id, "environment": environment, "pipeline": pipeline, "batch": batch, "sample": sample,
        "webhook": webhook,
    }  # fmt: skip


def faults(page: Page) -> list[str]:
    """What axe calls serious or critical, each with the element."""
    page.evaluate(AXE)
    result: Any = page.evaluate("axe.run({ resultTypes: ['violations'] })")
    return [
        f"{page.url}: {each['id']}: {node['html'][:200]}"
        for each in result["violations"]
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"][:3]
    ]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1400), ("dark", 400)])
def test_axe_finds_nothing_serious_on_any_page(
    browser: Browser, server: Server, email: str, filled: dict[str, str], scheme: Any, width: int
) -> None:
    """And each page stands under one entry of the navigation, which says so."""
    context: BrowserContext = browser.new_context(
        base_url=server.url, viewport={"width": width, "height": 900}, color_scheme=scheme
    )
    page, found = context.new_page(), []
    page.goto("/sign-in")
    found += faults(page)
    sign_in(page, email)
    for address in PAGES.values():
        page.goto(address.format(**filled))
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        expect(page.locator("nav [aria-current=page]")).to_have_count(1)
        found += faults(page)
    page.goto("/nothing-here")
    found += faults(page)
    context.close()
    assert found == []
