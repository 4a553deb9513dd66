"""A live tail with agent B: what is pushed to it, what comes back, and what whoever watches is shown of it."""

import json
import time

import pytest
import redis

from tests.conformance.agent_b import AgentB
from tests.conformance.go_agent import RefusedError
from tests.conformance.test_agents import Place, b, place
from tests.conformance.test_hold import unreadable
from tests.conformance.test_materials import pem, put
from tests.support.api import AgentByHand
from tests.support.live_tail import next_of, tail
from tests.support.server import Server
from tests.support.until import until
from tools.redis_server import RedisServer

__all__ = ["b", "place"]


def test_a_live_tail_starts_shows_events_and_stops(b: AgentB, place: Place) -> None:
    """`tap_start` is pushed, the events come to whoever watches, `tap_stop` ends it on the node."""
    b.tap_seconds = 0.2
    path = f"/pipelines/{place.pipeline_id}/taps"
    started = place.operator.call("POST", path, {"componentId": "made"})
    assert started["nodeId"] == place.node["id"]
    stream = tail(place.operator, started["requestId"])
    assert json.loads(next_of(stream, "event")["text"]) == {"message": "event 0"}
    assert json.loads(next_of(stream, "event")["text"]) == {"message": "event 1"}
    place.operator.call("DELETE", f"/taps/{started['requestId']}")
    assert next_of(stream, "stopped") == {"reason": "stopped"}
    stream.close()
    until(lambda: b.taps == 0)
    assert not b.problems, "its last word is taken as well"


def test_a_tail_that_nobody_watches_ends(
    b: AgentB, place: Place, redis_server: RedisServer, server: Server
) -> None:
    """After a minute; here it is said to be over already."""
    b.tap_seconds = 0.2
    started = place.operator.call("POST", f"/pipelines/{place.pipeline_id}/taps", {"componentId": "made"})
    until(lambda: b.taps == 1)
    with redis.Redis.from_url(redis_server.url) as client:
        client.zadd(
            f"{server.settings['SIGNALBOX_REDIS_PREFIX']}taps", {started["requestId"]: time.time() - 1}
        )
    until(lambda: b.taps == 0, what="the end of the tap on the node")
    stream = tail(place.operator, started["requestId"])
    assert "nobody watched" in next_of(stream, "stopped")["reason"]
    stream.close()


def test_secrets_are_masked_by_the_server(b: AgentB, place: Place) -> None:
    """In what comes and in the reason of the end; the node that sent it has never heard of masking."""
    b.tap_seconds = 60
    put(place, "hunter22", pem("upstream"))
    started = place.operator.call("POST", f"/pipelines/{place.pipeline_id}/taps", {"componentId": "made"})
    head = {"requestId": started["requestId"], "pipelineId": place.pipeline_id, "componentId": "made"}
    event = {"key hunter22": [{"auth": "Bearer hunter22"}], "inner": '{"a": "hunter22"}', "n": 1}
    assert b.call("POST", "tap-events", {**head, "events": [event, "hunter22"]}) == {"ok": True}
    b.call("POST", "tap-events", {**head, "status": "stopped", "reason": "cannot log in with hunter22"})
    stream = tail(place.operator, started["requestId"])
    assert json.loads(next_of(stream, "event")["text"]) == {
        "key ***": [{"auth": "Bearer ***"}],
        "inner": '{"a": "***"}',
        "n": 1,
    }
    assert next_of(stream, "event")["text"] == '"***"'
    assert next_of(stream, "stopped") == {"reason": "cannot log in with ***"}
    stream.close()


def test_a_tail_ends_where_a_secret_cannot_be_decrypted(b: AgentB, place: Place, server: Server) -> None:
    """Nobody could mask it: what comes then is not shown, whoever watches reads why, and the node is told to stop."""
    b.tap_seconds = 60
    put(place, "hunter22", pem("upstream"))
    started = place.operator.call("POST", f"/pipelines/{place.pipeline_id}/taps", {"componentId": "made"})
    until(lambda: b.taps == 1)
    head = {"requestId": started["requestId"], "pipelineId": place.pipeline_id, "componentId": "made"}
    b.call("POST", "tap-events", {**head, "events": ["before"]})
    with unreadable(server, place.environment_id):
        assert b.call("POST", "tap-events", {**head, "events": ["hunter22"]}) == {"ok": True}
        until(lambda: b.taps == 0, what="tap_stop")
    stream = tail(place.operator, started["requestId"])
    assert stream.read_event(20) == ("event", {"text": '"before"'})
    name, data = stream.read_event(20)
    assert name == "stopped", "and nothing of what came meanwhile"
    assert 'mask the secret "api-key"' in data["reason"]
    stream.close()


def test_events_that_nobody_asked_for_are_refused(b: AgentB, place: Place, server: Server) -> None:
    """403 for an unknown tap, another node's, or another component than was asked for."""
    b.tap_seconds = 60
    started = place.operator.call("POST", f"/pipelines/{place.pipeline_id}/taps", {"componentId": "made"})
    head = {"requestId": started["requestId"], "pipelineId": place.pipeline_id, "componentId": "made"}
    assert b.call("POST", "tap-events", {**head, "events": [{"a": "b" * 100_000}] * 100}) == {"ok": True}
    for wrong in ({"requestId": "nobody"}, {"componentId": "gone"}, {"pipelineId": "nobody"}):
        with pytest.raises(RefusedError, match="not asked") as error:
            b.call("POST", "tap-events", {**head, **wrong, "events": []})
        assert error.value.status == 403
    other = AgentByHand(server.url)
    other.enroll(place.token)
    assert other.post("tap-events", {**head, "events": [1]}).status_code == 403
    place.operator.call("DELETE", f"/taps/{started['requestId']}")


def test_what_cannot_be_tapped_is_refused_with_its_reason(b: AgentB, place: Place) -> None:
    """A sink, an unknown component, a pipeline that runs nowhere, and a tail that is not there."""
    path = f"/pipelines/{place.pipeline_id}/taps"
    assert place.operator.request("POST", path, {"componentId": "gone"}).status_code == 400
    assert place.operator.request("POST", path, {"componentId": "made", "nodeId": "x"}).status_code == 409
    assert place.operator.request("DELETE", "/taps/nothere").status_code == 404
    b.stop()
    until(lambda: place.operator.request("POST", path, {"componentId": "made"}).status_code == 409)
