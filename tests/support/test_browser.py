"""The browser that other tests use is a real one, and each page is a stranger's."""

import pytest
from playwright.sync_api import Browser, Page

from tests.support.browser import NoChromiumError, find_chromium
from tests.support.server import Server


def test_a_page_of_the_server_is_shown(page: Page, server: Server) -> None:
    """A person without a cookie is led to a form that asks for a password."""
    page.goto(server.url)

    assert page.locator("input[type=password]").count() >= 1  # one, or two where the first account is made


def test_a_page_knows_nothing_of_another(page: Page, browser: Browser, server: Server) -> None:
    """Cookies of one test are not in the next."""
    page.goto(server.url)
    page.context.add_cookies([{"name": "seen", "value": "yes", "url": server.url}])
    with browser.new_context() as other:
        assert "seen" not in {cookie["name"] for cookie in other.cookies(server.url)}


def test_without_a_chromium_the_message_says_what_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Missing is a failure with a way out, not a skip."""
    monkeypatch.setenv("PATH", "/nonexistent")

    with pytest.raises(NoChromiumError, match=r"sh tools/bootstrap\.sh test"):
        find_chromium()
