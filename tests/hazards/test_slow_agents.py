"""Decision 6: nobody waits for a slow agent, and a slow agent costs little."""

import re
import time

import pytest
import requests

from app.push import messages
from app.push.channels import Channels
from app.push.messages import Nudge
from app.push.publisher import Publisher
from app.push.redis_gate import RedisGate
from tests.conftest import StartServer
from tests.hazards.conftest import Fleet, MakeFleet
from tests.support.swarm import Swarm, enroll
from tests.support.until import PATIENCE_SECONDS, until
from tests.support.websocket_client import WebSocketClient, WebSocketClientError

READERS = 200
DEPLOYS = 8
KIB = 1024


@pytest.fixture
def fleet(start_server: StartServer, make_fleet: MakeFleet) -> Fleet:
    """One worker, so that slow and quick agents share it; never a sweep."""
    return make_fleet(start_server({"SIGNALBOX_SWEEP_INTERVAL": "3600"}, workers=1))


def counted(fleet: Fleet, metric: str) -> float:
    """A metric's value; 0 where it has none yet."""
    text = requests.get(f"{fleet.server.url}/metrics", timeout=10).text
    found = re.search(rf"^{re.escape(metric)} (\S+)$", text, re.M)
    return float(found[1]) if found else 0.0


def test_nobody_waits_for_a_slow_agent(fleet: Fleet) -> None:
    """A burst of deploys reaches the others whole while the slow one's outbox stands; it hears of them as of one.

    Past the bound of its outbox, or of time, an agent that goes on not reading is let go.
    """
    settings = fleet.server.settings
    revision = fleet.agent().config().json()["configRevision"]
    nodes = enroll(settings, fleet.environment_id, READERS + 3)
    readers, slow_ones = nodes[:READERS], nodes[READERS:]
    gate = RedisGate(settings["SIGNALBOX_REDIS_URL"])
    publisher = Publisher(gate, Channels(settings["SIGNALBOX_REDIS_PREFIX"]))

    def send_big(node_id: str, kib: int) -> None:
        """Frames that nothing replaces, as one of sample requests would be."""
        fields = {"type": "sample_request", "requestId": "r", "pipelineId": "p", "limit": 1}
        big = messages.make({**fields, "componentKeys": ["k" * 8 * KIB]})
        for _ in range(kib // 8):
            assert publisher.publish([node_id], Nudge(big, None)) == 1

    with Swarm([fleet.server.url], readers, revision) as swarm:
        until(lambda: swarm.connected() == READERS, seconds=30, what="the quick agents' channels")
        clients = []
        for _, token in slow_ones:
            url = f"{fleet.server.url}/api/agent/ws"
            headers = {"X-Config-Revision": revision}
            clients.append(WebSocketClient.connect(url, token, headers=headers, receive_buffer=4 * KIB))
            fleet.opened.append(clients[-1])
        until(
            lambda: all(fleet.operator.node(node_id)["push"]["connected"] for node_id, _ in slow_ones),
            what="the slow agents' channels",
        )
        resumes, stays, greedy = (node_id for node_id, _ in slow_ones)
        # More than the kernel keeps for one (its send buffer and the client's), less than that and the outbox.
        send_big(resumes, 96)
        send_big(stays, 96)
        before = counted(fleet, "signalbox_nudges_coalesced_total")
        for _ in range(DEPLOYS):
            began = time.monotonic()
            fleet.operator.deploy(fleet.pipeline_id)
            until(lambda began=began: swarm.heard_since(began) == READERS, what="the deploy's reaching all")
        assert not any(member.closes for member in swarm.members)
        assert counted(fleet, "signalbox_nudges_coalesced_total") - before >= 2 * (DEPLOYS - 1)

        heard = read_all(clients[0])
        assert heard.count("sample_request") == 12
        assert heard.count("config_changed") == 1
        assert heard[-1] == "config_changed"

        send_big(greedy, 96)
        full = 'signalbox_push_closes_total{reason="outbox full"}'
        assert counted(fleet, full) == 0
        try:
            send_big(greedy, 96)
        except AssertionError:
            pass  # nobody took the rest: its channel is gone
        until(lambda: counted(fleet, full) == 1, what="the end of the greedy one's channel")
        until(
            lambda: fleet.operator.node(stays)["push"]["connected"] is False,
            seconds=40,
            what="the end of the one that never reads",
        )
        assert fleet.operator.node(resumes)["push"]["connected"] is True
        assert not any(member.closes for member in swarm.members)
    gate.client.close()


def read_all(client: WebSocketClient) -> list[str]:
    """The types of all messages: up to a nudge, after which none comes for a moment."""
    types: list[str] = []
    try:
        while True:
            patience = 3.0 if "config_changed" in types else PATIENCE_SECONDS
            types.append(client.read_message(seconds=patience)["type"])
    except TimeoutError:
        return types
    except WebSocketClientError as error:
        raise AssertionError(f"ended after {types}") from error
