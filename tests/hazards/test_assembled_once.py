"""What an environment's nodes must run is assembled once for each change, not for each node or worker."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import redis
from flask import Flask
from sqlalchemy import select

from app import assembly, certificate_store, deploys, environments, pipelines, secret_store, shared_plans
from app.audit import COMMAND_LINE
from app.database import snapshot
from app.models import Environment
from app.push.redis_gate import RedisGate
from bench.nudge_counts import UNSWEPT
from tests.app.test_secrets import PEM
from tests.conftest import StartServer
from tests.hazards.conftest import YAML, Fleet, MakeFleet
from tests.support.api import AgentByHand
from tools.redis_server import RedisServer

VALUE = "opensesame-17"
NAMING = """
sources:
  made: {type: demo_logs, format: json}
sinks:
  out:
    type: http
    inputs: [made]
    auth: {strategy: bearer, token: "SECRET[password]"}
    tls: {ca_file: "CERT[ca]"}
"""
AGENTS = 50
WORKERS = 2


def counts(fleet: Fleet) -> tuple[int, int, int]:
    """Assemblies, answers with a configuration, and answers that nothing is new."""
    metrics = fleet.metrics()
    names = (
        "signalbox_assemblies_total",
        'signalbox_config_answers_total{status="200"}',
        'signalbox_config_answers_total{status="304"}',
    )
    return tuple(int(metrics.get(name, 0)) for name in names)  # type: ignore[return-value]


def ask(agent: AgentByHand, etag: str | None) -> str:
    """The ``ETag`` of the answer, on a connection of its own, which either worker may accept."""
    agent.session.close()
    return agent.config(etag).headers["ETag"]


def test_fifty_nodes_on_two_workers_cost_one_assembly(
    start_server: StartServer, make_fleet: MakeFleet
) -> None:
    """The revision alone ends a plan: not a node, not a label, not an interval, not another environment."""
    fleet = make_fleet(start_server(UNSWEPT, workers=WORKERS))
    agents = fleet.agents(AGENTS)
    etags: list[str | None] = [None] * AGENTS
    asking = ThreadPoolExecutor(8)

    def all_ask(what: str, act: Callable[[], object] = lambda: None, *, assemblies: int, full: int) -> None:
        nonlocal etags
        before = counts(fleet)
        act()  # its own answer may need the plan already
        etags = list(asking.map(ask, agents, etags))
        made, new, unchanged = (now - then for now, then in zip(counts(fleet), before, strict=True))
        assert made == assemblies, f"{what}: {made} assemblies"
        assert (new, unchanged) == (full, AGENTS - full), what

    with asking:
        all_ask("an empty environment", assemblies=1, full=AGENTS)
        for again in range(2):
            deploy = partial(fleet.operator.deploy, fleet.pipeline_id)
            all_ask(f"deploy {again}", deploy, assemblies=1, full=AGENTS)
            all_ask("nothing new", assemblies=0, full=0)
        make_fleet(fleet.server, fleet.operator).agent().config()
        for agent in agents[:7]:
            fleet.operator.call("PATCH", f"/nodes/{agent.node_id}", {"labels": {"zone": "a"}})
        all_ask("labels that choose nothing", assemblies=0, full=0)
        path = f"/nodes/{agents[0].node_id}"
        rest = partial(fleet.operator.call, "PATCH", path, {"maintenanceMode": True})
        all_ask("one in maintenance", rest, assemblies=1, full=1)
        fleet.operator.call("PATCH", "/settings", {"pollIntervalMs": 7000})
        all_ask("another interval", assemblies=0, full=AGENTS)


def test_an_old_nonce_costs_no_assembly_where_the_plan_is_the_newest(
    application: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests that were on their way when somebody deployed would else each throw the new plan away."""
    environment_id = environments.create("once", COMMAND_LINE).id
    pipeline = pipelines.create(
        COMMAND_LINE, environment_id=environment_id, name="made", config_yaml=YAML, node_selector=""
    )
    old = assembly.wanted_for(environment_id).nonce
    deploys.deploy(pipeline.id, COMMAND_LINE)
    newest = assembly.wanted_for(environment_id)
    assert newest.nonce != old
    assembled: list[str] = []
    assemble = assembly._assemble
    monkeypatch.setattr(
        assembly, "_assemble", lambda session, key: assembled.append(key) or assemble(session, key)
    )
    assert assembly.wanted_for(environment_id, old) is newest
    assert assembled == []
    deploys.deploy(pipeline.id, COMMAND_LINE)
    after = assembly.wanted_for(environment_id, old)
    assert [wanted.version for wanted in after.pipelines] == [2]
    assert assembled == [environment_id]


def environment_nonce(environment_id: str) -> str:
    """Of its revision now."""
    query = select(Environment.nonce).where(Environment.id == environment_id)
    return snapshot(lambda session: session.scalars(query).one())


def another_worker_asks(environment_id: str) -> assembly.EnvironmentPlan:
    """The plan as a worker gets it that has none in its memory."""
    assembly._plans.clear()
    return assembly.wanted_for(environment_id)


@pytest.fixture
def with_secret(application: Flask) -> Iterator[str]:
    """An environment with a deployed pipeline that names a secret and a certificate."""
    assembly._plans.clear()
    environment_id = environments.create("shared", COMMAND_LINE).id
    secret_store.put(environment_id, "password", VALUE, COMMAND_LINE)
    certificate_store.put(environment_id, "ca", "ca.pem", PEM, COMMAND_LINE)
    pipeline = pipelines.create(
        COMMAND_LINE,
        environment_id=environment_id,
        name="made",
        config_yaml=NAMING,
        node_selector="zone in (a,b),!spot",
    )
    deploys.deploy(pipeline.id, COMMAND_LINE)
    yield environment_id
    assembly._plans.clear()


def test_another_worker_gets_the_very_same_plan(with_secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the byte: with another revision, nodes would restart as they meet another worker."""
    labels = {"zone": "b"}
    first = assembly.wanted_for(with_secret)
    assert VALUE.encode() in first.for_node(labels, False).body
    monkeypatch.delattr(assembly, "_assemble")
    second = another_worker_asks(with_secret)
    assert second is not first
    assert second.pipelines == first.pipelines
    assert second.for_node(labels, False) == first.for_node(labels, False)
    assert second.for_node({"zone": "b", "spot": ""}, False).pipelines == ()


def test_what_lies_in_redis_is_closed_and_opens_for_its_nonce_alone(
    with_secret: str, redis_server: RedisServer, unique_prefix: str
) -> None:
    """No value can be read there, and what has been put there for another revision is no plan."""
    assembly.wanted_for(with_secret)
    with redis.Redis.from_url(redis_server.url) as client:
        (key,) = client.keys(f"{unique_prefix}plan:*")
        value = client.get(key)
        assert isinstance(value, bytes)
        assert 0 < client.ttl(key) <= shared_plans.KEPT_SECONDS
        for text in (VALUE, "password", "demo_logs"):
            assert text.encode() not in value
        secret_store.put(with_secret, "password", "another-value", COMMAND_LINE)
        client.set(key, value)
        body = another_worker_asks(with_secret).for_node({"zone": "a"}, False).body
        assert b"another-value" in body
        assert VALUE.encode() not in body
        client.set(key, b"\x00 nonsense")
        assert another_worker_asks(with_secret).for_node({"zone": "a"}, False).body == body


def test_without_redis_each_worker_assembles(
    with_secret: str, own_redis: RedisServer, application: Flask
) -> None:
    """Nothing of a configuration depends on Redis."""
    body = assembly.wanted_for(with_secret).for_node({"zone": "a"}, False).body
    application.extensions["switchboard"].gate = RedisGate(own_redis.url)
    own_redis.kill()
    assert another_worker_asks(with_secret).for_node({"zone": "a"}, False).body == body


def test_a_turn_that_brings_no_plan_holds_nobody_up(with_secret: str) -> None:
    """A worker that is killed as it assembles keeps its turn; the others assemble after a while."""
    assembly.wanted_for(with_secret)
    pipeline_id = assembly.wanted_for(with_secret).pipelines[0].pipeline_id
    deploys.deploy(pipeline_id, COMMAND_LINE)
    nonce = environment_nonce(with_secret)
    with shared_plans.turn(with_secret, nonce) as turn:
        assert turn.found is None
        assert [wanted.version for wanted in another_worker_asks(with_secret).pipelines] == [2]
