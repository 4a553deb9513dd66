"""The operator API without a web server: an application on each kind of database, and a script's view of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app import accounts, create_app, environments
from app.audit import COMMAND_LINE
from app.clock import utc_now
from app.config import Settings
from app.database import db, transaction
from app.ids import new_id
from app.models import Alert
from tests.support.described import undescribed
from tests.support.server import fresh_secrets
from tools.redis_server import RedisServer

YAML = """\
sources:
  made:
    type: demo_logs
    format: json
sinks:
  gone:
    type: blackhole
    inputs: [made]
"""

SECRETS = fresh_secrets()
"""Those of all applications here, so that people need not sign in anew for each (tests/support/people.py)."""


@dataclass
class Script:
    """Somebody with a token, who calls the operator API (or, with a node's token, the agent's)."""

    client: FlaskClient
    token: str | None
    root: str = "/api/v1"

    def call(self, method: str, path: str, body: object = None, **query: str) -> TestResponse:
        """The answer, whatever its status."""
        more: dict[str, Any] = {} if body is None else {"json": body}
        return self.send(method, path, query_string=query, **more)

    def send(self, method: str, path: str, **more: Any) -> TestResponse:
        """As `call`, with the body as it is."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token is not None else {}
        headers.update(more.pop("headers", {}))
        answer = self.client.open(self.root + path, method=method, headers=headers, **more)
        if self.root == "/api/v1":
            problem = undescribed(self.client.application, method, answer)
            assert not problem, f"{problem}: {answer.text}"
        return answer

    def get(self, path: str, **query: str) -> Any:
        """The JSON of an answer that must be 200."""
        return succeeded(self.call("GET", path, **query), 200)

    def post(self, path: str, body: object = None, status: int = 201) -> Any:
        """The JSON of an answer that must be `status`."""
        return succeeded(self.call("POST", path, body), status)


def succeeded(answer: TestResponse, status: int) -> Any:
    assert answer.status_code == status, answer.text
    return answer.get_json()


def refused(answer: TestResponse, status: int, *fields: str) -> str:
    """The sentence of a refusal, whose details must name `fields`."""
    assert answer.status_code == status, answer.text
    body = answer.get_json()
    assert body["error"].endswith("."), body
    named = [detail["field"] for detail in body.get("details", [])]
    assert [field for field in fields if field not in named] == [], body
    if "details" in body:
        assert body["details"], "details are left out when there is nothing to name"
    return str(body["error"])


@pytest.fixture
def app(database_url: str, redis_server: RedisServer, unique_prefix: str) -> Iterator[Flask]:
    """The application on a database of its own, once for each kind."""
    settings = {
        **SECRETS,
        "SIGNALBOX_DATABASE_URL": database_url,
        "SIGNALBOX_REDIS_URL": redis_server.url,
        "SIGNALBOX_REDIS_PREFIX": unique_prefix,
    }
    app = create_app(Settings.from_environ(settings))
    yield app
    with app.app_context():
        db.engine.dispose()
        app.extensions["switchboard"].gate.client.close()


@pytest.fixture
def script(app: Flask) -> Script:
    """A script that may do everything."""
    return make_script(app)


def make_script(app: Flask, role: str = "admin", environment_id: str | None = None) -> Script:
    with app.app_context():
        minted = accounts.create_api_token("tests", COMMAND_LINE, role=role, environment_id=environment_id)
    return Script(app.test_client(), minted.text)


@pytest.fixture
def environment_id(app: Flask) -> str:
    with app.app_context():
        return environments.create("production", COMMAND_LINE).id


@pytest.fixture
def pipeline_id(script: Script, environment_id: str) -> str:
    body = {"environmentId": environment_id, "name": "access-log", "configYaml": YAML}
    return str(script.post("/pipelines", body)["id"])


def enroll(script: Script, environment_id: str, *names: str, **more: object) -> list[Script]:
    """New nodes of these names, each as a script that calls the agent API."""
    token = script.post(f"/environments/{environment_id}/enrollment-token")["token"]
    nodes = []
    for name in names:
        agent = Script(script.client, None, "/api/agent")
        answer = agent.post("/enroll", {"token": token, "hostname": name, **more}, 200)
        agent.token = answer["nodeToken"]
        nodes.append(agent)
    return nodes


def node_id(agent: Script) -> str:
    """The id inside a node's token."""
    assert agent.token is not None
    return agent.token.split("_")[2]


def firing(app: Flask, environment_id: str, rule_name: str = "r") -> str:
    """An alert that fires in the environment; its id."""
    alert = Alert(
        id=new_id(),
        rule_id=new_id(),
        environment_id=environment_id,
        rule_name=rule_name,
        kind="pipeline_failed",
        severity="info",
        subject="s",
        state="FIRING",
        since=utc_now(),
        text="t",
    )
    with app.app_context():
        transaction(lambda session: session.add(alert))
    return alert.id
