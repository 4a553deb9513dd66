"""What the server owes to agents that we did not write: each sentence that describes them, played on the wire."""

import hashlib
import uuid
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest

from tests.conformance import go_json
from tests.conformance.agent_a import AgentA
from tests.conformance.agent_b import AgentB
from tests.conformance.conftest import YAML, StartGoAgent
from tests.conformance.go_agent import GoAgent, RefusedError
from tests.conftest import StartServer
from tests.support.api import Operator
from tests.support.server import Server
from tests.support.until import until

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
        place.operator.deploy(place.pipeline_id)
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


def test_numbers_have_no_point(
    kind: type[GoAgent], own_server: Server, own_operator: Operator, start_go: StartGoAgent
) -> None:
    """In no answer and no pushed message, at any depth; each kind of both is made to come.

    What is heard in the other tests of this folder is looked at as well, when their agents end.
    """
    place = Place.make(own_operator)
    place.operator.deploy(place.pipeline_id)
    agent = start_go(kind, own_server.url, place.token)
    connected(agent)
    place.wait_running(1)
    until(lambda: place.node["push"]["connected"])
    agent.holds_taps = True
    own_operator.call("PATCH", "/settings", {"pollIntervalMs": 7500})
    node, pipeline = f"/nodes/{place.node['id']}", f"/pipelines/{place.pipeline_id}"
    place.operator.call("POST", f"{pipeline}/samples", {"componentKeys": ["made"], "limit": 3})
    place.operator.call("POST", f"{pipeline}/taps", {"componentId": "made"})
    body = {
        "targetVersion": "9.9.9",
        "downloadUrl": "https://127.0.0.1:1/agent",
        "checksum": f"sha256:{0:064}",
    }
    place.operator.call("POST", f"{node}/actions", {"action": "self_update", **body})
    place.operator.deploy(place.pipeline_id)
    kinds = ("config_changed", "poll_interval", "sample_request", "action", "tap_start")
    until(lambda: all(agent.counts[f"pushed {each}"] for each in kinds), what=f"{kinds}: {agent.counts}")
    answer = agent.call("GET", "config")
    assert {"pollIntervalMs", "idlePollIntervalMs", "heartbeatIntervalMs"} <= answer.keys()
    assert answer["sampleRequests"][0]["limit"] == 3
    for path in ("samples", "logs", "tap-events"):
        with suppress(RefusedError):
            agent.call("POST", path, {"logs": []}.get(path, {}))
    assert not agent.points
    assert go_json.points(b'{"a": [{"b": 15000.0, "c": 1, "d": "1.5"}, 1e3]}', "this") != []


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
    polls = agent.counts["polls"]
    for again in (1, 2):
        place.operator.deploy(place.pipeline_id)
        until(lambda again=again: agent.counts["polls"] >= polls + again)
    assert agent.counts["failed update"] == 1
