"""Alerts across processes: two servers evaluate, workers and both servers are killed, each change is told once."""

import os
import signal
from typing import Any

import psycopg
import redis

from app.push.presence import Registry
from app.push.redis_gate import RedisGate
from tests.conftest import StartServer
from tests.support.api import AgentByHand, Operator
from tests.support.receiver import LOOPBACK, Receiver, receiver
from tests.support.server import Server
from tests.support.until import until

YAML = """
sources: {made: {type: demo_logs, format: json}}
sinks: {gone: {type: blackhole, inputs: [made]}}
"""
SETTINGS = {"SIGNALBOX_WEBHOOK_NETWORKS": LOOPBACK, "SIGNALBOX_ALERT_INTERVAL": "0.3"}


def test_each_change_is_told_once_whoever_evaluates_and_whoever_is_killed(
    start_server: StartServer, postgresql_url: str
) -> None:
    """Two servers on one PostgreSQL; SIGKILL to the worker that evaluates, then to both servers."""
    first = start_server({**SETTINGS, "SIGNALBOX_DATABASE_URL": postgresql_url}, workers=1)
    second = start_server(first.settings, workers=1)
    operator = Operator(first.url, first.create_api_token())
    environment = operator.create_environment("orders")
    agent = AgentByHand(first.url)
    agent.enroll(operator.enrollment_token(environment["id"]))
    pipeline = operator.create_pipeline(environment["id"], "errors", YAML)["id"]
    operator.deploy(pipeline)

    def report(status: str) -> None:
        report = {"pipelineId": pipeline, "version": 1, "status": status}
        assert agent.heartbeat([report]).status_code == 200

    with receiver() as own:
        events = ["alert.firing", "alert.resolved"]
        hook = operator.call("POST", "/webhooks", {"name": "n", "url": own.url, "events": events})["id"]
        body = {"name": "failed", "kind": "pipeline_failed", "forSeconds": 0, "clearSeconds": 30}
        rule = operator.call("POST", "/alert-rules", body)["id"]

        report("CRASHED")
        fired = until(lambda: told(own, "alert.firing"), what="that it fires")
        assert len(fired) == 1
        # the one that evaluates dies in the middle of its work; another one goes on, and so does the alert
        before = evaluator(postgresql_url)
        kill(before, first, second)
        evaluated = operator.call("GET", f"/alert-rules/{rule}")["evaluatedAt"]
        until(
            lambda: (
                operator.call("GET", f"/alert-rules/{rule}")["evaluatedAt"] > evaluated
                and evaluator(postgresql_url) not in ("", before)
            ),
            tolerate=(OSError,),
            what="that another worker evaluates",
        )
        report("RUNNING")
        until(lambda: is_clearing(postgresql_url), what="that it is seen to be well")
        first.kill()
        second.kill()
        # half a minute later, for it
        with psycopg.connect(postgresql_url) as connection:
            connection.execute("UPDATE alert SET clear_since = clear_since - interval '60 seconds'")
        first.start()
        second.start()
        resolved = until(lambda: told(own, "alert.resolved"), what="that it is resolved")
        assert resolved[0]["alertId"] == fired[0]["alertId"]
        # whatever is told now is told after all that there was to tell
        report("CRASHED")
        until(lambda: len(told(own, "alert.firing")) > 1, what="that it fires again")
        assert [len(told(own, event)) for event in events] == [2, 1]
        assert len(operator.call("GET", f"/webhooks/{hook}/deliveries")["items"]) == 3
    states = [alert["state"] for alert in operator.call("GET", "/alerts")["items"]]
    assert states == ["FIRING", "RESOLVED"]


def told(own: Receiver, event: str) -> list[dict[str, Any]]:
    """The alerts that the receiver was told of, one for each delivery, however often that was sent."""
    received = {each.headers["webhook-id"]: each.event["data"]["alerts"] for each in own.received(event)}
    return [alert for alerts in received.values() for alert in alerts]


def evaluator(url: str) -> str:
    """The worker that holds the lease."""
    with psycopg.connect(url) as connection:
        (holder,) = connection.execute("SELECT holder FROM lease WHERE name = 'alerts'").fetchone() or ("",)
    return str(holder)


def kill(worker_id: str, *servers: Server) -> None:
    """SIGKILL to the worker of that id, whichever server's it is."""
    settings = servers[0].settings
    key = Registry(RedisGate(settings["SIGNALBOX_REDIS_URL"]), settings["SIGNALBOX_REDIS_PREFIX"]).lease(
        worker_id
    )
    with redis.Redis.from_url(settings["SIGNALBOX_REDIS_URL"], decode_responses=True) as client:
        label = client.get(key)
    assert isinstance(label, str)
    pid = int(label.rpartition(":")[2])
    assert pid in [pid for server in servers for pid in server.worker_pids()]
    os.kill(pid, signal.SIGKILL)


def is_clearing(url: str) -> bool:
    """Whether the evaluation has seen that it is well."""
    with psycopg.connect(url) as connection:
        query = "SELECT 1 FROM alert WHERE state = 'FIRING' AND clear_since IS NOT NULL"
        return connection.execute(query).fetchone() is not None
