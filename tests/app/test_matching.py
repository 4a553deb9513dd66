"""Whom a deploy reaches is decided by the database; it must be whom the configuration is then assembled for."""

from datetime import timedelta
from itertools import product

from flask import Flask
from sqlalchemy import update

from app import assembly, deployments, deploys, selectors, targets
from app.audit import COMMAND_LINE
from app.clock import rfc3339, utc_now
from app.database import transaction
from app.models import DeploymentNode, Environment, Node
from tests.app.conftest import Script, enroll, node_id

OPERATORS = ({}, {"zone": "a"}, {"zone": "b", "example.org/team.x": "blue"}, {"zone": "ä%_\"'", "gpu": ""})
AGENTS = ({}, {"zone": "a", "gpu": "2"}, {"pool": "5", "zone": "c"}, {"Zone": "a", "pool": "true"})
SELECTORS = (
    "", "zone", "!zone", "zone=a", "zone!=a", "zone in (a,c)", "zone notin (a,c)", "gpu=", "gpu in ()", "gpu",
    "pool=5", "pool=true", "pool!=5", "!pool,zone", "example.org/team.x=blue", "Zone=a", "zone=A", "zone=ä%_\"'",
    "zone=a,gpu,!spot", "zone!=b,pool in (5,6)", "zone=%", ",".join(["!x"] * 1300), "zone in (" + "a," * 1500 + "c)",
)  # fmt: skip


def reached_by(found: targets.Preview, change: targets.Change | None) -> set[str]:
    return {target.node_id for target in targets.page(found, change, None, limit=100).items}


def test_the_database_matches_as_assembly_does(
    app: Flask, script: Script, environment_id: str, pipeline_id: str
) -> None:
    """Every kind of requirement, with agents' keys that count and agents' keys that do not."""
    kinds = list(product(OPERATORS, AGENTS))
    agents = enroll(script, environment_id, *(f"n{number}" for number in range(len(kinds))))
    labels = {node_id(agent): kind for agent, kind in zip(agents, kinds, strict=True)}
    script.post(f"/pipelines/{pipeline_id}/deploy", status=200)
    for allowed in ([], ["zone", "gpu"]):

        def work(session, allowed=allowed):  # type: ignore[no-untyped-def]
            session.get_one(Environment, environment_id).selectable_agent_labels = allowed
            for each, (operator, agent) in labels.items():
                node = session.get_one(Node, each)
                node.operator_labels, node.agent_labels = operator, agent

        with app.app_context():
            transaction(work)
            for text in SELECTORS:
                selector = selectors.parse(text)
                expected = {
                    each
                    for each, (operator, agent) in labels.items()
                    if selector.matches(assembly.selectable_labels(operator, agent, allowed))
                }
                found = targets.preview(pipeline_id, text)
                # All of them are deployed to: who has no such label is lost like one with another value.
                assert reached_by(found, None) == expected, (text, allowed)
                assert reached_by(found, "lost") == labels.keys() - expected, (text, allowed)
                counts = (found.targets, found.gained, found.kept, found.lost)
                assert counts == (len(expected), 0, len(expected), len(labels) - len(expected))


def test_a_deploy_waits_for_all_it_reaches_and_an_older_one_for_nobody(
    app: Flask, script: Script, environment_id: str, pipeline_id: str
) -> None:
    """Also where a server died between telling the nodes and writing that: the next deploy makes up for it."""
    first, second = enroll(script, environment_id, "n1", "n2")
    both = sorted(node_id(agent) for agent in (first, second))
    older = script.post(f"/pipelines/{pipeline_id}/deploy", status=200)
    assert older["targets"] == 2
    script.call("PUT", f"/pipelines/{pipeline_id}", {"nodeSelector": "zone=a"})
    script.call("PATCH", f"/nodes/{node_id(first)}", {"labels": {"zone": "a"}})
    newer = script.post(f"/pipelines/{pipeline_id}/deploy", status=200)
    assert newer["targets"] == 1

    def rows(deployment: dict[str, object]) -> list[tuple[str, str]]:
        items = script.get(f"/deployments/{deployment['deploymentId']}")["nodes"]["items"]
        return [(item["nodeId"], item["status"]) for item in items]

    assert rows(older) == [(each, "SUPERSEDED") for each in both]
    assert rows(newer) == [(node_id(first), "PENDING")]
    with app.app_context():
        crashed = update(DeploymentNode).where(DeploymentNode.deployment_id == older["deploymentId"])
        transaction(lambda session: session.execute(crashed.values(status="PENDING")) and None)
        outcome = deploys.undeploy(pipeline_id, COMMAND_LINE)
    assert outcome.targets == 1
    assert {status for _, status in rows(older) + rows(newer)} == {"SUPERSEDED"}


def test_of_many_nudges_each_is_noted_with_its_own_moment(
    app: Flask, script: Script, environment_id: str, pipeline_id: str
) -> None:
    """The first of each node and deployment; those of others, and of nodes that have gone, change nothing."""
    ids = [node_id(agent) for agent in enroll(script, environment_id, "n1", "n2", "n3")]
    older, newer = (
        script.post(f"/pipelines/{pipeline_id}/deploy", status=200)["deploymentId"] for _ in range(2)
    )
    now = utc_now()
    moments = [now + timedelta(milliseconds=step) for step in range(4)]
    with app.app_context():
        deployments.record_nudged(
            [
                (newer, ids[1], moments[1]),
                (newer, ids[0], moments[0]),
                (older, ids[0], moments[3]),
                ("gone", ids[2], moments[2]),
                (newer, "gone", moments[2]),
            ]
        )
        deployments.record_nudged([(newer, ids[0], moments[2]), (newer, ids[2], moments[2])])

    def noted(deployment: str) -> list[str | None]:
        items = script.get(f"/deployments/{deployment}")["nodes"]["items"]
        return [{item["nodeId"]: item["nudgedAt"] for item in items}[each] for each in ids]

    assert noted(newer) == [rfc3339(moment) for moment in moments[:3]]
    assert noted(older) == [rfc3339(moments[3]), None, None]
