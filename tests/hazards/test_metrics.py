"""`/metrics` is the same whichever worker is asked, and holds nothing of workers that have died."""

import pytest

from tests.hazards.conftest import Fleet
from tests.support.event_stream import EventStream, EventStreamError
from tests.support.until import until


def test_metrics_cover_all_workers_and_forget_the_dead(own_fleet: Fleet) -> None:
    """Eight sockets over two workers, a deploy, a killed worker."""
    agents = own_fleet.agents(8)
    for agent in agents:
        own_fleet.connect(agent)
    own_fleet.until_connected(agents)
    until(lambda: own_fleet.metrics().get('signalbox_sockets{transport="ws"}') == 8, what="all in the gauge")
    own_fleet.operator.deploy(own_fleet.pipeline_id)
    metrics = until(
        lambda: (found := own_fleet.metrics()).get("signalbox_nudge_seconds_count") == 8 and found,
        what="all nudges in the histogram",
    )
    assert metrics['signalbox_nudge_seconds_bucket{le="+Inf"}'] == 8
    assert metrics['signalbox_nudge_seconds_bucket{le="30.0"}'] == 8
    assert 0 < metrics["signalbox_nudge_seconds_sum"] < 8 * 30
    assert metrics["signalbox_nudges_published_total"] >= 8
    assert metrics["signalbox_nudges_written_total"] >= 8
    assert metrics["signalbox_deaf_nodes_total"] == 0
    assert metrics["signalbox_presence_age_seconds"] < 60  # one sample: the oldest of the two workers
    labels = [own_fleet.operator.node(agent.node_id)["push"]["worker"] for agent in agents]
    victim = int(labels[0].rpartition(":")[2])
    left = sum(not label.endswith(f":{victim}") for label in labels)
    own_fleet.server.kill_worker(victim)
    until(
        lambda: own_fleet.metrics().get('signalbox_sockets{transport="ws"}', 0) == left,
        what="a gauge without the dead worker's sockets",
        tolerate=(OSError,),
    )
    with pytest.raises(EventStreamError):
        EventStream.connect(own_fleet.operator.url, "sbx_node_nobody_0")
    metrics = own_fleet.metrics()
    assert metrics['signalbox_push_refusals_total{reason="token"}'] == 1
    assert metrics["signalbox_nudge_seconds_count"] == 8, "what was counted stays counted"
    assert not [name for name in metrics if "pid=" in name]
