"""How a deployment is told to people: who has it, who has not, and those in trouble first."""

from datetime import timedelta

from flask import Flask

from app import deploys, enrollment, progress
from app.audit import COMMAND_LINE
from app.clock import utc_now
from app.database import db
from app.models import DeploymentNode


def test_those_that_failed_come_first_then_those_that_are_waited_for(
    app: Flask, environment_id: str, pipeline_id: str
) -> None:
    """By name within each; the counts cover all nodes, and only the latest deployment is told."""
    with app.app_context():
        token = enrollment.rotate_token(environment_id, COMMAND_LINE).text
        ids = {name: enrollment.enroll(token, name).node_id for name in ("d", "c", "b", "a")}
        assert progress.latest(pipeline_id) is None
        deploys.deploy(pipeline_id, COMMAND_LINE)
        outcome = deploys.deploy(pipeline_id, COMMAND_LINE)
        for name, status, error in (("a", "RUNNING", None), ("d", "FAILED", "no such file")):
            where = {"deployment_id": outcome.deployment_id, "node_id": ids[name]}
            node = db.session.get_one(DeploymentNode, where)
            node.status, node.error, node.running_at = status, error, utc_now() + timedelta(seconds=1)
        db.session.commit()

        latest = progress.latest(pipeline_id)
        assert latest is not None
        assert (latest.deployment_id, latest.kind, latest.version) == (outcome.deployment_id, "deploy", 2)
        assert [(node.name, node.status) for node in latest.nodes] == [
            ("d", "FAILED"),
            ("b", "PENDING"),
            ("c", "PENDING"),
            ("a", "RUNNING"),
        ]
        assert (latest.targets, latest.done, latest.failed) == (4, 1, 1)
        assert latest.nodes[0].error == "no such file"
