"""Whom the server believes: its settings and the proxies that are trusted, not what a stranger's headers say."""

from collections.abc import Callable, Iterator

import pytest
from flask import Flask

from app import create_app
from app.config import Settings
from app.database import db
from app.failure_limits import FAILURES_A_WINDOW
from tests.app.conftest import enroll, make_script, node_id
from tests.support.server import fresh_secrets
from tools.redis_server import RedisServer

Make = Callable[..., Flask]

FORGED = {
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Prefix": "/evil",
    "X-Forwarded-Port": "666",
    "Forwarded": "host=evil.example;proto=https",
    "X-Original-Host": "evil.example",
}


@pytest.fixture
def make_app(sqlite_url: str, redis_server: RedisServer, unique_prefix: str) -> Iterator[Make]:
    made: list[Flask] = []

    def make(**settings: str) -> Flask:
        environ = {
            **fresh_secrets(),
            "SIGNALBOX_DATABASE_URL": sqlite_url,
            "SIGNALBOX_REDIS_URL": redis_server.url,
            "SIGNALBOX_REDIS_PREFIX": unique_prefix,
        }
        made.append(create_app(Settings.from_environ({**environ, **settings})))
        return made[-1]

    yield make
    for app in made:
        with app.app_context():
            db.engine.dispose()
            app.extensions["switchboard"].gate.client.close()


def urls(app: Flask, headers: dict[str, str]) -> tuple[str, str]:
    """What a node is told, as it is told it when it asks with these headers."""
    script = make_script(app)
    (agent,) = enroll(script, str(script.post("/environments", {"name": "e"})["id"]), "n")
    answer = app.test_client().get(
        "/api/agent/config", headers={"Authorization": f"Bearer {agent.token}", **headers}
    )
    body = answer.get_json()
    return body["websocketUrl"], body["pushUrl"]


def test_a_strangers_forwarded_headers_steer_no_agent(make_app: Make) -> None:
    """No proxy is trusted unless it is configured: the answer is that of a request without them."""
    assert urls(make_app(), FORGED) == ("ws://localhost/api/agent/ws", "http://localhost/api/agent/push")


@pytest.mark.parametrize("proxies", ["0", "1"])
def test_the_public_url_wins_over_whatever_a_request_says(make_app: Make, proxies: str) -> None:
    """Also over the Host header, and over a proxy's."""
    app = make_app(SIGNALBOX_PUBLIC_URL="https://signalbox.example/", SIGNALBOX_TRUSTED_PROXIES=proxies)
    assert urls(app, {**FORGED, "Host": "evil.example"}) == (
        "wss://signalbox.example/api/agent/ws",
        "https://signalbox.example/api/agent/push",
    )


def test_a_trusted_proxy_says_which_host_was_asked(make_app: Make) -> None:
    """And only it: of several values the last one, which it has set itself."""
    headers = {"X-Forwarded-Host": "evil.example, signalbox.example", "X-Forwarded-Proto": "http, https"}
    assert urls(make_app(SIGNALBOX_TRUSTED_PROXIES="1"), headers) == (
        "wss://signalbox.example/api/agent/ws",
        "https://signalbox.example/api/agent/push",
    )


@pytest.mark.parametrize(("proxies", "suffix"), [("0", ""), ("1", ", 192.0.2.9")])
def test_a_forged_address_does_not_dodge_the_limits_of_its_own(
    make_app: Make, proxies: str, suffix: str
) -> None:
    """A guesser that says to be somebody else each time waits all the same; so does it behind the proxy."""
    app = make_app(SIGNALBOX_TRUSTED_PROXIES=proxies)
    script = make_script(app)
    environment_id = str(script.post("/environments", {"name": "e"})["id"])
    (agent,) = enroll(script, environment_id, "n")
    client = app.test_client()

    def guess(number: int) -> int:
        headers = {
            "Authorization": f"Bearer sbx_node_{node_id(agent)}_{number:064x}",
            "X-Forwarded-For": f"198.51.100.{number % 250}{suffix}",
        }
        return client.get("/api/agent/config", headers=headers).status_code

    answers = [guess(number) for number in range(FAILURES_A_WINDOW + 5)]
    assert answers == [401] * FAILURES_A_WINDOW + [429] * 5
    assert agent.call("GET", "/config").status_code == 200
