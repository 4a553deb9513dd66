"""From an empty server to a deploy in a real browser, and through outages of the database and of Redis."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.test_axe import PAGES
from tests.browser.test_fleet_page import PASSWORD, WAIT_MS
from tests.conftest import StartAgent, StartServer
from tests.support.agent_process import AgentProcess
from tests.support.api import AgentByHand, Operator
from tests.support.axe import look
from tests.support.database import migrate
from tests.support.postgres_server import PostgresServer
from tests.support.server import Server
from tests.support.until import until
from tools.redis_server import RedisServer

WITHOUT_IDS = [address for address in PAGES.values() if "{" not in address]
CODE = re.compile(r"needs this code: (\S+)")


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL for this test alone."""
    server = PostgresServer()
    try:
        yield server.start()
    finally:
        server.close()


def open_context(browser: Browser, server: Server) -> BrowserContext:
    context = browser.new_context(base_url=server.url, viewport={"width": 1400, "height": 900})
    context.set_default_timeout(WAIT_MS)
    return context


def make_account(page: Page, server: Server) -> None:
    """Through the first-run page, with the code from the log."""
    page.goto("/")
    expect(page.get_by_role("heading", name="Make the first account")).to_be_visible()
    expect(page.get_by_label("Setup code")).to_be_focused()
    found = until(lambda: CODE.search(server.log.read_text()), what="the code in the log")
    assert found is not None
    page.keyboard.type(found[1])
    page.get_by_label("E-mail").fill("ada@example.org")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Password again").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Fleet")).to_be_visible()


def expect_done(page: Page, number: int) -> None:
    expect(page.locator("#steps [role=status]")).to_have_text(f"{number} of 5 steps done")


def test_a_newcomer_comes_from_nothing_to_a_deploy(
    browser: Browser, start_server: StartServer, start_agent: StartAgent
) -> None:
    """Each step is ticked off, also on a page that another one left open; at the end the steps are gone."""
    server = start_server()
    context = open_context(browser, server)
    page = context.new_page()
    make_account(page, server)
    expect_done(page, 0)
    watched = context.new_page()
    watched.goto("/getting-started")
    watched.evaluate("window.isTheSamePage = true")

    page.get_by_role("link", name="Make an environment").click()
    page.get_by_label("Name of a new environment").fill("production")
    page.keyboard.press("Enter")
    expect_done(watched, 1)
    page.get_by_role("button", name=re.compile("Make a token")).click()
    command = page.locator("#enrollment-command").inner_text()
    expect_done(watched, 2)

    token = re.search(r"sbx_enroll_\S+", command)
    assert token is not None
    agent: AgentProcess = start_agent(server.url, token[0])
    expect_done(watched, 3)
    watched.get_by_role("link", name="Make a pipeline").click()
    watched.get_by_label("Name").fill("requests")
    watched.get_by_role("button", name="Save draft").click()  # of the starter that stands there
    watched.wait_for_url(re.compile("/pipelines/[0-9a-f]{32}"))
    page.goto("/")
    expect_done(page, 4)
    page.evaluate("window.isTheSamePage = true")

    watched.goto(page.get_by_role("link", name="Open the pipeline").get_attribute("href") or "")
    watched.get_by_role("button", name="Deploy…").click()
    watched.get_by_role("button", name="Deploy on 1 node").click()
    expect(page.locator("#steps")).to_be_hidden()
    expect(page.locator(f"#node-{agent.node_id}").get_by_text("running").first).to_be_visible()
    assert page.evaluate("window.isTheSamePage === true")
    context.close()


def test_pages_come_back_with_the_database(
    browser: Browser, start_server: StartServer, own_postgres: PostgresServer
) -> None:
    """Stopped: a page that says so, and keeps what was typed. Started: the page is there again by itself."""
    url = own_postgres.url(own_postgres.create_database())
    migrate(url)
    server = start_server({"SIGNALBOX_DATABASE_URL": url})
    context = open_context(browser, server)
    page, form, live = context.new_page(), context.new_page(), context.new_page()
    make_account(page, server)
    form.goto("/environments")
    form.get_by_label("Name of a new environment").fill("staging")
    live.goto("/")
    expect(live.locator("#live")).to_have_attribute("data-state", "stream")

    own_postgres.kill()
    page.goto("/pipelines")
    form.keyboard.press("Enter")
    for each in (page, form):
        expect(each.get_by_role("heading", name="The database is away")).to_be_visible()
        assert look(each) == []
    expect(form.get_by_text("What you typed is kept here.")).to_be_visible()
    expect(live.locator("#live")).to_have_attribute("data-state", "lost")
    for address in WITHOUT_IDS:
        answer = page.request.get(address)
        assert (answer.status, "The database is away" in answer.text()) == (503, True), address

    own_postgres.start()
    expect(page.get_by_role("heading", name="Pipelines")).to_be_visible()
    expect(live.locator("#live")).to_have_attribute("data-state", re.compile("stream|poll"))
    expect(form.locator("#waiting")).to_contain_text("is ready again")
    form.get_by_role("button", name="Send it again").click()
    expect(form.get_by_text("Made the environment staging.")).to_be_visible()
    context.close()


def test_pages_say_unknown_while_redis_is_away(
    browser: Browser, start_server: StartServer, start_agent: StartAgent, own_redis: RedisServer
) -> None:
    """An open page says so by itself, and takes it back."""
    server = start_server({"SIGNALBOX_REDIS_URL": own_redis.url})
    context = open_context(browser, server)
    page = context.new_page()
    make_account(page, server)
    own_redis.kill()
    notice = page.get_by_text(re.compile("Redis is away since"))
    expect(notice).to_be_visible()
    expect(notice).to_contain_text(re.compile(r"since \d+:\d\d\S*( [AP]M)? \((just now|\d+ s ago)\)"))
    expect(page.locator(".count", has_text="connected")).to_contain_text("unknown")
    for address in WITHOUT_IDS:
        answer = page.request.get(address)
        assert answer.status == 200, address
    own_redis.start()
    expect(notice).to_have_count(0)
    context.close()


def test_axe_on_the_pages_of_a_fresh_server(browser: Browser, start_server: StartServer) -> None:
    """From the first account on: nothing is there, then an environment and a pipeline, of which nothing is there."""
    server = start_server()
    page, found = open_context(browser, server).new_page(), []
    page.goto("/setup")
    found += look(page)
    page.get_by_label("Setup code").fill("aaaa-bbbb-cccc-dddd")
    page.get_by_label("E-mail").fill("ada@example.org")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Password again").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_label("Setup code")).to_be_focused()
    found += look(page)
    make_account(page, server)
    operator = Operator(server.url, server.create_api_token())

    def walk(*addresses: str) -> None:
        for address in addresses:
            page.goto(address)
            expect(page.get_by_role("heading", level=1)).to_be_visible()
            found.extend(look(page))

    walk(*WITHOUT_IDS, "/fleet/actions", "/nothing-here")
    environment = operator.create_environment("empty")["id"]
    pipeline = operator.create_pipeline(environment, "empty", "")["id"]
    node = AgentByHand(server.url)
    node.enroll(operator.enrollment_token(environment), "edge-01")
    walk(
        f"/environments/{environment}",
        f"/environments/{environment}/secrets",
        f"/environments/{environment}/actions",
        *(
            f"/pipelines/{pipeline}{page}"
            for page in ("", "/versions", "/samples", "/compare", "/review", "/targets")
        ),
        f"/nodes/{node.node_id}",
        f"/nodes/{node.node_id}/channels",
    )
    page.goto("/environments")
    page.evaluate("document.querySelectorAll('[name=csrf_token]').forEach(field => field.value = 'old')")
    page.get_by_label("Name of a new environment").fill("staging")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="The page was open too long")).to_be_visible()
    found += look(page)
    page.context.close()
    assert found == []
