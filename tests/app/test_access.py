"""Who may do what: every address as everybody who could come, and nothing of another environment anywhere."""

import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import update
from sqlalchemy.orm import Session

from app import access, access_objects, accounts, create_app, environments, sessions, tail_stream, taps
from app.access_rules import RULES, Scope
from app.audit import COMMAND_LINE
from app.clock import utc_now
from app.config import Settings
from app.database import db, transaction
from app.errors import ForbiddenError, NotFoundError, SignalboxError
from app.ids import new_id
from app.models import Account, AccountGrant, ApiToken
from app.pages import live
from app.principal import Principal, Role
from app.push.taps import Tap
from tests.app.conftest import SECRETS, YAML, Script, enroll, firing, make_script, node_id, refused, succeeded
from tests.support import PROJECT
from tests.support.database import SqliteDatabases
from tests.support.people import sign_in_as
from tools import access_table
from tools.access_table import COLUMNS, SIGN_IN, YES
from tools.redis_server import RedisServer

NO_ID = "0" * 32
"""Where an address names what no environment has one of."""
SERVED = 299
"""What a view answers here that was let through."""


@dataclass
class World:
    """An application with two environments that have one of everything, each thing named after its environment."""

    app: Flask
    settings: Settings
    ids: dict[str, dict[str, str]] = field(default_factory=dict)
    """Of ``here`` and ``there``: an object's id by the argument of an address that has it."""

    def another_app(self) -> Flask:
        """The same, to be changed."""
        return create_app(self.settings)

    def account(self, role: Role | None, **grants: Role) -> str:
        """An account with an overall role and roles in ``here`` and ``there``; its id."""
        account_id = new_id()

        def work(session: Session) -> None:
            session.add(
                Account(
                    id=account_id,
                    email=f"{account_id}@example.org",
                    password_hash="none",
                    role=role,
                    session_key=uuid.uuid4().hex,
                    created_at=utc_now(),
                )
            )
            session.flush()
            for name, granted in grants.items():
                environment_id = self.ids[name]["environment_id"]
                session.add(AccountGrant(account_id=account_id, environment_id=environment_id, role=granted))

        with self.app.app_context():
            transaction(work)
        return account_id

    def visitor(self, role: Role | None, app: Flask | None = None, **grants: Role) -> FlaskClient:
        """Somebody who has signed in with such an account."""
        client = (app or self.app).test_client()
        sign_in_as(app or self.app, client, self.account(role, **grants))
        return client

    def token(self, role: Role, environment: str | None = None) -> str:
        """An API token, of one environment or of all."""
        environment_id = self.ids[environment]["environment_id"] if environment else None
        with self.app.app_context():
            return accounts.create_api_token("t", COMMAND_LINE, role=role, environment_id=environment_id).text

    def path(self, path: str, scope: Scope, environment: str = "here") -> str:
        """An address with the ids of an environment's objects in it."""
        ids = {"session_id": "of nobody", **self.ids[environment]}
        ids["request_id"] = self.ids[environment]["sample_id"]
        if scope is Scope.TAP or "/tail/" in path:
            ids["request_id"] = self.ids[environment]["tap_id"]
        return re.sub(r"<(?:\w+:)?(\w+)>", lambda found: ids.get(found[1], NO_ID), path)


@pytest.fixture(scope="module")
def world(
    redis_server: RedisServer,
    sqlite_databases: SqliteDatabases,
    tmp_path_factory: pytest.TempPathFactory,
    prefixes: set[str],
) -> Iterator[World]:
    prefix = f"signalbox-test-{uuid.uuid4().hex[:12]}:"
    prefixes.add(prefix)
    settings = Settings.from_environ(
        {
            **SECRETS,
            "SIGNALBOX_DATABASE_URL": sqlite_databases.create(tmp_path_factory.mktemp("access")),
            "SIGNALBOX_REDIS_URL": redis_server.url,
            "SIGNALBOX_REDIS_PREFIX": prefix,
        }
    )
    world = World(create_app(settings), settings)
    script = make_script(world.app)
    for name in ("here", "there"):
        world.ids[name] = _furnish(world.app, script, name)
    yield world
    with world.app.app_context():
        db.engine.dispose()
        world.app.extensions["switchboard"].gate.client.close()


def _furnish(app: Flask, script: Script, name: str) -> dict[str, str]:
    """An environment with one of everything, named so that it is found wherever it is told of."""
    with app.app_context():
        own = environments.create(f"{name}-zone", COMMAND_LINE).id
    pipeline = {"environmentId": own, "name": f"{name}-flow", "configYaml": YAML}
    pipeline_id = script.post("/pipelines", pipeline)["id"]
    (agent,) = enroll(script, own, f"{name}-node", agentVersion=f"{name}-agent")
    node = node_id(agent)
    deployed = script.post(f"/pipelines/{pipeline_id}/deploy", {"changelog": f"{name}-change"}, 200)
    restart = {"action": "restart"}
    action = script.post(f"/nodes/{node}/actions", {**restart, "pipelineId": pipeline_id}, 202)
    batch = script.post(f"/environments/{own}/actions", {**restart, "selector": ""}, 202)
    running = {"pipelineId": pipeline_id, "version": 1, "status": "RUNNING"}
    succeeded(
        agent.call("POST", "/heartbeat", {"pipelines": [running], "agentVersion": f"{name}-agent"}), 200
    )
    sample = script.post(f"/pipelines/{pipeline_id}/samples", {"componentKeys": ["made"], "limit": 1}, 202)
    succeeded(script.call("PUT", f"/environments/{own}/secrets/{name}-secret", {"value": "v"}), 200)
    tap = Tap(new_id(), own, node, pipeline_id, "made")
    with app.app_context():
        assert taps._taps().open(tap)  # no node is connected here, so none can be asked for
    for protected in (True, False):
        succeeded(script.call("PATCH", f"/environments/{own}", {"protected": protected}), 200)
        if protected:
            asked = script.post(f"/pipelines/{pipeline_id}/deploy", {"changelog": f"{name}-asked"}, 202)
    token = script.post("/api-tokens", {"name": f"{name}-token", "role": "viewer", "environmentId": own})
    hook = {"name": f"{name}-hook", "url": "https://hooks.example/", "events": ["node.back"]}
    webhook = script.post("/webhooks", {**hook, "environmentId": own})
    rule = {"name": f"{name}-rule", "kind": "pipeline_failed", "environmentId": own}
    return {
        "rule_id": script.post("/alert-rules", rule)["id"],
        "alert_id": firing(app, own, f"{name}-alert"),
        "environment_id": own,
        "pipeline_id": pipeline_id,
        "node_id": node,
        "deployment_id": deployed["deploymentId"],
        "action_id": action["actionId"],
        "batch_id": batch["batchId"],
        "sample_id": sample["requestId"],
        "tap_id": tap.request_id,
        "webhook_id": webhook["id"],
        "deploy_request_id": asked["deployRequest"]["id"],
        "api_token_id": token["id"],
        "delivery_id": script.post(f"/webhooks/{webhook['id']}/test", status=202)["deliveryId"],
        "name": f"{name}-secret",
        "which": "draft",
        "number": "1",
        "version": "1",
        "fingerprint": "f",
        "filename": "style.css",
    }


# ---- the table ----


def test_the_document_is_made_of_the_rules(world: World) -> None:
    """docs/access.md has every address, and says what the rules say."""
    text = "\n".join(access_table.table(world.app)) + "\n"
    assert (PROJECT / "docs" / "access.md").read_text() == text, (
        "python -m tools.access_table > docs/access.md"
    )


def test_every_address_is_listed_and_nothing_else_is(world: World) -> None:
    """A rule that no address has is a mistake too; each address takes one method, so that a rule means one thing."""
    listed = access_table.addresses(world.app)
    assert {endpoint for _, _, endpoint in listed} == RULES.keys()
    assert len(listed) == len({endpoint for _, _, endpoint in listed})


def test_the_argument_that_names_an_object_stands_in_its_address(world: World) -> None:
    """Else the object of an address would be looked for where none is named."""
    for path, _, endpoint in access_table.addresses(world.app):
        scope = RULES[endpoint].scope
        if scope in access_objects.OBJECT_SCOPES:
            assert f"<{access_objects.argument_of(scope)}>" in path, endpoint


def test_what_is_not_listed_is_served_to_nobody_and_keeps_the_server_from_starting(world: World) -> None:
    """Whoever forgets the line is told at once."""
    app = world.another_app()
    paths = ("/forgotten", "/api/v1/forgotten")
    for path in paths:
        app.add_url_rule(path, path.strip("/").replace("/", "_"), lambda: "served")
    visitor, script = world.visitor("admin", app), Script(app.test_client(), world.token("admin"), "")
    for path in paths:
        assert app.test_client().get(path).status_code == 403
        assert visitor.get(path).status_code == 403
    refused(script.call("GET", paths[1]), 403)
    with pytest.raises(RuntimeError, match="forgotten"):
        access.refuse_unlisted(app)


def test_every_address_answers_everybody_as_the_document_says(world: World) -> None:
    """All routes of the URL map as all columns of the table: what is served gets to the view, nothing else does."""
    app = world.another_app()
    app.config["WTF_CSRF_ENABLED"] = False
    # Who is refused is told in a page of its own; to draw it a thousand times is not what is tested here.
    app.register_error_handler(SignalboxError, lambda error: (error.sentence, error.status))
    for endpoint, rule in RULES.items():
        if rule.scope is not Scope.AGENT:
            app.view_functions[endpoint] = lambda **_: ("", SERVED)
    visitors, tokens = _everybody(world, app)
    document = _document()
    checked = 0
    for path, method, endpoint in access_table.addresses(app):
        rule = RULES[endpoint]
        address = world.path(path, rule.scope)
        is_api = path.startswith("/api/")
        for column, said in zip(COLUMNS, document[f"{method} {path}"], strict=True):
            if is_api and column == "no role":
                continue  # every token has one
            header = f"Bearer {tokens[column]}" if is_api and tokens[column] else None
            client = app.test_client() if is_api else visitors[column]
            answer = client.open(address, method=method, headers={"Authorization": header} if header else {})
            assert _seen(answer, rule.scope) == said, f"{method} {path} as {column}: {answer.text[:300]}"
            checked += 1
    assert checked > 1000


def test_what_is_not_served_is_not_read(world: World) -> None:
    """A body that is no JSON makes no difference to who may not send it."""
    script = Script(world.app.test_client(), world.token("viewer", "here"))
    deploy = f"/pipelines/{world.ids['here']['pipeline_id']}/deploy"
    refused(script.send("POST", deploy, data=b"{"), 403)
    refused(script.send("POST", deploy.replace("here", "there"), data=b"{"), 403)
    there = f"/pipelines/{world.ids['there']['pipeline_id']}/deploy"
    assert refused(script.send("POST", there, data=b"{"), 404) == "There is no such pipeline."


def test_what_may_not_be_seen_is_answered_in_the_words_for_what_does_not_exist(world: World) -> None:
    """Else the answer would tell that there is something."""
    script = Script(world.app.test_client(), world.token("admin", "here"))
    visitor = world.visitor(None, here="admin")
    for path, method, endpoint in access_table.addresses(world.app):
        rule = RULES[endpoint]
        if rule.scope not in access_objects.OBJECT_SCOPES or method not in ("GET", "DELETE"):
            continue
        is_api = path.startswith("/api/v1")
        argument = f"<{access_objects.argument_of(rule.scope)}>"
        sentences = set()
        for each in (path, path.replace(argument, "0" * 32)):
            address = world.path(each, rule.scope, "there")
            if is_api:
                sentences.add(refused(script.call(method, address.removeprefix("/api/v1")), 404))
            else:
                answer = visitor.open(address, method=method)
                assert answer.status_code == 404
                sentences.update(re.findall(r"There is no such [\w ]+\.", answer.text))
        assert len(sentences) == 1, f"{method} {path}: {sentences}"


def _everybody(world: World, app: Flask) -> tuple[dict[Any, FlaskClient], dict[Any, str | None]]:
    """By column of the table: somebody with a browser, and a token."""
    visitors: dict[Any, FlaskClient] = {
        "anonymous": app.test_client(),
        "no role": world.visitor(None, app),
    }
    tokens: dict[Any, str | None] = {"anonymous": None}
    for column in COLUMNS:
        if isinstance(column, tuple):
            where, role = column
            environment = {"here": "here", "elsewhere": "there"}.get(where)
            tokens[column] = world.token(role, environment)
            visitors[column] = (
                world.visitor(None, app, **{environment: role}) if environment else world.visitor(role, app)
            )
    return visitors, tokens


def _document() -> dict[str, list[str]]:
    """The cells of each row by its address."""
    rows = {}
    for line in (PROJECT / "docs" / "access.md").read_text().splitlines():
        if line.startswith("| `"):
            address, _, *cells = (cell.strip() for cell in line.strip("|").split("|"))
            rows[address.strip("`")] = cells
    return rows


def _seen(answer: Any, scope: Scope) -> str:
    if answer.status_code == SERVED:
        return YES
    if scope is Scope.AGENT:  # to enroll, the token stands in the body
        return SIGN_IN if answer.status_code in (400, 401) else str(answer.status_code)
    if answer.status_code == 401 or "/sign-in" in answer.headers.get("Location", ""):
        return SIGN_IN
    return str(answer.status_code)


# ---- nothing of another environment ----


TELLING = [
    f"there-{each}" for each in ("zone", "flow", "node", "agent", "hook", "secret", "change", "rule", "alert")
]
"""What things of the other environment are called."""


@pytest.mark.parametrize("role", ["viewer", "admin"])
def test_no_address_tells_of_another_environment(world: World, role: Role) -> None:
    """Pages, lists, counts, streams, files, the audit log: whatever is read, by whatever filter."""
    visitor = world.visitor(None, here=role)
    script = Script(world.app.test_client(), world.token(role, "here"))
    there = world.ids["there"]["environment_id"]
    filters = (
        {},
        {"environment": there, "environmentId": there},
        {"q": "node", "subject": "there-node"},
    )
    seen = 0
    for path, method, endpoint in access_table.addresses(world.app):
        rule = RULES[endpoint]
        if method != "GET" or rule.scope in (Scope.PUBLIC, Scope.AGENT) or "/tap" in path or "/tail" in path:
            continue
        address = world.path(path, rule.scope)
        for query in filters if rule.scope is Scope.ANYWHERE else filters[:1]:
            if path.startswith("/api/v1"):
                answer = script.call("GET", address.removeprefix("/api/v1"), **query)
            else:
                answer = visitor.get(address, query_string=query, buffered=False)
            text = _first_of(answer)
            for told in TELLING:
                assert told not in text, f"{path} {query} tells {told}"
            assert world.ids["there"]["node_id"] not in text, f"{path} {query}"
            seen += "here-" in text
    assert seen > 40


def test_the_fleet_counts_the_nodes_that_are_seen(world: World) -> None:
    """One of two, on the page and in what its stream says first; with a role in both, or overall, both."""
    for visitor, number in (
        (world.visitor(None, here="viewer"), 1),
        (world.visitor(None, here="viewer", there="editor"), 2),
        (world.visitor("viewer"), 2),
    ):
        # What a filter leaves of the rows cannot be counted by them.
        for path in ("/", "/?status=revoked", "/fleet/rows?status=revoked", "/fleet/events?status=revoked"):
            text = _first_of(visitor.get(path, buffered=False)).replace('\\"', '"').replace("\\/", "/")
            assert f"<b>{number}</b> <span>node" in text, path


def test_another_environment_in_a_body_or_a_form_is_404(world: World) -> None:
    """Whoever may do something here may not do it there, whatever names it."""
    there = world.ids["there"]
    script = Script(world.app.test_client(), world.token("admin", "here"))
    new = {"environmentId": there["environment_id"], "name": "q", "configYaml": YAML}
    hook = {"name": "q", "url": "https://hooks.example/", "events": ["node.back"]}
    node = f"/nodes/{world.ids['here']['node_id']}"
    refused(script.call("POST", "/pipelines", new), 404)
    refused(script.call("POST", "/pipelines/validate", new), 404)
    refused(script.call("POST", "/webhooks", {**hook, "environmentId": there["environment_id"]}), 404)
    refused(script.call("POST", "/webhooks", hook), 403)
    refused(script.call("PATCH", node, {"environmentId": there["environment_id"]}), 404)

    app = world.another_app()
    app.config["WTF_CSRF_ENABLED"] = False
    visitor = world.visitor(None, app, here="admin")
    form = {"environment_id": there["environment_id"], "name": "q", "config_yaml": YAML}
    assert visitor.post("/pipelines/new", data=form).status_code == 404
    assert visitor.post("/pipelines/check", data=form).status_code == 404
    assert visitor.get(f"/pipelines/completions?environment={there['environment_id']}").status_code == 404
    hook_form = {"name": "q", "url": hook["url"], "events": "node.back"}
    assert visitor.post("/webhooks", data=hook_form).status_code == 403
    hook_form["environment"] = there["environment_id"]
    assert visitor.post("/webhooks", data=hook_form).status_code == 404
    ask = f"/environments/{world.ids['here']['environment_id']}/actions"
    assert "there-flow" not in visitor.post(ask, data={"what": f"restart:{there['pipeline_id']}"}).text
    # Nodes of there among those that were selected: nobody is told that there are any.
    chosen = [("what", "restart"), ("node", world.ids["here"]["node_id"]), ("node", there["node_id"])]
    preview = visitor.get("/fleet/actions", query_string=chosen).text
    assert "there-" not in preview
    assert "there-" not in visitor.get("/fleet/actions?what=restart&all=yes").text


def test_acts_on_many_nodes_leave_out_those_where_the_role_does_not_suffice(world: World) -> None:
    """They are seen, so they are named with the reason."""
    visitor = world.visitor(None, here="editor", there="viewer")
    page = visitor.get("/fleet/actions?what=pause&all=yes").text
    assert "here-node" in page
    assert re.search(r"there-node.{0,200}role editor", page, re.S)


def _first_of(answer: Any) -> str:
    """The text of an answer; of a stream its first picture."""
    if answer.mimetype != "text/event-stream":
        text: str = answer.text
        return text
    found = ""
    for chunk in answer.response:
        found += chunk if isinstance(chunk, str) else chunk.decode()
        if "\n\n" in found and "event:" in found:
            break
    answer.close()
    return found


# ---- principals ----


def test_the_overall_role_is_a_floor_and_a_grant_may_give_more() -> None:
    """A smaller grant takes nothing away."""
    known = Principal("account", "a", "a@example.org", "editor", {"x": "viewer", "y": "admin"})
    assert [known.role_in(each) for each in ("x", "y", "z", None)] == ["editor", "admin", "editor", "editor"]
    assert (known.where("viewer"), known.where("editor"), known.where("admin")) == (None, None, {"y"})
    known.require("admin", "y")
    with pytest.raises(ForbiddenError, match="is an editor; this needs the role admin"):
        known.require("admin", "x")
    with pytest.raises(ForbiddenError):
        known.require_overall("admin")


def test_who_has_no_overall_role_sees_the_environments_of_the_grants_alone() -> None:
    """All else does not exist; what lies outside of every environment is refused in a sentence."""
    known = Principal("account", "a", "a@example.org", None, {"x": "editor"})
    assert (known.where("viewer"), known.where("admin")) == ({"x"}, frozenset())
    assert (known.may_somewhere("editor"), known.may_somewhere("admin")) == (True, False)
    with pytest.raises(NotFoundError, match="no such pipeline"):
        known.require("viewer", "y", "pipeline")
    with pytest.raises(NotFoundError):
        known.require("viewer", None, "webhook")
    with pytest.raises(ForbiddenError, match="single environments only"):
        known.require_overall("viewer")
    with pytest.raises(ForbiddenError, match="has no role yet"):
        Principal("account", "a", "a@example.org", None).require_somewhere("viewer")


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"role": "admin"}, 200),
        ({"role": None}, 200),  # that of the grant is left
        ({"grants": []}, 200),  # that overall is left
        ({"disabled_at": utc_now()}, 401),
        ({"sessions": "ended"}, 401),
    ],
)
def test_an_open_page_ends_with_what_allowed_it(
    world: World, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], status: int
) -> None:
    """A role that was taken or given, an account that was disabled: the browser asks again, and is answered anew."""
    monkeypatch.setattr(live, "CHECK_SECONDS", 0.0)
    monkeypatch.setattr(live, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(live, "LIFE_SECONDS", 60.0)
    started = time.monotonic()
    account_id = world.account("viewer", here="editor")
    client = world.app.test_client()
    sign_in_as(world.app, client, account_id)
    address = f"/nodes/{world.ids['here']['node_id']}"
    answer = client.get(f"{address}/events", buffered=False)
    stream = iter(answer.response)
    next(stream)

    def work(session: Session) -> None:
        account = session.get_one(Account, account_id)
        for name, value in change.items():
            if name == "sessions":
                sessions.remove(session, account_id)
            else:
                setattr(account, name, value)

    with world.app.app_context():
        transaction(work)
    list(stream)
    answer.close()
    assert time.monotonic() < started + 40, "it has ended because of its age"
    assert client.get(f"{address}/rows").status_code == status


def test_an_open_page_ends_when_its_object_is_moved_out_of_sight(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may not see where the node is now, sees no more of it."""
    monkeypatch.setattr(live, "CHECK_SECONDS", 0.0)
    monkeypatch.setattr(live, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(live, "LIFE_SECONDS", 60.0)
    started = time.monotonic()
    script = make_script(world.app)
    (agent,) = enroll(script, world.ids["here"]["environment_id"], "here-wanderer")
    path = f"/nodes/{node_id(agent)}"
    try:
        visitor = world.visitor(None, here="viewer")
        answer = visitor.get(f"{path}/events", buffered=False)
        stream = iter(answer.response)
        next(stream)
        there = {"environmentId": world.ids["there"]["environment_id"]}
        succeeded(script.call("PATCH", path, there), 200)
        assert "there-zone" not in str(list(stream))
        answer.close()
        assert time.monotonic() < started + 40, "it has ended because of its age"
        assert visitor.get(path).status_code == 404
    finally:
        assert script.call("DELETE", path).status_code == 204


def test_a_live_tail_ends_with_its_token(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events may hold anything: whoever's token was revoked gets no more of them, though the tail goes on."""
    monkeypatch.setattr(tail_stream, "CHECK_SECONDS", 0.0)
    monkeypatch.setattr(taps, "STILL_SECONDS", 0.0)
    monkeypatch.setattr(taps, "LOOK_SECONDS", 0.05)
    script = Script(world.app.test_client(), world.token("editor", "here"))
    answer = script.send("GET", f"/taps/{world.ids['here']['tap_id']}/events", buffered=False)
    stream = iter(answer.response)
    assert "still" in str(next(stream))
    token_id = str(script.token).split("_")[2]
    with world.app.app_context():
        transaction(
            lambda session: (
                session.execute(update(ApiToken).where(ApiToken.id == token_id).values(revoked_at=utc_now()))
                and None
            )
        )
    assert "stopped" not in str(list(stream))
    answer.close()
    refused(script.call("GET", f"/taps/{world.ids['here']['tap_id']}/events"), 401)
