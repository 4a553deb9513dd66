"""The gate before Redis: many callers at once are no outage."""

import threading
from concurrent.futures import ThreadPoolExecutor

from app.push.redis_gate import RedisGate
from tools.redis_server import RedisServer

CALLERS = 300


def test_a_burst_of_callers_waits_its_turn(redis_server: RedisServer) -> None:
    """Three hundred upgrades in one moment: each gets its answer, and none takes Redis for gone."""
    gate = RedisGate(redis_server.url)
    together = threading.Barrier(CALLERS)

    def call(number: int) -> object:
        together.wait(10)
        return gate.run(lambda client: client.blpop([f"no-such-list-{number}"], 0.1))

    with ThreadPoolExecutor(CALLERS) as pool:
        answers = list(pool.map(call, range(CALLERS)))

    assert answers == [None] * CALLERS
    assert gate.unsure_since is None


def test_who_asked_nothing_while_redis_was_away_learns_of_it_before_the_answer(
    own_redis: RedisServer,
) -> None:
    """It comes back empty: what is missing there says nothing yet, even to who has heard of no failure."""
    gate = RedisGate(own_redis.url)
    gate.run(lambda client: client.set("known", "yes"))
    assert gate.unsure_since is None
    own_redis.kill()
    own_redis.start()
    assert gate.run(lambda client: client.get("known")) is None
    assert gate.unsure_since is not None
