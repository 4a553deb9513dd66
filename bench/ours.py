"""Signalbox itself, as people run it: real gunicorn, PostgreSQL (or SQLite) and Redis, nodes with real tokens."""

from __future__ import annotations

import http.client
import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import redis
import requests
from sqlalchemy import create_engine, text

from app.push import messages
from app.push.channels import Channels
from bench.contender import Contender
from bench.place import Place
from tests.support.api import Operator
from tests.support.many_nodes import enroll_many
from tests.support.server import Server
from tests.support.until import until
from tools.redis_server import RedisServer

PIPELINE = """
sources: {{made: {{type: demo_logs, format: json, interval: {interval}}}}}
sinks: {{gone: {{type: blackhole, inputs: [made]}}}}
"""
NOTED_SECONDS = 1.0
PASSWORD = "correct horse battery"
SETTINGS = {
    # What it can do is the question here, not what it takes from a herd.
    "SIGNALBOX_UPGRADE_RATE": "100000",
    "SIGNALBOX_MAX_SOCKETS": "19000",
    # Agents that are measured keep their connections; in production a proxy does.
    "GUNICORN_CMD_ARGS": "--keep-alive=75",
}


class Ours:
    """A running Signalbox with one environment of nodes."""

    def __init__(self, server: Server, redis_server: RedisServer, database_url: str) -> None:
        self.server = server
        self.database_url = database_url
        self.store = redis.Redis.from_url(redis_server.url, decode_responses=True)
        self.api_token = server.create_api_token()
        self.operator = Operator(server.url, self.api_token)
        self.environment: str = self.operator.create_environment("bench")["id"]
        self.tokens: list[str] = []
        self._caller = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        self._channels = Channels("signalbox:")
        self._own_channels = self._subscribed()

    @property
    def port(self) -> int:
        return int(self.server.url.rpartition(":")[2])

    @property
    def websocket_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/api/agent/ws"

    def enroll(self, count: int) -> list[str]:
        """That many more nodes, straight in the database; their tokens, kept behind those of before."""
        self.tokens += enroll_many(self.server.settings, self.environment, count)
        return self.tokens

    def node_id(self, index: int) -> str:
        return self.tokens[index].split("_")[2]

    def create_pipeline(self, name: str = "bench", selector: str = "") -> str:
        more = {"nodeSelector": selector} if selector else {}
        return str(
            self.operator.create_pipeline(self.environment, name, PIPELINE.format(interval=1), **more)["id"]
        )

    def config(self, index: int = 0, etag: str = "") -> requests.Response:
        """The configuration of that node as it is served now."""
        headers = {"Authorization": f"Bearer {self.tokens[index]}"}
        if etag:
            headers["If-None-Match"] = etag
        return requests.get(f"{self.server.url}/api/agent/config", headers=headers, timeout=30)

    def follow(self) -> str:
        """Write down that every node runs what it should, so that no sweep has a reason to nudge; the revision."""
        revision: str = self.config().json()["configRevision"]
        with self.engine() as connection:
            connection.execute(text("UPDATE node SET running_revision = :it"), {"it": revision})
        return revision

    def settle(self) -> None:
        """Until what a deploy leaves to be noted is noted; then as ``follow``: the next finds a server at rest."""
        noted = text("SELECT count(nudged_at) FROM deployment_node")
        count = -1
        while True:
            with self.engine() as connection:
                before, count = count, connection.execute(noted).scalar_one()
            if count == before:
                break
            time.sleep(NOTED_SECONDS)
        self.follow()

    @contextmanager
    def engine(self) -> Iterator[Any]:
        """A transaction in the server's database."""
        engine = create_engine(self.database_url.replace("postgresql://", "postgresql+psycopg://"))
        try:
            with engine.begin() as connection:
                yield connection
        finally:
            engine.dispose()

    def database_bytes(self) -> int:
        """What its database takes on PostgreSQL's disk."""
        with self.engine() as connection:
            return int(connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one())

    def held(self) -> int:
        """How many sockets the workers hold and have subscribed: Redis's channels, less those it had without any."""
        return max(0, self._subscribed() - self._own_channels)

    def _subscribed(self) -> int:
        return int(self.store.info("stats")["pubsub_channels"])

    def wait_until_empty(self) -> None:
        """Until the last socket is gone, after a crowd has left without a word."""
        until(lambda: self.held() == 0, seconds=60, every=0.2, what="no subscribed socket")

    def deploy(self, pipeline: str) -> int:
        """How many were pushed. The call's own time is the caller's to take, so nothing stands around the request."""
        headers = {"Authorization": f"Bearer {self.api_token}", "Content-Type": "application/json"}
        self._caller.request("POST", f"/api/v1/pipelines/{pipeline}/deploy", "{}", headers)
        answer = self._caller.getresponse()
        said = json.loads(answer.read())
        assert answer.status == 200, said
        return int(said["pushed"])

    def publish_one(self, index: int) -> None:
        """One PUBLISH on one node's channel, as the switchboard would."""
        nudge = messages.Nudge(messages.config_changed("deploy", "p" * 32), None)
        self.store.publish(self._channels.name(self.node_id(index)), messages.pack(nudge))

    def close(self) -> None:
        self._caller.close()
        self.store.close()
        self.operator.session.close()


@contextmanager
def running(
    place: Place,
    *,
    workers: int = 2,
    database: str = "PostgreSQL",
    settings: Mapping[str, str] | None = None,
    access_log: bool = False,
    also_bind: str = "",
) -> Iterator[Ours]:
    """One server with an empty environment; everything it needs is made for it and removed behind it.

    `also_bind` is one more place where it listens, in gunicorn's words.
    """
    with place.folder() as folder, place.redis() as redis_server, place.database(database) as url:
        all_settings = {
            **SETTINGS,
            "SIGNALBOX_DATABASE_URL": url,
            "SIGNALBOX_REDIS_URL": redis_server.url,
            **(settings or {}),
        }
        server = Server(folder, all_settings, workers=workers, application="bench.application:app")
        if not access_log:  # as shipped
            del server.settings["SIGNALBOX_ACCESS_LOG"]
        if also_bind:
            places = f"--bind={server.settings['SIGNALBOX_BIND']} --bind={also_bind}"
            server.settings["GUNICORN_CMD_ARGS"] += f" {places}"
        ours = None
        try:
            server.start()
            ours = Ours(server, redis_server, url)
            yield ours
        finally:
            if ours is not None:
                ours.close()
            server.close()


@contextmanager
def contender(place: Place, count: int, workers: int = 2) -> Iterator[Contender]:
    """Ours beside its peers, with so many nodes that run what they should."""
    with running(place, workers=workers) as ours:
        ours.enroll(count)
        pipeline = ours.create_pipeline()
        revision = ours.follow()
        yield Contender(
            name="signalbox",
            urls=[ours.websocket_url],
            headers={"X-Config-Revision": revision, "X-Agent-Instance": secrets.token_hex(8)},
            tokens=ours.tokens,
            pids=ours.server.worker_pids(),
            store=ours.store,
            held=ours.held,
            deploy=lambda: ours.deploy(pipeline),
            publish_one=ours.publish_one,
            settle=ours.settle,
        )


def wait_until_held(held: Callable[[], int], count: int, seconds: float = 120) -> None:
    """Until the server has subscribed to all those channels."""
    until(lambda: held() >= count, seconds=seconds, every=0.2, what=f"{count} subscribed sockets")
