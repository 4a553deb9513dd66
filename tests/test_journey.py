"""The way of a deploy, nine steps across processes: the table in the README, as one test."""

import json
import re
from html import unescape
from pathlib import Path

import requests

from tests.conftest import StartAgent, StartServer
from tests.support.api import Operator
from tests.support.signed_in import signed_in
from tests.support.until import until

PIPELINE = """
sources:
  orders:
    type: file
    include: ["{folder}/orders.log"]
    read_from: beginning
transforms:
  errors:
    type: filter
    inputs: [orders]
    condition: 'contains(string!(.message), "{word}")'
sinks:
  kept:
    type: file
    inputs: [errors]
    path: "{folder}/kept.log"
    encoding:
      codec: text
"""


def test_a_deploy_reaches_real_agents_through_two_workers_and_redis(
    start_server: StartServer, start_agent: StartAgent, tmp_path: Path
) -> None:
    """An operator deploys; both nodes run the version, do its work, say so, and the fleet page hears of it.

    The poll interval is an hour, so nothing but the push can have told them.
    """
    hour = str(3600 * 1000)
    server = start_server(
        {
            "SIGNALBOX_POLL_INTERVAL_MS": hour,
            "SIGNALBOX_IDLE_POLL_INTERVAL_MS": hour,
            "SIGNALBOX_SWEEP_INTERVAL": "3600",
            "SIGNALBOX_HEARTBEAT_INTERVAL_MS": "2000",
            "SIGNALBOX_IDLE_HEARTBEAT_INTERVAL_MS": "2000",
        }
    )
    operator = Operator(server.url, server.create_api_token())
    environment = operator.create_environment("orders")
    token = operator.enrollment_token(environment["id"])
    agents = [start_agent(server.url, token) for _ in range(2)]
    node_ids = [agent.node_id for agent in agents]
    until(
        lambda: all(operator.node(node_id)["push"]["connected"] for node_id in node_ids),
        seconds=30,
        what="both nodes' push channels",
    )
    (tmp_path / "orders.log").write_text("an error\na success\n")
    pipeline = operator.create_pipeline(
        environment["id"], "errors", PIPELINE.format(folder=tmp_path, word="error")
    )

    login = ("operator@example.org", "a long enough password")
    server.create_admin(*login)
    with (
        signed_in(server.url, *login) as page,
        page.get(f"{server.url}/fleet/events", stream=True, timeout=60) as events,
    ):
        # 1 to 4: deploy, version row, nudges on the nodes' channels, taken by the workers with their sockets
        answer = operator.deploy(pipeline["id"], "the first")
        assert (answer["version"], answer["targets"], answer["pushed"]) == (1, 2, 2)

        # 5 to 8: nudged, fetched, applied, reported
        report = until(
            lambda: _finished(operator, answer["deploymentId"]), seconds=60, what="both nodes' running"
        )
        for node in report["nodes"]["items"]:
            assert node["nudgedAt"] <= node["fetchedAt"] <= node["runningAt"]

        # 9: the fleet page changes by itself
        _wait_for_row(events, f"node-{node_ids[0]}", {"errors", "v1", "running"})

    # the pipeline does its work on each node, and the operator sees how much
    until(lambda: _lines(tmp_path / "kept.log") == ["an error"] * 2, seconds=30, what="the kept lines")
    for node_id in node_ids:
        row = operator.node(node_id)
        assert row["behind"] is False
        assert [(p["name"], p["version"], p["wantedVersion"], p["status"]) for p in row["pipelines"]] == [
            ("errors", 1, 1, "RUNNING")
        ]

    # another version, back to the first, and away
    operator.call(
        "PUT",
        f"/pipelines/{pipeline['id']}",
        {"name": "errors", "configYaml": PIPELINE.format(folder=tmp_path, word="success")},
    )
    second = operator.deploy(pipeline["id"])
    until(lambda: _finished(operator, second["deploymentId"]), seconds=60, what="the second version")
    third = operator.roll_back(pipeline["id"], 1)
    assert third["version"] == 3
    until(lambda: _finished(operator, third["deploymentId"]), seconds=60, what="the roll back")
    last = operator.undeploy(pipeline["id"])
    assert last["version"] is None
    until(lambda: _finished(operator, last["deploymentId"], "STOPPED"), seconds=60, what="the undeploy")
    assert [operator.node(node_id)["pipelines"] for node_id in node_ids] == [[], []]


def _finished(operator: Operator, deployment_id: str, status: str = "RUNNING") -> dict | None:  # type: ignore[type-arg]
    report = operator.call("GET", f"/deployments/{deployment_id}")
    assert all(node["status"] != "FAILED" for node in report["nodes"]["items"]), report
    done = len(report["nodes"]["items"]) == 2 and all(
        node["status"] == status for node in report["nodes"]["items"]
    )
    return report if done else None


def _wait_for_row(events: requests.Response, row: str, words: set[str]) -> None:
    """Read the fleet page's event stream until *row* says all *words*.

    Only the row itself is read: a form's CSRF token elsewhere in the message may hold the same letters.
    """
    seen = ""
    for line in events.iter_lines(decode_unicode=True):
        if line.startswith("data:"):
            seen = json.loads(line.removeprefix("data:")).get("parts", {}).get(row, seen)
            if words <= set(unescape(re.sub("<[^>]*>", " ", seen)).split()):
                return
    raise AssertionError(f"the event stream ended without {words} in {row}; last: {seen}")


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []
