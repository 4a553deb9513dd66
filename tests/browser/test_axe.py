"""axe on every page: light and dark, wide and narrow; and no page that this list does not know.

Also where something is broken, and on the page of each error; a fresh server's are in ``test_first_run``.
"""

import base64
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from flask import abort
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from app import access, create_app
from app.access_rules import PUBLIC
from app.config import Settings
from tests.app.pages.test_errors import CODES, FROM_HERE
from tests.app.test_secrets import pem
from tests.browser.test_fleet_page import YAML, context, email, environment_id, sign_in
from tests.support.api import AgentByHand, Operator
from tests.support.axe import BY_LOOKS, NARROW, WIDE, WIDEST, look
from tests.support.server import Server

__all__ = ["context", "email", "environment_id"]

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
    "pages.alerts.index": "/alerts",
    "pages.alert_rules.index": "/alerts/rules",
    "pages.alert_rules.new": "/alerts/rules/new?kind=errors_above",
    "pages.alert_rules.show": "/alerts/rules/{rule}",
    "pages.webhooks.index": "/webhooks",
    "pages.webhooks.show": "/webhooks/{webhook}",
    "pages.accounts.index": "/accounts",
    "pages.accounts.show": "/accounts/{account}",
    "pages.account_sessions.index": "/accounts/{account}/sessions",
    "pages.approvals.index": "/approvals",
    "pages.approval.show": "/approvals/{request}",
    "pages.tokens.index": "/tokens",
    "pages.settings.index": "/settings",
    "pages.account.index": "/account",
    "pages.api_docs.index": "/docs/api?q=webhooks",
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
    environment = operator.create_environment(f"axe-{uuid.uuid4().hex[:8]}")["id"]
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
    ann = {
        "email": f"{uuid.uuid4().hex}@example.org",
        "grants": [{"environmentId": environment, "role": "editor"}],
    }
    account = operator.call("POST", "/accounts", ann)["id"]
    wanted_rule = {"name": "axe", "kind": "pipeline_failed", "environmentId": environment, "forSeconds": 0}
    rule = operator.call("POST", "/alert-rules", wanted_rule)["id"]
    operator.call("PUT", f"/pipelines/{pipeline}", {"configYaml": YAML + "# another\n"})
    protected = f"/environments/{environment}"
    operator.call("PATCH", protected, {"protected": True})
    request = operator.deploy(pipeline, "what is asked for")["deployRequest"]["id"]
    other = AgentByHand(server.url)  # so that it reaches other nodes than when it was asked
    other.enroll(operator.enrollment_token(environment), "edge-02")
    expires = (datetime.now(UTC) + timedelta(days=2)).isoformat()
    operator.call("POST", "/api-tokens", {"name": "axe", "role": "viewer", "expiresAt": expires})
    return {
        "node": agent.node_id, "environment": environment, "pipeline": pipeline, "batch": batch, "sample": sample,
        "webhook": webhook, "request": request, "account": account, "rule": rule,
    }  # fmt: skip


BROKEN = (
    "/?environment={environment}",
    "/nodes/{failed}",
    "/nodes/{revoked}",
    "/fleet/actions?what=forget&node={failed}&node={revoked}",
    "/pipelines",
    "/pipelines/{pipeline}",
    "/pipelines/{pipeline}/review",
    "/environments/{environment}",
    "/environments/{environment}/secrets",
    "/environments/{environment}/actions",
    "/samples/{sample}",
    "/?label=a=b=c",
    "/audit?since=soon",
)
"""Addresses at which something is not as it should be."""


@pytest.fixture(scope="module")
def broken(operator: Operator, server: Server) -> dict[str, str]:
    """What the addresses in `BROKEN` name: what has failed, expired, was revoked."""
    environment = operator.create_environment(f"broken-{uuid.uuid4().hex[:8]}")["id"]
    token = operator.enrollment_token(environment)
    failed, revoked = AgentByHand(server.url), AgentByHand(server.url)
    failed.enroll(token, "edge-failed")
    revoked.enroll(token, "edge-revoked")
    operator.call("POST", f"/nodes/{revoked.node_id}/revoke")
    pipeline = operator.create_pipeline(environment, "axe-broken", YAML)["id"]
    operator.deploy(pipeline)
    operator.deploy(pipeline)
    state = {"pipelineId": pipeline, "version": 1, "status": "RUNNING", "failedVersion": 2}
    failed.heartbeat([{**state, "error": "cannot bind " + "0.0.0.0:80 " * 30, "recentLogs": ["no " * 90]}])
    sample = operator.call("POST", f"/pipelines/{pipeline}/samples", {"componentKeys": ["requests"]})[
        "requestId"
    ]
    failed.post(
        "samples", {"results": [{"requestId": sample, "componentKey": "requests", "error": "no tap"}]}
    )
    operator.call("PUT", f"/pipelines/{pipeline}", {"configYaml": YAML.replace("[requests]", "[reqests]")})
    expired = {"filename": "old.pem", "data": base64.b64encode(pem(days=-0.5)).decode()}
    operator.call("PUT", f"/environments/{environment}/certificates/old", expired)
    return {
        "environment": environment, "pipeline": pipeline, "sample": sample,
        "failed": failed.node_id, "revoked": revoked.node_id,
    }  # fmt: skip


GOOD = "<!doctype html><html lang='en'><title>Good</title><style>{}</style><main><h1>Good</h1>{}</main>"
BAD = {
    "color-contrast": (
        "@media (prefers-color-scheme: dark) { p { color: #ddd; background: #fff } }",
        "<p>Pale</p>",
    ),
    "target-size": (
        "@media (max-width: 500px) { button { width: 9px; height: 9px; padding: 0 } }",
        "<button>a</button><button>b</button>",
    ),
    "scrollable-region-focusable": ("pre { overflow: auto }", f"<pre>{'long ' * 150}</pre>"),
    "link-in-text-block": (
        "a { color: #111; text-decoration: none }",
        "<p>Some <a href='/'>link</a> here</p>",
    ),
}
SIDEWAYS = ("div { width: 700px } @media (min-width: 1900px) { div { width: 3000px } }", "<div>x</div>")


def test_a_look_finds_what_only_one_form_shows(browser: Browser) -> None:
    """Dark, narrow, or wide; and nothing where nothing is."""
    page = browser.new_page()
    page.set_content(GOOD.format("", "<p>Some text</p>"))
    assert look(page) == []
    for rule in BY_LOOKS:
        page.set_content(GOOD.format(*BAD[rule]))
        assert any(f": {rule}: " in fault for fault in look(page)), rule
    page.set_content(GOOD.format(*SIDEWAYS))
    found = "\n".join(look(page))
    assert {
        width for width in (NARROW, WIDE, WIDEST) if f"{width} pixels are too narrow for <div>" in found
    } == {
        NARROW,
        WIDEST,
    }
    page.close()


@pytest.fixture
def page(browser: Browser, server: Server, email: str) -> Iterator[Page]:
    """The fleet page of somebody who has just signed in."""
    context: BrowserContext = browser.new_context(base_url=server.url)
    yield sign_in(context.new_page(), email)
    context.close()


ENTER_ELSEWHERE = """[...document.forms]
  .filter((form) => [...form.elements].find((each) => each.type === "submit")?.hasAttribute("formaction"))
  .map((form) => form.outerHTML.slice(0, 200))"""
"""Enter in a field presses the first button: the one of what the form is for, not one that goes elsewhere."""


def test_axe_finds_nothing_serious_on_any_page(page: Page, filled: dict[str, str]) -> None:
    """And each page stands under one entry of the navigation, which says so, and fits into the window."""
    found = []
    for address in PAGES.values():
        page.goto(address.format(**filled))
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        expect(page.locator("header [aria-current=page]")).to_have_count(1)
        found += look(page)
        found += [
            f"Enter in {form} does something else than the form" for form in page.evaluate(ENTER_ELSEWHERE)
        ]
    page.context.clear_cookies()
    page.goto("/sign-in")
    found += look(page)
    assert found == []


def test_axe_finds_nothing_serious_where_something_is_broken(page: Page, broken: dict[str, str]) -> None:
    """Badges, notices and reasons of what has failed, expired, was revoked or cannot be understood."""
    found = []
    for address in BROKEN:
        page.goto(address.format(**broken))
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        found += look(page)
    assert found == []


def test_axe_finds_nothing_serious_on_the_page_of_any_error(page: Page, server: Server) -> None:
    """As the application draws it, with and without a form that can be sent again; in the server's style."""
    app = create_app(Settings.from_environ(server.settings))
    app.add_url_rule("/broken/<int:code>", "broken", lambda code: abort(code), methods=["GET", "POST"])
    access.list_endpoint(app, "broken", PUBLIC)
    app.config["WTF_CSRF_ENABLED"] = False
    typed = {"name": "staging", "config_yaml": YAML + "# " + "long " * 90}

    def answer(route: Route) -> None:
        way = route.request.url.removeprefix(server.url)
        client = app.test_client()
        drawn = (
            client.post(way, data=typed, headers=FROM_HERE)
            if route.request.url.endswith("?typed")
            else client.get(way)
        )
        route.fulfill(status=drawn.status_code, headers=dict(drawn.headers), body=drawn.text)

    page.route("**/broken/*", answer)
    page.route("**/readyz", lambda route: route.fulfill(status=503))  # else the page leaves by itself
    found = []
    for code in CODES:
        for more in ("", "?typed") if code in (429, 503) else ("",):
            page.goto(f"/broken/{code}{more}")
            expect(page.get_by_text(f"Error {code}")).to_be_visible()
            found += look(page)
    assert found == []
