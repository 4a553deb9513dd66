"""While Redis or the database is away: every page that can work does, and says what is unknown and what to do."""

import re
import sqlite3
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app import access, accounts, alert_drafts, alert_rules, deploy_or_ask, environments, webhooks
from app.access_rules import PUBLIC
from app.approvals import Party
from app.audit import COMMAND_LINE
from app.database import db
from app.deploy_requests import RequestRow
from app.ids import new_id
from tests.app.pages.conftest import Make, SignIn, enroll
from tests.app.pages.test_errors import take_database_away
from tests.app.pages.test_samples import node_id
from tests.browser.test_axe import PAGES
from tests.support.database import PostgresDatabases
from tests.support.people import account_id_of

__all__ = ["node_id"]

NOTICE = re.compile(r"Redis is away since\s+<time")
TELLS = {
    "pages.fleet.index", "pages.fleet_batches.preview", "pages.nodes.show", "pages.pipelines.show",
    "pages.pipelines.review_deploy", "pages.pipelines.review_rollback", "pages.environments.show",
    "pages.actions.of_environment", "pages.actions.show", "pages.samples.index", "pages.samples.show",
    "pages.alerts.index",
}  # fmt: skip
"""The pages on which something is unknown without Redis, or from which nodes are told something."""


@pytest.fixture
def app(make_app: Make, tmp_path: Path) -> Flask:
    """The application, and no Redis where it looks for one."""
    return make_app(SIGNALBOX_REDIS_URL=f"unix://{tmp_path}/nobody.sock")


def test_the_pages_say_unknown_and_since_when(
    app: Flask, sign_in: SignIn, environment_id: str, pipeline_id: str
) -> None:
    """In words, with the moment: the fleet with its counts, a node, and how a deployment goes on."""
    visitor = sign_in()
    node_id = enroll(app, environment_id, "edge-01")
    visitor.post(
        f"/pipelines/{pipeline_id}/deploy",
        f"/pipelines/{pipeline_id}",
        config_yaml="sources: {s: {type: demo_logs, format: json}}\nsinks: {o: {type: blackhole, inputs: [s]}}",
    )
    pages = {path: visitor.get(path).text for path in ("/", f"/nodes/{node_id}", f"/pipelines/{pipeline_id}")}
    since = set()
    for path, text in pages.items():
        found = re.search(r'Redis is away since <time datetime="([^"]+)"', text)
        assert found is not None, path
        since.add(found[1])
    assert len(since) == 1, "it is the same moment on every page, not that of the look"
    assert "<b>unknown</b> <span>connected</span>" in pages["/"]
    assert "Version 1" in pages[f"/pipelines/{pipeline_id}"]
    with app.app_context():
        token = accounts.create_api_token("tests", COMMAND_LINE).text
    row = visitor.get(f"/api/v1/nodes/{node_id}", headers={"Authorization": f"Bearer {token}"}).get_json()
    assert row["push"]["connected"] is None
    assert row["push"]["unknownSince"] in since


def test_every_page_works_without_redis(
    app: Flask, sign_in: SignIn, environment_id: str, pipeline_id: str, node_id: str
) -> None:
    """Where something is unknown or nobody can be told at once, it says so; what is asked is taken all the same."""
    visitor, pipeline = sign_in(), f"/pipelines/{pipeline_id}"
    samples, actions = f"{pipeline}/samples", f"/environments/{environment_id}/actions"
    sample = visitor.post(samples, samples, components="requests", limit="5").location
    told = visitor.get(sample).text
    assert "Asked 1 node, 0 of them told at once. Redis cannot be reached." in told
    assert NOTICE.search(told)
    batch = visitor.post(
        actions, actions, what=f"restart:{pipeline_id}", max_failures="0", confirmed="yes"
    ).location
    told = visitor.get(batch).text
    assert "Asked 1 node, 0 of them told at once. Redis cannot be reached." in told
    assert NOTICE.search(told)
    with app.app_context():
        hook, _ = webhooks.create("h", "https://hooks.example/", ["node.back"], COMMAND_LINE)
        account_id = account_id_of("admin@example.org")
        rule = alert_rules.create(alert_drafts.STARTERS["failed"], COMMAND_LINE)
        environments.update(environment_id, COMMAND_LINE, protected=True)
        asked = deploy_or_ask.deploy(pipeline_id, Party(COMMAND_LINE, "token:t"))
        assert isinstance(asked, RequestRow)
    named = {
        "webhook": hook.id, "account": account_id, "rule": rule.id, "request": asked.request.id,
        "node": node_id, "environment": environment_id, "pipeline": pipeline_id,
        "batch": batch.rpartition("/")[2], "sample": sample.rpartition("/")[2],
    }  # fmt: skip
    answers = {name: visitor.get(address.format(**named)) for name, address in PAGES.items()}
    assert {name: answer.status_code for name, answer in answers.items()} == dict.fromkeys(PAGES, 200)
    assert {name for name, answer in answers.items() if NOTICE.search(answer.text)} == TELLS
    assert "Which agents were refused is known only to Redis" in answers["pages.adoption.index"].text
    restart = "/fleet/actions"
    seen = re.search(
        r'name="seen" value="([^"]+)"', visitor.get(f"{restart}?what=restart&node={node_id}").text
    )
    assert seen is not None
    done = visitor.post(restart, actions, what="restart", node=node_id, seen=seen[1])
    assert "0 of them told at once. Redis cannot be reached." in visitor.get(done.location).text
    tail = visitor.post(f"{pipeline}/tail", pipeline, component_id="requests")
    assert (tail.status_code, "Redis is away" in tail.get_json()["error"]) == (503, True)
    adopt = visitor.post("/adoption/abcdef", pipeline, environment_id=environment_id)
    assert (adopt.status_code, "Redis" in adopt.text) == (503, True)


def every_answer(client: FlaskClient) -> dict[str, tuple[int, str]]:
    """Status and text of each page, of its stream, and of some of the APIs, by its address."""
    kinds = ("node", "environment", "pipeline", "batch", "sample", "webhook", "account", "rule", "request")
    some = dict.fromkeys(kinds, new_id())
    addresses = [address.format(**some) for address in PAGES.values()]
    addresses += ["/events", "/rows", f"/pipelines/{new_id()}/events", "/sign-in", "/setup"]
    addresses += ["/api/v1/nodes", "/api/v1/environments", "/api/agent/config"]
    addresses += ["/audit/export", "/nothing-here"]
    answers = {}
    for address in addresses:
        kind = "node" if address.startswith("/api/agent") else "api"
        headers = {"Authorization": f"Bearer sbx_{kind}_{new_id()}_{'0' * 64}"}
        answer = client.get(
            address, headers=headers if address.startswith("/api/") else {}, follow_redirects=True
        )
        answers[address] = (answer.status_code, answer.text)
    return answers


def check(answers: dict[str, tuple[int, str]], title: str, sentence: str) -> None:
    """Each says so, or is no page at all."""
    odd = {
        address: (status, text[:300])
        for address, (status, text) in answers.items()
        if status not in ((401, 404, 503) if address.endswith("/events") else (404, 503))
        or "Traceback" in text
        or (status == 503 and sentence not in text)
        or (status == 503 and not address.startswith("/api/") and f"<h1>{title}</h1>" not in text)
    }
    assert odd == {}
    assert sum(status == 503 for status, _ in answers.values()) >= len(PAGES)


@pytest.mark.parametrize("content", [None, b"no database " * 4096])
def test_every_page_says_that_the_file_of_the_database_is_away(
    app: Flask, sign_in: SignIn, content: bytes | None
) -> None:
    """Who has signed in and who has not; no answer is a trace, and none is an empty page."""
    visitor = sign_in()
    take_database_away(app, content)
    sentence = "The database cannot be used just now; nothing was changed."
    check(every_answer(visitor.client), "The database is away", sentence)
    check(every_answer(app.test_client()), "The database is away", sentence)


def test_a_locked_file_is_said_to_be_busy(
    app: Flask, sign_in: SignIn, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program holds it for longer than one waits: nothing was changed, and what was typed is kept."""
    monkeypatch.setattr("app.database.BUSY_DEADLINE_SECONDS", 0.2)
    visitor = sign_in()
    token = re.search(r'name="csrf_token" value="([^"]+)"', visitor.get("/environments").text)
    assert token is not None
    other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        sent = {"name": "staging", "csrf_token": token[1]}
        answer = visitor.client.post("/environments", data=sent, headers={"Sec-Fetch-Site": "same-origin"})
    finally:
        other.close()
    assert answer.status_code == 503
    assert "The database is busy; nothing was changed." in answer.text
    assert "staging" in answer.text
    assert visitor.get("/environments").status_code == 200


UPGRADE = "flask --app wsgi db upgrade is due"
TITLE = "The database is not ready for this release"


def test_a_database_without_tables_wants_the_upgrade(
    make_app: Make, postgres_databases: PostgresDatabases, tmp_path: Path
) -> None:
    """On both kinds of database, in pages and in JSON, and to the agents."""
    name, url = postgres_databases.create()
    try:
        for each in (url, f"sqlite:///{tmp_path}/empty.db"):
            app = make_app(SIGNALBOX_DATABASE_URL=each)
            with app.app_context():
                db.drop_all()
            check(every_answer(app.test_client()), TITLE, UPGRADE)
            with app.app_context():
                db.engine.dispose()
    finally:
        postgres_databases.drop(name)


def test_a_column_of_another_release_is_no_fault_of_the_page(
    make_app: Make, postgres_databases: PostgresDatabases, sqlite_url: str
) -> None:
    """Undefined tables and columns alone say that; whatever else is wrong with a statement stays our fault."""
    name, url = postgres_databases.create()
    try:
        for each in (url, sqlite_url):
            app = make_app(SIGNALBOX_DATABASE_URL=each)

            def ask(statement: str, app: Flask = app) -> int:
                app.view_functions["ask"] = lambda: str(db.session.execute(db.text(statement)).all())
                answer = app.test_client().get("/ask")
                assert (UPGRADE in answer.text) is (answer.status_code == 503)
                return answer.status_code

            app.add_url_rule("/ask", "ask")
            access.list_endpoint(app, "ask", PUBLIC)
            assert ask("SELECT one FROM account") == 503
            assert ask("SELECT 1 FROM accounts") == 503
            assert ask("SELECT nothing(1)") == 500
            assert ask("SELECT FROM WHERE") == 500
            with app.app_context():
                db.engine.dispose()
    finally:
        postgres_databases.drop(name)
