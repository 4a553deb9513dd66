"""What the server owes to agents that we did not write: each sentence that describes them, played on the wire."""

import hashlib
import json
import socket
import time
import uuid
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

from tests.conformance.agent_a import AgentA
from tests.conformance.agent_b import AgentB
from tests.conformance.conftest import YAML, StartGoAgent
from tests.conformance.go_agent import GoAgent, RefusedError
from tests.conftest import StartServer
from tests.support.api import AgentByHand, Operator
from tests.support.event_stream import EventStream
from tests.support.server import Server
from tests.support.until import until
from tools.redis_server import RedisServer

KEEPALIVE_SECONDS = 30.0


@dataclass
class Place:
    """An environment of its own with one pipeline, and what is needed to look at its only node."""

    operator: Operator
    environment_id: str
    pipeline_id: str
    token: str

    @classmethod
    def make(cls, operator: Operator) -> "Place":
        environment = operator.create_environment(f"conformance-{uuid.uuid4().hex[:8]}")["id"]
        pipeline = operator.create_pipeline(environment, "access-log", YAML)["id"]
        return cls(operator, environment, pipeline, operator.enrollment_token(environment))

    @property
    def node(self) -> Any:
        (node,) = self.operator.nodes(environmentId=self.environment_id)
        return node

    def change(self, **fields: object) -> None:
        self.operator.call("PATCH", f"/nodes/{self.node['id']}", fields)

    def edit(self, text: str) -> None:
        self.operator.call("PUT", f"/pipelines/{self.pipeline_id}", {"configYaml": text})

    def wait_running(self, version: int) -> None:
        """Until the fleet row says that the pipeline runs in this version, and nothing is missing."""

        def runs() -> bool:
            node = self.node
            return not node["behind"] and [
                (each["version"], each["status"]) for each in node["pipelines"]
            ] == [(version, "RUNNING")]

        until(runs, what=f"version {version} on the fleet page")


@pytest.fixture
def place(operator: Operator) -> Place:
    return Place.make(operator)


def connected(agent: GoAgent) -> None:
    until(lambda: agent.is_connected, what=f"{agent.name}'s channel: {agent.problems}")


@pytest.fixture
def agent(kind: type[GoAgent], server: Server, place: Place, start_go: StartGoAgent) -> GoAgent:
    """Agent A or B: enrolled, connected, and with version 1 running."""
    place.operator.deploy(place.pipeline_id)
    agent = start_go(kind, server.url, place.token)
    connected(agent)
    place.wait_running(1)
    return agent


def test_from_enrolling_to_the_row_on_the_fleet_page(
    agent: GoAgent, place: Place, kind: type[GoAgent]
) -> None:
    """Enroll, configuration, channel, heartbeat; every answer is a 200 that a Go program can read."""
    until(lambda: place.node["push"]["connected"])
    node = place.node
    assert (node["name"], node["status"]) == (agent.name, "HEALTHY")
    assert node["push"]["transport"] == {AgentA: "ws", AgentB: "sse"}[kind]
    assert node["vectorVersion"] == agent.vector_version, "the whole line"
    assert node["deploymentMode"] == "STANDALONE"
    assert node["agentLabels"] == ({"os": "linux", "arch": "amd64"} if kind is AgentB else {})
    assert (agent.folder / "node-token").read_text() == agent.token
    assert not agent.problems


def test_a_nudge_brings_the_next_version_long_before_the_poll(agent: GoAgent, place: Place) -> None:
    """The pushed message leads to a fetch; another checksum restarts the pipeline."""
    polls = agent.counts["polls"]
    place.edit(YAML.replace("json", "syslog"))
    place.operator.deploy(place.pipeline_id)
    place.wait_running(2)
    running = agent.pipelines[place.pipeline_id]
    assert (running.starts, running.version) == (2, 2)
    assert "syslog" in (agent.folder / "pipelines" / f"{place.pipeline_id}.yaml").read_text()
    assert agent.counts["polls"] > polls
    assert "deploy" in [message.get("reason") for message in agent.messages]


def test_a_version_with_the_same_content_restarts_nothing(agent: GoAgent, place: Place) -> None:
    """The checksum decides: only the reported version changes."""
    place.operator.deploy(place.pipeline_id, "nothing new")
    place.wait_running(2)
    assert agent.pipelines[place.pipeline_id].starts == 1


def test_a_rollback_and_an_undeploy_are_pushed(agent: GoAgent, place: Place) -> None:
    """What is no longer listed is stopped, and its file deleted."""
    place.operator.roll_back(place.pipeline_id, 1)
    place.wait_running(2)
    place.operator.undeploy(place.pipeline_id)
    until(lambda: not agent.pipelines and not place.node["pipelines"] and not place.node["behind"])
    assert not list((agent.folder / "pipelines").iterdir())
    assert {message.get("reason") for message in agent.messages} >= {"rollback", "undeploy"}


def test_maintenance_stops_everything_and_its_end_starts_it_again(agent: GoAgent, place: Place) -> None:
    """In maintenance the list is empty and all else as usual, so the channel stays."""
    connects = agent.counts["connects"]
    place.change(maintenanceMode=True)
    until(lambda: not agent.pipelines and not place.node["behind"])
    answer = agent.call("GET", "config")
    assert answer["pipelines"] == []
    assert answer["websocketUrl"].startswith("ws://")
    assert answer["pushUrl"].endswith("/api/agent/push")
    place.change(maintenanceMode=False)
    place.wait_running(1)
    assert (agent.counts["connects"], agent.counts["drops"]) == (connects, 0)


def test_an_agent_that_starts_in_maintenance_has_its_channel(
    kind: type[GoAgent], server: Server, place: Place, agent: GoAgent
) -> None:
    """A reads the address from its very first answer only; this one comes without pipelines."""
    place.operator.deploy(place.pipeline_id)
    place.change(maintenanceMode=True)
    until(lambda: not agent.pipelines)
    agent.stop()
    agent.start()
    connected(agent)
    assert agent.counts["enrolled"] == 1, "it has a token"
    place.change(maintenanceMode=False)
    until(lambda: agent.pipelines, what="the nudge at the end of maintenance")


def test_a_changed_poll_interval_is_pushed(
    kind: type[GoAgent], own_server: Server, own_operator: Operator, start_go: StartGoAgent
) -> None:
    """A's timer knows no other way; B reads it from each answer as well."""
    agent = start_go(kind, own_server.url, Place.make(own_operator).token)
    connected(agent)
    own_operator.call("PATCH", "/settings", {"pollIntervalMs": 1000})
    until(lambda: agent.poll_seconds == 1.0)
    polls = agent.counts["polls"]
    until(lambda: agent.counts["polls"] >= polls + 2, what="polls every second")
    agent.stop()
    agent.poll_seconds = 15.0
    agent.start()
    until(lambda: agent.poll_seconds == 1.0, what="the interval that was set before it came")


def test_a_revoked_agent_is_refused_and_no_longer_shown_as_connected(agent: GoAgent, place: Place) -> None:
    """Its channel is closed, the next dial gets 401 before any upgrade, and it does not enroll again."""
    place.operator.call("POST", f"/nodes/{place.node['id']}/revoke")
    until(lambda: not agent.is_connected and any("401" in problem for problem in agent.problems))
    until(lambda: place.node["push"]["connected"] is False, what="the badge's end")
    assert (agent.counts["connects"], agent.counts["enrolled"]) == (1, 1)
    assert agent.pipelines, "what runs goes on"
    if isinstance(agent, AgentA):
        assert agent.last_close == (1008, "revoked")


def test_a_restart_of_the_server_is_survived(
    kind: type[GoAgent], own_server: Server, own_operator: Operator, start_go: StartGoAgent
) -> None:
    """It is told to come back, keeps its pipelines meanwhile, and is nudged as before."""
    place = Place.make(own_operator)
    place.operator.deploy(place.pipeline_id)
    agent = start_go(kind, own_server.url, place.token)
    connected(agent)
    place.wait_running(1)
    assert own_server.stop() == 0
    until(lambda: not agent.is_connected)
    assert agent.counts["connects"] == 1, "nobody accepts who then closes"
    own_server.start()
    until(lambda: agent.is_connected, seconds=40)
    assert agent.pipelines[place.pipeline_id].starts == 1
    place.operator.session.close()
    place.edit(YAML.replace("json", "syslog"))
    place.operator.deploy(place.pipeline_id)
    place.wait_running(2)
    assert agent.counts["enrolled"] == 1
    if isinstance(agent, AgentA):
        assert agent.last_close == (1001, "going away")


def test_a_burst_of_deploys_ends_with_the_last_one(agent: GoAgent, place: Place) -> None:
    """Its queue holds sixteen messages and drops the rest: none of them carries anything."""
    for number in range(40):
        place.edit(YAML.replace("json", f"json\n    interval: {number + 1}"))
        place.operator.deploy(place.pipeline_id)
    place.wait_running(41)
    assert agent.pipelines[place.pipeline_id].version == 41


def test_odd_heartbeats_are_taken_as_they_are(agent: GoAgent, place: Place) -> None:
    """Never refused: an error text of any length, an unknown status, a crash, results that nobody asked for."""
    agent.call("GET", "config")
    agent.update_error = "checksum mismatch " * 20_000
    agent.sample_results = [
        {"requestId": "nobody", "componentKey": "made", "events": [{"a": "b" * 10_000}] * 20}
    ] * 3
    for status in ("CRASH_LOOP", "SOMETHING_NEW", "CRASHED"):
        agent.pipelines[place.pipeline_id].status = status
        place.operator.call("PATCH", f"/nodes/{place.node['id']}", {"labels": {"status": status.lower()}})
        until(lambda status=status: place.node["pipelines"][0]["status"] == status)
    assert agent.update_error == "", "it is repeated until a heartbeat gets 200"
    assert not agent.sample_results
    assert not agent.problems


def test_a_counter_that_falls_back_to_zero_is_a_new_beginning(agent: GoAgent, place: Place) -> None:
    """Counters are cumulative in a process; a rate is never negative."""
    body = agent.heartbeat_body()
    for events in (5_000_000_000, 3):
        body["pipelines"][0]["eventsIn"] = events
        assert agent.call("POST", "heartbeat", body) == {"ok": True}
    assert place.node["pipelines"][0]["status"] == "RUNNING"


@pytest.mark.parametrize("kind", [AgentA], ids=["A"], indirect=True)
def test_two_agents_with_one_token_are_damped(
    server: Server, place: Place, start_go: StartGoAgent, agent: GoAgent
) -> None:
    """A redials without a pause whenever its channel ends: the newcomer is refused at the upgrade, with 503.

    B waits a second before it comes back.
    """
    twin = start_go(AgentA, server.url)
    twin.stop()
    (twin.folder / "node-token").write_text(agent.token)
    twin.start()
    until(lambda: "503" in "".join(twin.problems + agent.problems))
    connects = agent.counts["connects"] + twin.counts["connects"]
    assert connects <= 10, "a tight loop"
    assert place.node["push"]["duel"]


def test_the_keepalive_is_one_that_the_agent_counts(agent: GoAgent) -> None:
    """A's deadline is renewed by a pong, not by a ping; B wants no more than a comment."""
    # B has had its first comment with the head.
    seen, least = ("pongs", 1) if isinstance(agent, AgentA) else ("comments", 2)
    until(lambda: agent.counts[seen] >= least, seconds=5 * KEEPALIVE_SECONDS, what=f"{seen}: {agent.counts}")
    assert agent.counts["drops"] == 0


def test_b_takes_no_address_of_another_origin(start_server: StartServer, start_go: StartGoAgent) -> None:
    """`pushUrl` counts only with the scheme, host and port of its own VF_URL; else it derives one."""
    server = start_server({"SIGNALBOX_PUBLIC_URL": "http://signalbox.invalid"}, workers=1)
    place = Place.make(Operator(server.url, server.create_api_token()))
    agent = start_go(AgentB, server.url, place.token)
    assert isinstance(agent, AgentB)
    connected(agent)
    assert agent.push_url == f"{server.url}/api/agent/push"


def test_numbers_have_no_point(agent: GoAgent) -> None:
    """One `15000.0` and A throws the whole answer away."""
    answer = agent.call("GET", "config")
    for name, value in answer.items():
        assert not isinstance(value, float), name


def test_an_agent_that_was_enrolled_elsewhere_is_adopted(
    kind: type[GoAgent], server: Server, place: Place, start_go: StartGoAgent
) -> None:
    """It presents its old token for ever and enrolls with no other; adopted, it is a node as any."""
    place.operator.deploy(place.pipeline_id)
    agent = start_go(kind, server.url, poll_seconds=0.5)
    agent.stop()
    agent.enrollment_token = place.token
    token = f"vf_node_{uuid.uuid4().hex}{uuid.uuid4().hex}"
    (agent.folder / "node-token").write_text(token)
    agent.start()
    until(lambda: agent.counts["failed poll"] >= 1)
    fingerprint = hashlib.sha256(token.encode()).hexdigest()[:16]
    listed = until(
        lambda: [
            each
            for each in place.operator.call("GET", "/refused-tokens")["items"]
            if each["fingerprint"] == fingerprint
        ]
    )
    assert listed[0]["address"] == "127.0.0.1"
    body = {"environmentId": place.environment_id, "name": agent.name}
    place.operator.call("POST", f"/refused-tokens/{fingerprint}/adopt", body)
    place.wait_running(1)
    assert agent.counts["enrolled"] == 0
    agent.stop()
    agent.start()  # A, which was refused when it started, has no push until then
    connected(agent)
    until(lambda: place.node["push"]["connected"])


# agent B's own


@pytest.fixture
def b(server: Server, place: Place, start_go: StartGoAgent) -> AgentB:
    """Agent B, connected, with version 1 running."""
    place.operator.deploy(place.pipeline_id)
    agent = start_go(AgentB, server.url, place.token)
    assert isinstance(agent, AgentB)
    connected(agent)
    place.wait_running(1)
    until(lambda: place.node["push"]["connected"])
    return agent


def test_its_log_lines_are_there_within_seconds(b: AgentB, place: Place, server: Server) -> None:
    """A bare list every two seconds; what could not be sent is sent again."""
    b.say(place.pipeline_id, *(f"line {number}" for number in range(1000)))
    until(lambda: b.counts["logs sent"] == 1)
    # The last two hundred of each pipeline are kept.
    assert b.call("POST", "logs", [{"pipelineId": "nobody", "lines": ["x"]}]) == {"ok": True}
    assert not b.problems


def tail(place: Place, request_id: str) -> EventStream:
    """The operator's end of a live tail."""
    url = urlsplit(place.operator.url)
    dialled = socket.create_connection((url.hostname, url.port), timeout=10)
    token = str(place.operator.session.headers["Authorization"])
    dialled.sendall(
        f"GET /api/v1/taps/{request_id}/events HTTP/1.1\r\nHost: {url.netloc}\r\nAuthorization: {token}\r\n"
        "Connection: close\r\n\r\n".encode()
    )
    stream = EventStream(dialled, chunks=None)
    stream.head = stream._until(b"\r\n\r\n", 10).decode()
    assert " 200 " in stream.head, stream.head
    if "chunked" in stream.head.lower():
        stream.chunks, stream.buffer = stream.buffer, b""
        stream._unpack()
    return stream


def next_of(stream: EventStream, kind: str) -> Any:
    """The data of the next event of this kind."""
    while True:
        name, data = stream.read_event(20)
        if name == kind:
            return data


def test_a_live_tail_starts_shows_events_and_stops(b: AgentB, place: Place) -> None:
    """`tap_start` is pushed, the events come to whoever watches, `tap_stop` ends it on the node."""
    b.tap_seconds = 0.2
    path = f"/pipelines/{place.pipeline_id}/taps"
    started = place.operator.call("POST", path, {"componentId": "made"})
    assert started["nodeId"] == place.node["id"]
    stream = tail(place, started["requestId"])
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
    stream = tail(place, started["requestId"])
    assert "nobody watched" in next_of(stream, "stopped")["reason"]
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


# actions


def test_a_restart_is_what_each_agent_makes_of_it(agent: GoAgent, place: Place) -> None:
    """A polls again; B restarts the pipeline that is named."""
    polls, starts = agent.counts["polls"], agent.pipelines[place.pipeline_id].starts
    until(lambda: place.node["push"]["connected"])
    body = {"action": "restart", "pipelineId": place.pipeline_id}
    place.operator.call("POST", f"/nodes/{place.node['id']}/actions", body)
    if isinstance(agent, AgentB):
        until(lambda: agent.pipelines[place.pipeline_id].starts == starts + 1)
    else:
        until(lambda: agent.counts["polls"] > polls)
    assert not agent.problems


def test_an_update_that_fails_is_tried_once(agent: GoAgent, place: Place) -> None:
    """Its error comes with heartbeats until one is taken; the version is never fetched again."""
    until(lambda: place.node["push"]["connected"])
    body = {
        "action": "self_update",
        "targetVersion": "9.9.9",
        "downloadUrl": "https://127.0.0.1:1/agent",
        "checksum": f"sha256:{'0' * 64}",
    }
    place.operator.call("POST", f"/nodes/{place.node['id']}/actions", body)
    until(lambda: agent.failed_update == "9.9.9" and not agent.update_error)
    for _ in range(2):
        place.change(labels={"again": uuid.uuid4().hex[:8]})
    until(lambda: agent.counts["heartbeats"] >= 3)
    assert agent.counts["failed update"] == 1
