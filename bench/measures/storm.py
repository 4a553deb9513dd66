"""A storm of deploys: twenty of one pipeline within a second, from as many connections."""

from __future__ import annotations

import threading
import time
from typing import Any

from bench import ours
from bench.figures import figure
from bench.load import Crowd
from bench.place import Place, say
from bench.results import Results
from bench.scale import Scale
from tests.support.api import Operator

NAME = "storm"
DEPLOYS = 20
STORM_SECONDS = 1.0
QUIET_SECONDS = 3.0
"""When nothing has come for so long after the last answer, nothing more will."""

ANSWERED = figure(
    "storm.answered",
    "deploys of a storm answered with 200",
    f"of {DEPLOYS}",
    "more",
    "the others: 409 or 503",
)
LAST = figure(
    "storm.last", "last nudge of a storm", "ms", "less",
    "from the first call until the last socket has read its last nudge"
)  # fmt: skip
NUDGES = figure(
    "storm.nudges", "nudges a socket read", "each", "less",
    "those that meet in one turn of a worker are written as one"
)  # fmt: skip
SUBSCRIBER = figure(
    "storm.subscriber_lost", "subscribers cut in a storm", "times", "less",
    "must be 0: Redis cuts one that cannot follow"
)  # fmt: skip


def measure(place: Place, scale: Scale, results: Results) -> None:
    """Once a round, on one server."""
    with ours.running(place) as server:
        server.enroll(scale.nodes)
        pipeline = server.create_pipeline()
        with Crowd(
            [server.websocket_url], server.tokens, headers={"X-Config-Revision": server.follow()}
        ) as crowd:
            crowd.reconnect(1)
            crowd.connect(rate=1500)
            ours.wait_until_held(server.held, scale.nodes)
            for number in range(scale.rounds):
                if not place.has_time:
                    return
                say(f"{NAME}: round {number + 1} of {scale.rounds}, {scale.nodes} sockets")
                _storm(server, pipeline, crowd, results)


def _storm(server: ours.Ours, pipeline: str, crowd: Crowd, results: Results) -> None:
    crowd.forget()
    answers: list[Any] = []
    began = time.monotonic_ns()

    def deploy(number: int) -> None:
        time.sleep(STORM_SECONDS * number / DEPLOYS)
        own = Operator(server.server.url, server.api_token)
        answers.append(own.request("POST", f"/pipelines/{pipeline}/deploy", {}))

    threads = [threading.Thread(target=deploy, args=(number,)) for number in range(DEPLOYS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    messages = -1
    while (state := crowd.state(QUIET_SECONDS)).messages != messages:
        messages = state.messages
    assert state.cut == 0, f"a storm of deploys has cost {state.cut} sockets: {state.goodbyes}"
    results.record(ANSWERED, sum(answer.status_code == 200 for answer in answers))
    results.record(LAST, (max(crowd.dump("last")) - began) / 1e6)
    results.record(NUDGES, state.messages / len(server.tokens))
    results.record(SUBSCRIBER, server.server.log.read_text().count("subscriber lost"))
    server.follow()
