"""The way of a sample: asked at one server, pushed by another, tapped by a real agent, and shown."""

from typing import Any

import pytest

from tests.conftest import StartAgent, StartServer
from tests.support.api import Operator
from tests.support.until import until
from tests.test_action_journey import HOUR_MS, _running

YAML = """
sources:
  made:
    type: demo_logs
    format: json
    interval: 0.05
transforms:
  few:
    type: sample
    inputs: [made]
    rate: 2
  none:
    type: filter
    inputs: [made]
    condition: 'false'
sinks:
  gone:
    type: blackhole
    inputs: [few]
  nothing:
    type: blackhole
    inputs: [none]
"""


@pytest.mark.long
def test_events_of_a_running_pipeline_are_shown(start_server: StartServer, start_agent: StartAgent) -> None:
    """A source's, a transform's, and what flows into a sink, with their schema; polls come once an hour.

    The other server than the one that is asked holds the socket, so nothing but the push can have told the agent.
    """
    there = start_server(
        {
            "SIGNALBOX_POLL_INTERVAL_MS": HOUR_MS,
            "SIGNALBOX_IDLE_POLL_INTERVAL_MS": HOUR_MS,
            "SIGNALBOX_SWEEP_INTERVAL": "3600",
        },
        workers=1,
    )
    here = start_server(there.settings, workers=1)
    operator = Operator(here.url, here.create_api_token())
    environment_id = operator.create_environment("e")["id"]
    pipeline_id = operator.create_pipeline(environment_id, "one", YAML)["id"]
    operator.deploy(pipeline_id)
    agent = start_agent(there.url, operator.enrollment_token(environment_id))
    until(lambda: _running(operator, agent) == {pipeline_id}, seconds=60, what="the pipeline")

    asked = operator.call(
        "POST",
        f"/pipelines/{pipeline_id}/samples",
        {"componentKeys": ["made", "few", "gone"], "limit": 5},
    )
    assert (asked["nodes"], asked["pushed"]) == (1, 1)
    row = _ended(operator, asked["requestId"])
    assert row["status"] == "COMPLETED", row
    assert [sample["componentKey"] for sample in row["samples"]] == ["made", "few", "gone"]
    for sample in row["samples"]:
        assert (sample["nodeId"], len(sample["events"])) == (agent.node_id, 5), sample
        assert all("message" in event for event in sample["events"])
        types = {field["path"]: field["type"] for field in sample["schema"]}
        assert types[".message"] == types[".timestamp"] == "string"

    # where nothing flows the request ends all the same, and says so
    asked = operator.call(
        "POST", f"/pipelines/{pipeline_id}/samples", {"componentKeys": ["none", "made"], "limit": 1}
    )
    row = _ended(operator, asked["requestId"])
    assert row["status"] == "ERROR"
    assert "no event came" in row["samples"][0]["error"]
    assert (row["samples"][1]["error"], len(row["samples"][1]["events"])) == (None, 1)
    assert len(agent.child_pids()) == 1, "no tap is left"


def test_an_agent_without_a_channel_hears_of_it_by_its_poll(
    start_server: StartServer, start_agent: StartAgent
) -> None:
    """The configuration answer lists the request; nothing is pushed."""
    server = start_server(
        {"SIGNALBOX_POLL_INTERVAL_MS": "1000", "SIGNALBOX_HEARTBEAT_INTERVAL_MS": "1000"}, workers=1
    )
    operator = Operator(server.url, server.create_api_token())
    environment_id = operator.create_environment("e")["id"]
    pipeline_id = operator.create_pipeline(environment_id, "one", YAML)["id"]
    operator.deploy(pipeline_id)
    agent = start_agent(
        server.url, operator.enrollment_token(environment_id), module="tests.agent.mute_agent"
    )
    until(lambda: _running(operator, agent) == {pipeline_id}, seconds=60, what="the pipeline")
    asked = operator.call(
        "POST", f"/pipelines/{pipeline_id}/samples", {"componentKeys": ["made"], "limit": 2}
    )
    assert asked["pushed"] == 0
    row = _ended(operator, asked["requestId"])
    assert (row["status"], len(row["samples"][0]["events"])) == ("COMPLETED", 2)
    assert operator.node(agent.node_id)["push"]["connected"] is False


def _ended(operator: Operator, request_id: str) -> Any:
    def probe() -> Any:
        row = operator.call("GET", f"/samples/{request_id}")
        return row if row["finishedAt"] else None

    return until(probe, seconds=60, what="the request's end")
