"""How a pipeline's nodes stand, counted, and what their components do, summed."""

from datetime import timedelta
from typing import Any

from flask import Flask

from app import component_rates, deploys, enrollment, pipeline_standings
from app.audit import COMMAND_LINE
from app.clock import utc_now
from app.database import db, snapshot
from app.models import NodePipeline
from app.pipeline_standings import PipelineStanding


def test_each_node_is_counted_once_and_only_fresh_rates_are_summed(
    app: Flask, environment_id: str, pipeline_id: str
) -> None:
    """One that failed is not also behind; one that was told and is silent is; a rate of long ago is none."""
    now = utc_now()
    since = now - timedelta(minutes=1)
    states: dict[str, dict[str, Any]] = {
        "good": {"version": 1, "status": "RUNNING"},
        "silent-since": {"version": 1, "status": "RUNNING", "reported_at": now - timedelta(hours=1)},
        "previous": {"version": 1, "status": "RUNNING", "failed_version": 2},
        "crashed": {"version": 1, "status": "CRASH_LOOP"},
        "starting": {"version": 1, "status": "STARTING"},
    }
    with app.app_context():
        token = enrollment.rotate_token(environment_id, COMMAND_LINE).text
        ids = {name: enrollment.enroll(token, name).node_id for name in (*states, "told")}
        assert snapshot(lambda s: pipeline_standings.of_pipelines(s, [pipeline_id], since)) == {}
        deploys.deploy(pipeline_id, COMMAND_LINE)
        for name, columns in states.items():
            metrics = [{"componentId": "made", "sentRate": 2.0, "errorsTotal": 1}]
            shared = {"reported_at": now, "events_in_rate": 1.5, "component_metrics": metrics}
            db.session.add(NodePipeline(node_id=ids[name], pipeline_id=pipeline_id, **{**shared, **columns}))
        db.session.commit()
        standings = snapshot(lambda s: pipeline_standings.of_pipelines(s, [pipeline_id], since))
        assert standings == {pipeline_id: PipelineStanding(2, 2, 2, 6.0, None)}
        throughput = snapshot(lambda s: component_rates.of_pipeline(s, pipeline_id, 1, since))
        assert (throughput.nodes, throughput.running) == (2, 2)
        assert (throughput.components["made"].sent, throughput.components["made"].errors) == (4.0, 2)
