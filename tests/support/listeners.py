"""Agents that only listen, and fetch when they are told to: who was told of a change, and what came of it."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.support.api import AgentByHand, Operator
from tests.support.many_nodes import enroll_many
from tests.support.server import Server
from tests.support.until import until
from tests.support.websocket_client import WebSocketClient

USUAL_MS, OTHER_MS = 3_600_000, 3_599_000


@dataclass
class Caused:
    """What one change has caused."""

    nudged: Counter[int] = field(default_factory=Counter)
    """By the listener's number, how many `config_changed` it has heard."""
    intervals: int = 0
    """How many `poll_interval` all of them have heard."""
    full: int = 0
    """Fetches that got another configuration (200)."""
    unchanged: int = 0
    """Fetches that got none (304), or the same."""


class Listeners:
    """Nodes of one environment, each with an open channel."""

    def __init__(self, server: Server, operator: Operator, environment_id: str, count: int) -> None:
        self.operator = operator
        self.agents = []
        for token in enroll_many(server.settings, environment_id, count):
            agent = AgentByHand(server.url, token)
            agent.node_id = token.split("_")[2]  # a token names its owner: sbx_node_<id>_<secret>
            self.agents.append(agent)
        self._revisions: list[str] = []
        self._etags: list[str] = []
        self._channels: list[WebSocketClient] = []

    @contextmanager
    def open(self) -> Iterator["Listeners"]:
        """With all of them connected, and doing what they should."""
        self._set_interval(USUAL_MS)
        for number, agent in enumerate(self.agents):
            self._revisions.append("")
            self._etags.append("")
            self._fetch(number)
            headers = {"X-Config-Revision": self._revisions[number], "X-Agent-Instance": f"listener-{number}"}
            self._channels.append(agent.connect(headers))
        try:
            until(
                lambda: len(self.operator.nodes(connected="true", limit="500")) == len(self.agents),
                what="the listeners' channels",
            )
            yield self
        finally:
            for channel in self._channels:
                channel.close()

    def caused_by(self, change: Callable[[], object]) -> Caused:
        """Make *change* and count. All have heard of it who ever will: something later reaches everybody."""
        caused = Caused()
        change()
        self._set_interval(OTHER_MS)
        self._set_interval(USUAL_MS)  # as it was, so that no ETag changes for it
        for number, channel in enumerate(self._channels):
            while True:
                message = channel.read_message()
                if message["type"] == "config_changed":
                    caused.nudged[number] += 1
                elif message["intervalMs"] == OTHER_MS:
                    break
                else:
                    caused.intervals += 1
            assert channel.read_message() == {"type": "poll_interval", "intervalMs": USUAL_MS}
        for number, times in caused.nudged.items():
            for _ in range(times):
                if self._fetch(number):
                    caused.full += 1
                else:
                    caused.unchanged += 1
        return caused

    def _fetch(self, number: int) -> bool:
        """As an agent does; whether there was something new to run."""
        agent = self.agents[number]
        answer = agent.config(self._etags[number] or None)
        before = self._revisions[number]
        if answer.status_code == 200:
            self._etags[number] = answer.headers["ETag"]
            self._revisions[number] = answer.json()["configRevision"]
        agent.heartbeat(configRevision=self._revisions[number])
        return self._revisions[number] != before

    def _set_interval(self, milliseconds: int) -> None:
        self.operator.call("PATCH", "/settings", {"pollIntervalMs": milliseconds})
