"""A network that breaks WebSockets, between a real agent and a real server with two workers."""

from collections.abc import Iterator

import pytest

from tests.agent.breaking_proxy import BreakingProxy
from tests.conftest import StartAgent, StartServer
from tests.hazards.conftest import YAML
from tests.support.api import Operator
from tests.support.live_tail import next_of, tail
from tests.support.until import until

HOUR_MS = str(3600 * 1000)


@pytest.fixture
def proxy() -> Iterator[BreakingProxy]:
    """Broken, and without a server behind it yet."""
    proxy = BreakingProxy()
    yield proxy
    proxy.close()


def test_an_agent_behind_a_proxy_that_breaks_websockets_is_pushed_to_all_the_same(
    start_server: StartServer, start_agent: StartAgent, proxy: BreakingProxy
) -> None:
    """On the event stream within seconds, told of a deploy and asked for a live tail through it, and back once the
    proxy is mended.

    The poll interval is an hour: what the agent learns it learns by push.
    """
    server = start_server(
        {
            "SIGNALBOX_PUBLIC_URL": proxy.url,
            "SIGNALBOX_POLL_INTERVAL_MS": HOUR_MS,
            "SIGNALBOX_IDLE_POLL_INTERVAL_MS": HOUR_MS,
            "SIGNALBOX_SWEEP_INTERVAL": "3600",
            "SIGNALBOX_HEARTBEAT_INTERVAL_MS": "1000",
            "SIGNALBOX_IDLE_HEARTBEAT_INTERVAL_MS": "1000",
        }
    )
    proxy.target = server.url
    operator = Operator(server.url, server.create_api_token())
    environment = operator.create_environment("behind-a-proxy")
    agent = start_agent(
        proxy.url, operator.enrollment_token(environment["id"]), module="tests.agent.hasty_agent"
    )

    def is_pushed_to_by(transport: str) -> bool:
        push = operator.node(agent.node_id)["push"]
        return (push["connected"], push["transport"]) == (True, transport)

    def is_told_by_push() -> bool:
        """Deploy; whether the agent hears of it, which it does not in the moment of a change of forms."""
        nudges = agent.log.read_text().count("reason=deploy")
        operator.deploy(pipeline["id"])
        try:
            until(lambda: agent.log.read_text().count("reason=deploy") > nudges, seconds=5)
        except AssertionError:
            return False
        return True

    def runs_what_is_wanted() -> bool:
        (row,) = operator.node(agent.node_id)["pipelines"]
        return row["status"] == "RUNNING" and row["version"] == row["wantedVersion"]

    until(lambda: is_pushed_to_by("sse"), seconds=40, what="the event stream")
    assert proxy.upgrades >= 3
    assert "link state=open transport=sse" in agent.log.read_text()
    pipeline = operator.create_pipeline(environment["id"], "made", YAML)
    until(is_told_by_push, seconds=30, what="the nudge over the event stream")
    until(runs_what_is_wanted, seconds=30, what="the pipeline")

    # A live tail, too, starts and ends by what the event stream brings; its events go the other way.
    assert is_pushed_to_by("sse")
    tap = operator.call("POST", f"/pipelines/{pipeline['id']}/taps", {"componentId": "made"})["requestId"]
    watched = tail(operator, tap)
    assert "message" in next_of(watched, "event")["text"]
    assert len(agent.child_pids()) == 2
    assert is_pushed_to_by("sse")
    operator.call("DELETE", f"/taps/{tap}")
    assert next_of(watched, "stopped") == {"reason": "stopped"}
    watched.close()
    until(lambda: len(agent.child_pids()) == 1, what="no tap to be left")

    proxy.is_broken = False
    until(lambda: is_pushed_to_by("ws"), seconds=40, what="the WebSocket")
    until(is_told_by_push, seconds=30, what="the nudge over the WebSocket")
    until(runs_what_is_wanted, seconds=30, what="the newest version")
    # Its own change of forms is no duel (hazard 18).
    assert "replaced" not in agent.log.read_text()
