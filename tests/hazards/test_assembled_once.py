"""What an environment's nodes must run is assembled once for each change and worker, not once for each node."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask

from app import assembly, deploys, environments, pipelines
from app.audit import COMMAND_LINE
from bench.nudge_counts import UNSWEPT
from tests.conftest import StartServer
from tests.hazards.conftest import YAML, Fleet, MakeFleet
from tests.support.api import AgentByHand

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


def test_fifty_nodes_on_two_workers_cost_two_assemblies(
    start_server: StartServer, make_fleet: MakeFleet
) -> None:
    """The revision alone ends a plan: not a node, not a label, not an interval, not another environment."""
    fleet = make_fleet(start_server(UNSWEPT, workers=WORKERS))
    agents = fleet.agents(AGENTS)
    etags: list[str | None] = [None] * AGENTS
    asking = ThreadPoolExecutor(8)

    def all_ask(what: str, *, assemblies: range, full: int) -> None:
        nonlocal etags
        before = counts(fleet)
        etags = list(asking.map(ask, agents, etags))
        made, new, unchanged = (now - then for now, then in zip(counts(fleet), before, strict=True))
        assert made in assemblies, f"{what}: {made} assemblies"
        assert (new, unchanged) == (full, AGENTS - full), what

    with asking:
        once_a_worker, not_at_all = range(1, WORKERS + 1), range(1)
        all_ask("an empty environment", assemblies=once_a_worker, full=AGENTS)
        for again in range(2):
            fleet.operator.deploy(fleet.pipeline_id)
            all_ask(f"deploy {again}", assemblies=once_a_worker, full=AGENTS)
            all_ask("nothing new", assemblies=range(WORKERS), full=0)
        make_fleet(fleet.server, fleet.operator).agent().config()
        for agent in agents[:7]:
            fleet.operator.call("PATCH", f"/nodes/{agent.node_id}", {"labels": {"zone": "a"}})
        all_ask("labels that choose nothing", assemblies=not_at_all, full=0)
        fleet.operator.call("PATCH", f"/nodes/{agents[0].node_id}", {"maintenanceMode": True})
        all_ask("one in maintenance", assemblies=range(WORKERS + 1), full=1)
        fleet.operator.call("PATCH", "/settings", {"pollIntervalMs": 7000})
        all_ask("another interval", assemblies=not_at_all, full=AGENTS)


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
