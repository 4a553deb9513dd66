"""Hazard 20: sockets spread over what is there, from the first dial on and when a machine joins."""

import time
from collections import Counter

import pytest
import redis

from app.push.balance import LEAST_EXCESS, TOLERATED
from app.push.presence import BUCKETS
from tests.conftest import StartServer
from tests.hazards.conftest import Fleet, MakeFleet
from tests.support.swarm import Swarm, enroll
from tests.support.until import until

MANY = 300


def sockets_by_worker(fleet: Fleet) -> Counter[str]:
    """How many entries of the registry name each worker."""
    settings = fleet.server.settings
    prefix = settings["SIGNALBOX_REDIS_PREFIX"]
    with redis.Redis.from_url(settings["SIGNALBOX_REDIS_URL"], decode_responses=True) as client:
        pipeline = client.pipeline(transaction=False)
        for number in range(BUCKETS):
            pipeline.hvals(f"{prefix}presence:{number:02x}")
        return Counter(entry.split(" ")[5] for entries in pipeline.execute() for entry in entries)


@pytest.mark.long
def test_a_machine_that_joins_gets_its_part(start_server: StartServer, make_fleet: MakeFleet) -> None:
    """The dials spread evenly over two workers; a second machine joins, and sheds its way to 120 % of the average.

    Meanwhile every node is told of a deploy, no node is closed twice, and none is away for long.
    """
    fleet = make_fleet(start_server({"SIGNALBOX_SWEEP_INTERVAL": "3600"}))
    revision = fleet.agent().config().json()["configRevision"]
    nodes = enroll(fleet.server.settings, fleet.environment_id, MANY)
    with Swarm([fleet.server.url], nodes, revision) as swarm:
        until(lambda: swarm.connected() == MANY, seconds=60, what="all channels")
        first = sockets_by_worker(fleet)
        assert len(first) == 2
        assert max(first.values()) <= MANY / 2 * TOLERATED, first
        assert not any(member.closes for member in swarm.members), "nobody is shed while all are coming"
        other = start_server(fleet.server.settings, workers=1)
        swarm.urls.append(other.url)
        bound = max(MANY / 3 * TOLERATED, MANY / 3 + LEAST_EXCESS)
        deployed = 0.0

        def is_balanced() -> bool:
            nonlocal deployed
            if not deployed and any(member.closes for member in swarm.members):
                deployed = time.monotonic()
                fleet.operator.deploy(fleet.pipeline_id)
            held = sockets_by_worker(fleet)
            return swarm.connected() == MANY and max(held.values()) <= bound

        until(is_balanced, seconds=90, every=0.25, what=f"no worker with more than {bound}")
        until(lambda: swarm.heard_since(deployed) == MANY, what="the deploy's reaching all")
        closes = [member.closes for member in swarm.members if member.closes]
        assert {tuple(ends) for ends in closes} == {((1001, "too many"),)}
        assert len(sockets_by_worker(fleet)) == 3
        assert max(member.longest_gap for member in swarm.members) < 30
