"""Lists of many nodes: the fleet page and the operator API's nodes, the first page and the last."""

from __future__ import annotations

import statistics
import time

import requests
from sqlalchemy import text

from app.fleet_filter import Order
from bench import ours
from bench.figures import figure
from bench.place import Place, say
from bench.results import Results
from bench.scale import Scale
from tests.support.signed_in import signed_in

NAME = "pages"
PAGE_SIZE = 50
TRIES = 9

FIGURES = {
    (which, place): figure(
        f"pages.{which}_{place}",
        f"{title}, {place} page",
        "ms",
        "less",
        f"one after the other, median; pages of {PAGE_SIZE}, so that of 10,000 nodes the last page is the 200th",
    )
    for which, title in (("fleet", "the fleet page"), ("api", "`GET /api/v1/nodes`"))
    for place in ("first", "last")
}


def measure(place: Place, scale: Scale, results: Results) -> None:
    """On PostgreSQL, through gunicorn, with a session and a token as anybody has them."""
    with ours.running(place) as server:
        server.enroll(scale.nodes)
        server.deploy(server.create_pipeline())
        server.follow()
        server.server.create_admin("bench@example.org", ours.PASSWORD)
        session = signed_in(server.server.url, "bench@example.org", ours.PASSWORD)
        end = cursor_before_last(server, scale.nodes)
        for number in range(scale.rounds):
            say(f"{NAME}: round {number + 1} of {scale.rounds}, {scale.nodes} nodes")
            for where, cursor in (("first", {}), ("last", {"cursor": end})):
                results.record(FIGURES["fleet", where], median_ms(session, f"{server.server.url}/", cursor))
                query = {"limit": str(PAGE_SIZE), **cursor}
                url = f"{server.server.url}/api/v1/nodes"
                results.record(FIGURES["api", where], median_ms(server.operator.session, url, query))
        session.close()


def cursor_before_last(server: ours.Ours, nodes: int) -> str:
    """The cursor behind which only the last page's nodes are."""
    query = text("SELECT name, id FROM node ORDER BY name, id LIMIT 1 OFFSET :skip")
    with server.engine() as connection:
        row = connection.execute(query, {"skip": max(0, nodes - PAGE_SIZE - 1)}).one()
    return Order().cursor([row.name, row.id])


def median_ms(session: requests.Session, url: str, query: dict[str, str]) -> float:
    """How long it takes, the median of nine."""
    taken = []
    for _ in range(TRIES):
        began = time.perf_counter()
        answer = session.get(url, params=query, timeout=60)
        taken.append((time.perf_counter() - began) * 1000)
        assert answer.status_code == 200, f"{url} answered {answer.status_code}: {answer.text[:200]}"
    return statistics.median(taken)
