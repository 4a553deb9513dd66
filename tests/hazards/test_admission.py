"""Who may open a push channel, and when: every refusal comes before the 101, with a sentence, and is counted."""

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.conftest import StartServer
from tests.hazards.conftest import Fleet, MakeFleet
from tests.support.api import AgentByHand
from tests.support.event_stream import EventStream, EventStreamError
from tests.support.until import until
from tests.support.websocket_client import (
    Answer,
    WebSocketClient,
    WebSocketRefusedError,
    handshake_headers,
    upgrade_request,
)


def refusal(agent: AgentByHand, token: str | None = None) -> Answer | None:
    """The answer to a dial, or ``None`` where it was let in, and left at once."""
    try:
        WebSocketClient.connect(f"{agent.url}/api/agent/ws", token or agent.token).close()
    except WebSocketRefusedError as refused:
        return refused.answer
    return None


def sentence(answer: Answer | None) -> str:
    assert answer is not None
    text = str(json.loads(answer.body)["error"])
    assert text.endswith(".")
    return text


def refusals(fleet: Fleet) -> dict[str, int]:
    """How many upgrades were refused, by reason."""
    text = requests.get(f"{fleet.server.url}/metrics", timeout=10).text
    found = re.findall(r'^signalbox_push_refusals_total{reason="(\w+)"} ([\d.]+)$', text, re.M)
    return {reason: int(float(count)) for reason, count in found}


def pauses(agent: AgentByHand, most: int = 40) -> Iterator[int]:
    """The ``Retry-After`` of each refusal of an agent that dials again and again, as agent A does."""
    for _ in range(most):
        answer = refusal(agent)
        if answer is not None:
            assert answer.status == 503
            assert "too often" in sentence(answer)
            yield int(answer.headers["retry-after"])


def test_a_node_that_dials_in_a_tight_loop_is_told_to_pause_longer_each_time(own_fleet: Fleet) -> None:
    """Counted across both workers: ten dials are too many, whichever they reach; nobody else is concerned."""
    agent, neighbour = own_fleet.agents(2)
    first = until(lambda: list(pauses(agent, 10)), what="a first pause")
    assert min(first) >= 1
    assert refusal(neighbour) is None
    until(lambda: refusal(agent) is None, every=0.2, what="the end of the pause, though it was not kept")
    until(lambda: max(pauses(agent, 4), default=0) > 2, every=0.2, what="a longer pause")
    with pytest.raises(EventStreamError) as refused:
        EventStream.connect(agent.url, agent.token)
    assert refused.value.status == 503
    assert agent.config().status_code == 200
    assert refusals(own_fleet)["damped"] >= len(first) + 2
    assert "duel" not in own_fleet.operator.node(agent.node_id)["push"]


def test_without_redis_a_worker_damps_from_memory(
    start_server: StartServer, make_fleet: MakeFleet, tmp_path: Path
) -> None:
    """Sockets are taken all the same, and a loop is a loop."""
    settings = {"SIGNALBOX_REDIS_URL": f"unix://{tmp_path}/nobody.sock"}
    fleet = make_fleet(start_server(settings, workers=1))
    agent = fleet.agent()
    assert refusal(agent) is None
    told = until(lambda: list(pauses(agent, 10)), what="a pause")
    assert refusals(fleet)["damped"] == len(told)


def test_a_full_worker_and_one_that_is_asked_too_fast_refuse_in_this_order(
    start_server: StartServer, make_fleet: MakeFleet
) -> None:
    """Rate before the token, the token before the places; plain requests go on, and who has a place keeps it."""
    settings = {"SIGNALBOX_MAX_SOCKETS": "2", "SIGNALBOX_UPGRADE_RATE": "30"}
    fleet = make_fleet(start_server(settings, workers=1))
    agents = fleet.agents(3)
    clients = [fleet.connect(agent) for agent in agents[:2]]
    fleet.until_connected(agents[:2])
    bad_token = f"sbx_node_{agents[2].node_id}_{'0' * 64}"

    for _ in range(12):  # who finds no place has not dialled too often
        full = refusal(agents[2])
        assert full is not None
        assert (full.status, full.headers["retry-after"]) == (503, "5")
        assert "as many sockets" in sentence(full)
    assert refusal(agents[2], bad_token).status == 401  # type: ignore[union-attr]
    assert agents[2].config().status_code == 200
    newer = fleet.connect(agents[0])
    assert clients[0].read_close().close_reason == "replaced"
    fleet.operator.deploy(fleet.pipeline_id)
    assert newer.read_message()["type"] == "config_changed"

    url = f"{fleet.server.url}/api/agent/ws"

    def dial_together(tokens: list[str]) -> list[WebSocketClient]:
        together = [WebSocketClient.dial(url) for _ in tokens]
        fleet.opened += together
        for client, token in zip(together, tokens, strict=True):
            client.send_bytes(upgrade_request(url, handshake_headers(url, token)))
        return together

    # Whoever is refused for another reason has taken one place of the rate, not one on each way.
    guesses = [f"sbx_node_{agents[2].node_id}_{number:064x}" for number in range(12)]
    assert {client.read_answer().status for client in dial_together(guesses)} == {401}

    # A herd, all of it on the wire before the first is answered: more than a second's worth.
    started = time.monotonic()
    herd = dial_together([bad_token] * 150)
    answers = [client.read_answer() for client in herd]
    seconds = time.monotonic() - started
    by_status = {status: [a for a in answers if a.status == status] for status in {a.status for a in answers}}
    assert set(by_status) <= {401, 503}
    assert len(by_status.get(401, [])) <= 30 + 30 * seconds + 1
    told = [int(answer.headers["retry-after"]) for answer in by_status[503]]
    assert min(told) >= 1
    assert max(told) <= 60
    assert {"than it takes a second" in sentence(answer) for answer in by_status[503]} == {True}
    if seconds < 2:  # else the machine was too slow to be a herd
        assert len(set(told)) > 1, "they are not told to come back together"
    assert fleet.operator.node(agents[0].node_id)["push"]["connected"] is True
    counted = refusals(fleet)
    assert counted["rate"] == len(told)
    assert counted["full"] == 12
    assert counted["token"] >= 1


def test_who_has_hung_up_before_the_answer_costs_neither_database_nor_claim(own_fleet: Fleet) -> None:
    """A herd that comes faster than it is served and gives up would else be served long after, and for nothing."""
    agents = own_fleet.agents(5)
    url = f"{own_fleet.server.url}/api/agent/ws"
    workers = own_fleet.server.worker_pids()
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        for agent in agents:
            client = WebSocketClient.dial(url)
            client.send_bytes(upgrade_request(url, handshake_headers(url, agent.token)))
            client.close()
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
    until(lambda: refusals(own_fleet).get("gone") == len(agents), what="all of them to be noticed")
    log = own_fleet.server.log.read_text()
    assert not [agent for agent in agents if f"channel opened node={agent.node_id}" in log]
    assert refusal(agents[0]) is None, "it can dial again"


def test_a_node_that_was_moved_or_revoked_while_its_socket_was_down_is_judged_anew(fleet: Fleet) -> None:
    """Token and environment are read from the database at each upgrade, in whichever worker it lands."""
    moved, revoked = fleet.agents(2)
    for agent in (moved, revoked) * 3:  # so that both workers have met them
        with agent.connect():
            fleet.until_connected([agent])
    elsewhere = fleet.operator.create_environment(f"elsewhere-{moved.node_id[-8:]}")
    there = fleet.operator.create_pipeline(elsewhere["id"], "there", "sources: {s: {type: demo_logs, format: json}}\n"
        "sinks: {o: {type: blackhole, inputs: [s]}}")  # fmt: skip
    fleet.operator.call("PATCH", f"/nodes/{moved.node_id}", {"environmentId": elsewhere["id"]})
    fleet.operator.call("POST", f"/nodes/{revoked.node_id}/revoke")
    for _ in range(4):
        answer = refusal(revoked)
        assert answer is not None
        assert answer.status == 401
    for _ in range(4):
        client = fleet.connect(moved)
        fleet.until_connected([moved])
        assert fleet.operator.deploy(fleet.pipeline_id)["pushed"] == 0
        assert fleet.operator.deploy(there["id"])["pushed"] == 1
        assert client.read_message()["pipelineId"] == there["id"]


def test_a_stream_without_requests_is_no_sign_of_life(
    start_server: StartServer, make_fleet: MakeFleet
) -> None:
    """Hazard 17: after two and a half heartbeat intervals the badge goes out under an open stream.

    Row, filter and list agree; one heartbeat brings it back. A WebSocket answers pings and needs none.
    """
    fleet = make_fleet(start_server({"SIGNALBOX_IDLE_HEARTBEAT_INTERVAL_MS": "1000"}))
    agent, beside = fleet.agents(2)
    stream = EventStream.connect(fleet.server.url, agent.token)
    fleet.opened.append(stream)
    fleet.connect(beside)
    fleet.until_connected([agent, beside])

    def connected() -> set[str]:
        rows = fleet.operator.nodes(environmentId=fleet.environment_id)
        found = {row["id"] for row in rows if row["push"]["connected"]}
        asked = fleet.operator.nodes(environmentId=fleet.environment_id, connected="true")
        assert {row["id"] for row in asked} in (found, {beside.node_id}, {beside.node_id, agent.node_id})
        return found

    until(lambda: connected() == {beside.node_id}, what="the silent stream's end as a sign of life")
    (row,) = fleet.operator.nodes(environmentId=fleet.environment_id, connected="false")
    assert row["id"] == agent.node_id
    assert fleet.operator.deploy(fleet.pipeline_id)["pushed"] == 2, "it is still told"
    assert "config_changed" in (stream.read_event()[0], stream.read_event()[0])
    assert agent.heartbeat().status_code == 200
    assert agent.node_id in connected()
    until(lambda: connected() == {beside.node_id}, what="silence again")
