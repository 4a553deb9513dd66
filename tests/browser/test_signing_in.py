"""Signing in at a real provider, in a real browser: there and back, one's sessions, and out again."""

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.test_fleet_page import PASSWORD, WAIT_MS
from tests.conftest import StartServer
from tests.support.axe import look
from tests.support.oidc_provider import OidcProvider
from tests.support.server import Server


@pytest.fixture
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OidcProvider]:
    provider = OidcProvider(tmp_path_factory.mktemp("provider"))
    try:
        yield provider.start()
    finally:
        provider.close()


def open_context(browser: Browser, server: Server) -> BrowserContext:
    context = browser.new_context(base_url=server.url, viewport={"width": 1400, "height": 900})
    context.set_default_timeout(WAIT_MS)
    return context


def sign_in_as(page: Page, sub: str) -> None:
    """By the button, and on the provider's own page."""
    page.get_by_role("link", name="Sign in with Example ID").click()
    page.get_by_label("Subject").fill(sub)
    page.get_by_role("button", name="Continue").click()


def test_there_and_back_and_out_again(
    browser: Browser, start_server: StartServer, provider: OidcProvider
) -> None:
    """From the page that was wanted; what is ended in one browser leaves the other's live page within seconds."""
    provider.person("ada", "sre")
    provider.person("eve", "others")
    server = start_server(provider.settings())
    server.create_admin("local@example.org", PASSWORD)
    with open_context(browser, server) as here, open_context(browser, server) as there:
        page, other = here.new_page(), there.new_page()
        page.goto("/pipelines")
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        faults = look(page)
        sign_in_as(page, "ada")
        expect(page.get_by_role("heading", name="Pipelines")).to_be_visible()

        other.goto("/")
        sign_in_as(other, "ada")
        expect(other.get_by_role("heading", name="Fleet")).to_be_visible()

        page.get_by_role("link", name="ada@example.org").click()
        expect(page.get_by_role("heading", name="Your account")).to_be_visible()
        rows = page.get_by_role("row").filter(has_text="with single sign-on")
        expect(rows).to_have_count(2)
        faults += look(page)
        rows.filter(has_not_text="this one").get_by_role("button").click()
        expect(page.get_by_text("The session was ended.")).to_be_visible()
        expect(rows).to_have_count(1)
        expect(other.get_by_text("You are signed out")).to_be_visible()

        page.get_by_role("button", name="Sign out", exact=True).click()
        expect(page.get_by_text("At Example ID you may still be signed in.")).to_be_visible()
        page.get_by_role("link", name="Sign out there, too").click()
        expect(page.locator("body")).to_contain_text("post_logout_redirect_uri")
        assert json.loads(page.locator("pre").first.inner_text())["client_id"] == "signalbox-tests"

        page.goto("/sign-in")
        sign_in_as(page, "eve")
        expect(page.get_by_role("heading", name="No access")).to_be_visible()
        faults += look(page)
        page.goto("/recover")
        faults += look(page)
    assert faults == []
