"""The pages without a browser: visitors with cookies, who send the forms that the pages hand out."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app import create_app, enrollment, pipelines
from app.audit import COMMAND_LINE
from app.config import Settings
from app.database import db
from tests.support.people import admit, make_account
from tests.support.server import fresh_secrets
from tools.redis_server import RedisServer

PASSWORD = "correct horse battery"
YAML = """\
sources:
  requests:
    type: demo_logs
    format: json
sinks:
  out:
    type: blackhole
    inputs: [requests]
"""
SECRETS = fresh_secrets()
"""Those of all applications here: a session of one test is good for the account of the same id in another's."""

Make = Callable[..., Flask]
SignIn = Callable[..., "Visitor"]


class Visitor:
    """Somebody with a browser's cookies, who sends forms as the pages hand them out."""

    def __init__(self, client: FlaskClient) -> None:
        self.client = client

    def get(self, path: str, **more: Any) -> TestResponse:
        return self.client.get(path, **more)

    def post(self, path: str, page: str = "/environments", **fields: str) -> TestResponse:
        """Send a form with the token of *page*'s first form."""
        found = re.search(r'name="csrf_token" value="([^"]+)"', self.get(page).text)
        assert found is not None, f"no form on {page}"
        return self.client.post(path, data={"csrf_token": found[1], **fields})


@pytest.fixture
def make_app(sqlite_url: str, redis_server: RedisServer, unique_prefix: str) -> Iterator[Make]:
    """Makes the application on a database and a Redis prefix of this test's own."""
    made: list[Flask] = []

    def make(**settings: str) -> Flask:
        environ = {
            **SECRETS,
            "SIGNALBOX_DATABASE_URL": sqlite_url,
            "SIGNALBOX_REDIS_URL": redis_server.url,
            "SIGNALBOX_REDIS_PREFIX": unique_prefix,
            **settings,
        }
        made.append(create_app(Settings.from_environ(environ)))
        return made[-1]

    yield make
    for app in made:
        with app.app_context():
            db.engine.dispose()
            app.extensions["switchboard"].gate.client.close()


@pytest.fixture
def app(make_app: Make) -> Flask:
    """The application on SQLite: nothing that the pages do of their own depends on the kind of database."""
    return make_app()


@pytest.fixture
def sign_in(app: Flask) -> SignIn:
    """Makes an account of a role, once, and signs in with it."""
    known: set[str] = set()

    def sign_in(role: str = "admin") -> Visitor:
        email = f"{role}@example.org"
        visitor = Visitor(app.test_client())

        def by_the_form() -> None:
            answer = visitor.post("/sign-in", "/sign-in", email=email, password=PASSWORD)
            assert answer.status_code == 302

        if role in known:
            by_the_form()
        else:
            make_account(app, email, PASSWORD, role)
            admit(app, visitor.client, email, by_the_form)
            known.add(role)
        return visitor

    return sign_in


@pytest.fixture
def pipeline_id(app: Flask, environment_id: str) -> str:
    with app.app_context():
        return pipelines.create(
            COMMAND_LINE, environment_id=environment_id, name="access-log", config_yaml=YAML
        ).id


def enroll(app: Flask, environment_id: str, name: str) -> str:
    """A node of that name; its id."""
    with app.app_context():
        token = enrollment.rotate_token(environment_id, COMMAND_LINE).text
        return enrollment.enroll(token, name).node_id
