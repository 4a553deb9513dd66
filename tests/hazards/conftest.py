"""What the hazards' tests share: an application without a web server, and a small fleet of agents by hand."""

import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
import requests
from flask import Flask

from app import assembly, create_app
from app.config import Settings
from app.database import db
from tests.conftest import StartServer
from tests.support.api import AgentByHand, Operator
from tests.support.doors import Channel, Door
from tests.support.event_stream import EventStream
from tests.support.redis_proxy import RedisProxy
from tests.support.server import Server, fresh_secrets
from tests.support.until import until
from tests.support.websocket_client import WebSocketClient
from tools.redis_server import RedisServer

MakeFleet = Callable[..., "Fleet"]

YAML = """
sources:
  made:
    type: demo_logs
    format: json
sinks:
  gone:
    type: blackhole
    inputs: [made]
"""


@pytest.fixture
def application(database_url: str, redis_server: RedisServer, unique_prefix: str) -> Iterator[Flask]:
    """The application on a database of its own, once for each kind, inside its context."""
    settings = {
        **fresh_secrets(),
        "SIGNALBOX_DATABASE_URL": database_url,
        "SIGNALBOX_REDIS_URL": redis_server.url,
        "SIGNALBOX_REDIS_PREFIX": unique_prefix,
    }
    app = create_app(Settings.from_environ(settings))
    with app.app_context():
        yield app
        db.session.remove()
        db.engine.dispose()
        app.extensions["switchboard"].gate.client.close()


def forget_plans(app: Flask) -> None:
    """As if no worker had ever assembled anything: to be called in the application's context."""
    assembly._plans.clear()
    client = app.extensions["switchboard"].gate.client
    for key in client.keys(f"{app.extensions['settings'].redis_prefix}plan:*"):
        client.delete(key)


@dataclass
class Fleet:
    """One environment with a pipeline, on a running server."""

    server: Server
    operator: Operator
    environment_id: str
    pipeline_id: str
    token: str
    """For enrolling more."""
    opened: list[WebSocketClient | EventStream] = field(default_factory=list)

    def agent(self, **more: object) -> AgentByHand:
        """A new node, played by hand."""
        agent = AgentByHand(self.operator.url)
        agent.enroll(self.token, **more)
        return agent

    def connect(self, agent: AgentByHand, *, up_to_date: bool = True) -> WebSocketClient:
        """The agent's channel; while it is *up_to_date* nothing is pushed until something changes."""
        headers = {"X-Config-Revision": agent.follow()} if up_to_date else {}
        client = agent.connect(headers)
        self.opened.append(client)
        return client

    def open(self, agent: AgentByHand, transport: str, *, revision: str | None = None) -> Channel:
        """As ``connect``, in either form; at the server that the agent talks to."""
        channel = Door(agent, transport).open(agent, revision=revision)
        self.opened.append(channel.client)
        return channel

    def dial(self, data: bytes) -> WebSocketClient:
        """A TCP connection to the server on which *data* was sent."""
        client = WebSocketClient.dial(self.operator.url)
        self.opened.append(client)
        client.send_bytes(data)
        return client

    def close(self) -> None:
        """End all channels."""
        for client in self.opened:
            client.close()

    def until_connected(self, agents: list[AgentByHand]) -> None:
        """Wait until the operator API shows all of them as connected."""
        until(
            lambda: all(self.operator.node(agent.node_id)["push"]["connected"] for agent in agents),
            what="the agents' channels",
        )

    def metrics(self) -> dict[str, float]:
        """Every sample of ours by name and labels."""
        text = requests.get(f"{self.operator.url}/metrics", timeout=10).text
        return {name: float(value) for name, value in re.findall(r"^(signalbox_\S+) (\S+)$", text, re.M)}

    def agents(self, count: int) -> list[AgentByHand]:
        return [self.agent() for _ in range(count)]


@pytest.fixture
def redis_proxy(own_redis: RedisServer) -> Iterator[RedisProxy]:
    """The way to ``own_redis``."""
    proxy = RedisProxy(own_redis.url)
    yield proxy
    proxy.close()


@pytest.fixture
def fleet(server: Server, operator: Operator, make_fleet: MakeFleet) -> Fleet:
    """A fleet on the session's server, which has two workers and which nobody may harm."""
    return make_fleet(server, operator)


@pytest.fixture
def own_fleet(start_server: StartServer, make_fleet: MakeFleet) -> Fleet:
    """A fleet on a server of its own, to be stopped and killed."""
    return make_fleet(start_server())


@pytest.fixture
def make_fleet() -> Iterator[MakeFleet]:
    """Makes an environment and a pipeline on a server; closes in the end what the fleet's agents opened."""
    made: list[Fleet] = []

    def make(server: Server, operator: Operator | None = None) -> Fleet:
        operator = operator or Operator(server.url, server.create_api_token())
        environment = operator.create_environment(f"hazards-{uuid.uuid4().hex[:8]}")
        pipeline = operator.create_pipeline(environment["id"], "made", YAML)
        token = operator.enrollment_token(environment["id"])
        made.append(Fleet(server, operator, environment["id"], pipeline["id"], token))
        return made[-1]

    yield make
    for fleet in made:
        fleet.close()
