"""Hazard 27: what is too large is read to its end, answered with 200, and asked for no more."""

import json
from typing import Any

import pytest
import requests

from tests.hazards.conftest import Fleet
from tests.support.until import until

LIMIT = 16 * 1024 * 1024


@pytest.mark.parametrize("path", ["heartbeat", "samples"])
def test_a_body_over_the_limit_is_drained_and_ends_what_was_asked_for(fleet: Fleet, path: str) -> None:
    """An agent that puts back what was refused grows for ever. Who still sends reads no answer yet."""
    agent = fleet.agent()
    fleet.operator.deploy(fleet.pipeline_id)
    assert agent.heartbeat([{"pipelineId": fleet.pipeline_id, "version": 1, "status": "RUNNING"}]).ok
    body = {"componentKeys": ["made"], "limit": 1}
    request_id = fleet.operator.call("POST", f"/pipelines/{fleet.pipeline_id}/samples", body)["requestId"]
    events = {"requestId": request_id, "componentKey": "made", "events": ["x" * (LIMIT + 1)]}
    name = "sampleResults" if path == "heartbeat" else "results"
    data = json.dumps({"pipelines": [], name: [events]}).encode()
    url = f"{agent.url}/api/agent/{path}"
    head = (
        f"POST /api/agent/{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {agent.token}\r\n"
        f"Content-Length: {len(data)}\r\n\r\n"
    )
    client = fleet.dial(head.encode() + data[:-1])
    with pytest.raises(TimeoutError):
        client.read_answer(seconds=0.5)
    client.send_bytes(data[-1:])
    answer = client.read_answer()
    assert (answer.status, json.loads(answer.body)) == (200, {"ok": True})
    assert agent.session.post(url, json={}, timeout=30).status_code == 200

    def ended() -> Any:
        row = fleet.operator.call("GET", f"/samples/{request_id}")
        return row if row["status"] != "PENDING" else None

    row = until(ended, what="the request's end")
    assert row["status"] == "ERROR"
    assert "too large" in row["samples"][0]["error"]
    assert "sampleRequests" not in agent.config().json()


def test_of_a_stranger_nothing_is_read(fleet: Fleet) -> None:
    """The limit is the authenticated ones'; a body that nobody may send is not waited for."""
    head = (
        f"POST /api/agent/heartbeat HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer nobody\r\n"
        f"Content-Length: {LIMIT * 2}\r\n\r\n"
    )
    client = fleet.dial(head.encode())
    assert client.read_answer().status == 401


def test_a_body_at_the_limit_is_taken(fleet: Fleet) -> None:
    """16 MiB to the byte."""
    agent = fleet.agent()
    data = b'{"bootId": "all-of-it", "seq": 1, "pipelines": []' + b" " * (LIMIT - 50) + b"}"
    assert len(data) == LIMIT
    answer: requests.Response = agent.session.post(f"{agent.url}/api/agent/heartbeat", data=data, timeout=30)
    assert answer.status_code == 200
    assert fleet.operator.node(agent.node_id)["status"] == "HEALTHY", (
        "as a heartbeat, not as something too large"
    )
