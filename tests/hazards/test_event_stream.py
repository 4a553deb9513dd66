"""The push channel as server-sent events: the same hub, the same presence, the same goodbyes."""

import signal

import pytest

from tests.hazards.conftest import Fleet
from tests.support.api import AgentByHand
from tests.support.event_stream import EventStream, EventStreamError
from tests.support.until import until


def open_stream(fleet: Fleet, agent: AgentByHand, *, up_to_date: bool = True) -> EventStream:
    revision = agent.config().json()["configRevision"] if up_to_date else None
    stream = EventStream.connect(fleet.operator.url, agent.token, revision)
    fleet.opened.append(stream)
    return stream


def test_a_deploy_arrives_as_an_event(fleet: Fleet) -> None:
    """`: connected` first, then one space after each colon; the badge says sse."""
    agent = fleet.agent()
    stream = open_stream(fleet, agent)
    assert "Content-Type: text/event-stream" in stream.head
    assert "Cache-Control: no-cache, no-transform" in stream.head
    assert "X-Accel-Buffering: no" in stream.head
    assert stream.read_block() == ": connected"
    fleet.until_connected([agent])
    assert fleet.operator.node(agent.node_id)["push"]["transport"] == "sse"
    assert fleet.operator.deploy(fleet.pipeline_id)["pushed"] == 1
    assert stream.read_event() == (
        "config_changed",
        {"type": "config_changed", "pipelineId": fleet.pipeline_id, "reason": "deploy"},
    )


def test_who_is_behind_is_told_when_it_connects(fleet: Fleet) -> None:
    """Without X-Config-Revision the first event is config_changed with the reason connected."""
    stream = open_stream(fleet, fleet.agent(), up_to_date=False)
    assert stream.read_event()[1]["reason"] == "connected"


def test_comments_keep_the_stream_open(fleet: Fleet) -> None:
    """Past every limit of a plain request a comment comes, and the stream lives on."""
    agent = fleet.agent()
    stream = open_stream(fleet, agent)
    assert stream.read_block() == ": connected"
    for _ in range(2):
        assert stream.read_block() == ": keepalive"
    fleet.operator.deploy(fleet.pipeline_id)
    assert stream.read_event()[0] == "config_changed"


def test_a_node_has_one_live_channel_whichever_form(fleet: Fleet) -> None:
    """A WebSocket replaces the stream, and a stream the WebSocket."""
    agent = fleet.agent()
    stream = open_stream(fleet, agent)
    fleet.until_connected([agent])
    client = fleet.connect(agent)
    assert stream.read_event() == ("close", {"type": "close", "code": 1000, "reason": "replaced"})
    with pytest.raises(EventStreamError):
        stream.read_event()
    until(lambda: fleet.operator.node(agent.node_id)["push"]["transport"] == "ws", what="the WebSocket")
    open_stream(fleet, agent)
    assert client.read_close().close_reason == "replaced"
    until(lambda: fleet.operator.node(agent.node_id)["push"]["transport"] == "sse", what="the stream")


def test_a_revoked_node_loses_its_stream_and_gets_no_other(fleet: Fleet) -> None:
    """The last event says why; afterwards 401."""
    agent = fleet.agent()
    stream = open_stream(fleet, agent)
    fleet.until_connected([agent])
    fleet.operator.call("POST", f"/nodes/{agent.node_id}/revoke")
    assert stream.read_event() == ("close", {"type": "close", "code": 1008, "reason": "revoked"})
    with pytest.raises(EventStreamError) as refused:
        EventStream.connect(fleet.operator.url, agent.token)
    assert refused.value.status == 401


def test_a_server_that_stops_says_so(own_fleet: Fleet) -> None:
    """1001 on every stream, as on every WebSocket."""
    agents = own_fleet.agents(10)
    streams = [open_stream(own_fleet, agent) for agent in agents]
    own_fleet.until_connected(agents)
    own_fleet.server.process.send_signal(signal.SIGTERM)
    assert {stream.read_event()[1]["code"] for stream in streams} == {1001}
    assert own_fleet.server.process.wait(30) == 0


def test_a_head_request_opens_nothing(fleet: Fleet) -> None:
    """Flask answers HEAD wherever it answers GET; here that must not take a node over."""
    agent = fleet.agent()
    client = fleet.connect(agent)
    fleet.until_connected([agent])
    answer = agent.session.head(f"{fleet.operator.url}/api/agent/push", timeout=10)
    assert answer.status_code == 400
    with pytest.raises(TimeoutError):
        client.read_message(seconds=1)
