"""What the fleet page costs the server: `python -m bench.fleet_page [nodes…]` (10, 1,000 and 10,000 by default).

On SQLite and PostgreSQL, with a real Redis in which nine nodes of ten are connected: milliseconds for the first page
of 50, for the last one, and for each kind of filter and order, the median of seven, and behind the slash those of
this process's own processor time. Exit code 1 where one takes 300 ms or more. Before each one the counts that pages
share are thrown away, so that counting is in all.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from flask import Flask
from flask.testing import FlaskClient

from app import accounts, create_app, deploys, environments, fleet, pipelines
from app.audit import COMMAND_LINE
from app.clock import utc_now
from app.config import Settings
from app.database import db, transaction
from app.fleet_filter import FleetFilter, Order
from app.ids import new_id
from app.models import Node
from app.push.entries import Entry
from tests.support.database import migrate, sqlite_url
from tests.support.postgres_server import PostgresServer
from tests.support.server import fresh_secrets
from tools.redis_server import RedisServer

SIZES = (10, 1000, 10_000)
MOST_MS = 300.0
TRIES = 7
PAGE_SIZE = 50
YAML = "sources: {in: {type: demo_logs, format: json}}\nsinks: {out: {type: blackhole, inputs: [in]}}\n"
LOOKS = {
    "label": "label=zone%3D7,tier!%3Ddb",
    "behind": "status=behind",
    "unreachable": "status=unreachable",
    "not connected": "connected=no",
    "last seen": "sort=-seen",
    "status": "sort=status",
}

Taken = tuple[float, float]
"""Milliseconds of the clock, and of the server's process."""


def main() -> int:
    sizes = [int(each) for each in sys.argv[1:]] or SIZES
    slowest = 0.0
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="fleet-")))
        redis = running.enter_context(RedisServer(folder))
        postgres = PostgresServer()
        running.callback(postgres.close)
        postgres.start()
        print(f"{'database':12}{'nodes':>8}" + "".join(f"{name:>15}" for name in ("first", "last", *LOOKS)))
        for number, size in enumerate(sizes):
            urls = (sqlite_url(folder / f"{number}.db"), postgres.url(postgres.create_database()))
            for kind, url in zip(("SQLite", "PostgreSQL"), urls, strict=True):
                migrate(url)
                with made(url, redis.url, f"{kind}-{size}:") as app:
                    taken = measured(app, size)
                slowest = max(slowest, *(ms for ms, _ in taken.values()))
                print(
                    f"{kind:12}{size:8,}" + "".join(f"{ms:7.0f}/{own:4.0f} ms" for ms, own in taken.values()),
                    flush=True,
                )
    return int(slowest >= MOST_MS)


@contextmanager
def made(url: str, redis_url: str, prefix: str) -> Iterator[Flask]:
    app = create_app(
        Settings.from_environ(
            {
                **fresh_secrets(),
                "SIGNALBOX_DATABASE_URL": url,
                "SIGNALBOX_REDIS_URL": redis_url,
                "SIGNALBOX_REDIS_PREFIX": prefix,
            }
        )
    )
    app.config["WTF_CSRF_ENABLED"] = False
    yield app
    with app.app_context():
        db.engine.dispose()


def measured(app: Flask, size: int) -> dict[str, Taken]:
    """How long it took, by what was asked for."""
    with app.app_context():
        accounts.create_account("bench@example.org", "correct horse", "admin", COMMAND_LINE)
        ids = fill(environments.create("bench", COMMAND_LINE).id, size)
        last = fleet.page(FleetFilter(), Order(), limit=PAGE_SIZE)
        if size > PAGE_SIZE:  # the cursor before the last page's first node
            end = Order().cursor([f"node-{size - PAGE_SIZE - 1:06}", ids[size - PAGE_SIZE - 1]])
            last = fleet.page(FleetFilter(), Order(), limit=PAGE_SIZE, cursor=end)
            assert len(last.items) == PAGE_SIZE
    client = app.test_client()
    client.post("/sign-in", data={"email": "bench@example.org", "password": "correct horse"})
    looks = {"first": "", "last": f"cursor={end}" if size > PAGE_SIZE else "", **LOOKS}
    registry, entries = app.extensions["switchboard"]._registry, {}
    for node_id in ids[: size * 9 // 10]:
        since_ms = int(time.time() * 1000)
        entries[node_id] = Entry(1, node_id, "w", "ws", since_ms, "host:1", "-", True)
    registry.restore(entries)
    return {name: median(app, client, registry, query) for name, query in looks.items()}


def fill(environment_id: str, size: int) -> list[str]:
    """Nodes with labels and versions, for which one pipeline is deployed; their ids by name."""
    pipeline = pipelines.create(
        COMMAND_LINE,
        environment_id=environment_id,
        name="logs",
        config_yaml=YAML,
        node_selector="zone in (1,2)",
    )
    ids, now = [new_id() for _ in range(size)], utc_now()
    transaction(
        lambda session: session.add_all(
            Node(
                id=node_id, environment_id=environment_id, name=f"node-{number:06}", host=f"host-{number}",
                token_digest=f"{number:064}", enrolled_at=now, last_seen_at=now, last_heartbeat_at=now,
                agent_version="0.1.0", vector_version="vector 0.57.0", maintenance_mode=False,
                agent_labels={"os": "linux", "hostname": f"host-{number}"},
                operator_labels={"zone": str(number % 10), "tier": "web"}, running_revision="r",
            )
            for number, node_id in enumerate(ids)
        )
    )  # fmt: skip
    deploys.deploy(pipeline.id, COMMAND_LINE)
    return ids


def median(app: Flask, client: FlaskClient, registry: object, query: str) -> Taken:
    taken, busy = [], []
    for _ in range(TRIES):
        registry.renew_lease("w", "host:1")  # type: ignore[attr-defined]
        app.extensions.pop("fleet-counts", None)
        started, used = time.perf_counter(), time.process_time()
        answer = client.get(f"/?{query}")
        taken.append(1000 * (time.perf_counter() - started))
        busy.append(1000 * (time.process_time() - used))
        assert answer.status_code == 200, answer.text
    return statistics.median(taken), statistics.median(busy)


if __name__ == "__main__":
    sys.exit(main())
