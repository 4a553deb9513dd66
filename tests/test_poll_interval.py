"""A changed poll interval, through two masters on one Redis and one database."""

from tests.conftest import StartServer
from tests.hazards.conftest import MakeFleet, make_fleet
from tests.support.api import AgentByHand

__all__ = ["make_fleet"]

UNSWEPT = {"SIGNALBOX_SWEEP_INTERVAL": "3600"}


def test_a_poll_interval_reaches_agents_of_both_masters_and_the_others_with_their_next_poll(
    start_server: StartServer, make_fleet: MakeFleet
) -> None:
    """Pushed to each channel wherever it is held; whoever has none finds that its ``ETag`` is no longer right."""
    first = start_server(UNSWEPT)
    second = start_server(first.settings)
    fleet = make_fleet(first)
    here, there, away = fleet.agents(3)
    there = AgentByHand(second.url, there.token)
    there.node_id = there.token.split("_")[2] if there.token else ""
    channels = [fleet.connect(agent) for agent in (here, there)]
    fleet.until_connected([here, there])
    before = away.config()
    assert away.config(before.headers["ETag"]).status_code == 304
    fleet.operator.call("PATCH", "/settings", {"pollIntervalMs": 7000})
    for channel in channels:
        assert channel.read_message() == {"type": "poll_interval", "intervalMs": 7000}
    for url in (first.url, second.url):
        answer = AgentByHand(url, away.token).config(before.headers["ETag"])
        assert (answer.status_code, answer.json()["pollIntervalMs"]) == (200, 7000)
        assert answer.json()["configRevision"] == before.json()["configRevision"]
