"""What a week of metrics costs: `python -m bench.metrics_history [nodes]`, 10 by default; about a minute.

On SQLite and on a PostgreSQL of its own: a week of heartbeats a minute, three pipelines a node, rolled up.
Prints bytes for each node as they are kept by default, how long a flush takes, and how long a node's week takes to
read and draw.
"""

import random
import sys
import tempfile
import time
from pathlib import Path

from flask import Flask
from sqlalchemy import func, select, text

from app import create_app, metrics_history, node_charts, retention, server_settings
from app.clock import utc_now
from app.config import Settings
from app.database import db, snapshot
from app.metrics_points import HOST, HOST_COUNTERS, HOST_LEVELS, HOUR, PIPELINE_COUNTERS, Standing
from app.models import MetricsBlock
from tests.support.database import PostgresDatabases, SqliteDatabases
from tests.support.many_nodes import enroll_many
from tests.support.postgres_server import PostgresServer
from tests.support.server import fresh_secrets

WEEK_SECONDS = 7 * 86400
PIPELINES = [f"{number}" * 32 for number in range(1, 4)]


class Machine:
    """Counters that grow as those of a busy node do, never twice by the same."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._values = {
            HOST: dict.fromkeys(HOST_COUNTERS + HOST_LEVELS, 0.0),
            **{pipeline: dict.fromkeys(PIPELINE_COUNTERS, 0.0) for pipeline in PIPELINES},
        }

    def at(self, moment: float) -> Standing:
        for values in self._values.values():
            for name in values:
                step = self._random.uniform(0.5, 1.5) * (4e5 if "ytes" in name else 120)
                if name in ("errorsTotal", "eventsDiscarded"):
                    step = float(self._random.random() < 0.01)
                values[name] = 8e9 + step * 1e3 if name in HOST_LEVELS else values[name] + step
        return Standing(moment, {subject: dict(values) for subject, values in self._values.items()})


def measure(label: str, database_url: str, nodes: int) -> None:
    settings = {**fresh_secrets(), "SIGNALBOX_DATABASE_URL": database_url}
    app = create_app(Settings.from_environ(settings))
    with app.app_context():
        from app import environments
        from app.audit import COMMAND_LINE

        environment_id = environments.create("bench", COMMAND_LINE).id
    node_ids = [token.split("_")[2] for token in enroll_many(settings, environment_id, nodes)]
    with app.app_context():
        fill_and_read(app, label, node_ids)
        db.engine.dispose()


def fill_and_read(app: Flask, label: str, node_ids: list[str]) -> None:
    now = utc_now().timestamp() // HOUR * HOUR
    machines = {node_id: Machine(number) for number, node_id in enumerate(node_ids)}
    for hour in range(WEEK_SECONDS // HOUR):
        start = now - WEEK_SECONDS + hour * HOUR
        metrics_history.write(
            {
                node_id: [machine.at(start + minute * 60) for minute in range(60)]
                for node_id, machine in machines.items()
            }
        )
    while metrics_history.roll_up(now + 3 * HOUR):
        pass
    print(f"{label}: {figures(len(node_ids))} a node with every minute of a week")
    for name, step in retention.steps(server_settings.values(), utc_now()).items():
        if name in ("minutes", "hours", "days"):
            while retention.prune(step):
                pass
    print(f"{label}: {figures(len(node_ids))} a node as kept by default")
    began = time.perf_counter()
    for minute in range(5):
        metrics_history.write(
            {node_id: [machine.at(now + minute * 60)] for node_id, machine in machines.items()}
        )
    print(f"{label}: a minute of one node is written in {ms(began) / 5 / len(node_ids):.2f} ms")
    for span in node_charts.SPANS:
        began = time.perf_counter()
        charts = node_charts.of_node(node_ids[0], span, {}, now)
        print(f"{label}: {span} read and drawn in {ms(began):.0f} ms ({len(charts)} charts)")


def figures(nodes: int) -> str:
    size = func.sum(func.length(MetricsBlock.points) + func.coalesce(func.length(as_text()), 0))
    total, rows = snapshot(lambda session: session.execute(select(size, func.count())).one())
    on_disk = ""
    if db.engine.dialect.name == "postgresql":
        with db.engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT").execute(
                text("VACUUM FULL metrics_block")
            )
            relation = connection.scalar(text("SELECT pg_total_relation_size('metrics_block')"))
            on_disk = f", {relation / nodes / 1024:.0f} KiB on disk with indexes"
    else:
        with db.engine.connect() as connection:
            pages = connection.scalar(
                text("SELECT sum(pgsize) FROM dbstat WHERE name LIKE '%metrics_block%'")
            )
            on_disk = f", {pages / nodes / 1024:.0f} KiB on disk with indexes"
    return f"{rows / nodes:.0f} rows, {total / nodes / 1024:.0f} KiB{on_disk}"


def as_text():  # type: ignore[no-untyped-def]
    from sqlalchemy import Text, cast

    return cast(MetricsBlock.latest, Text)


def ms(began: float) -> float:
    return (time.perf_counter() - began) * 1000


def main() -> int:
    nodes = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    with tempfile.TemporaryDirectory(prefix="history-") as name:
        folder = Path(name)
        measure("SQLite", SqliteDatabases(folder).create(folder), nodes)
        server = PostgresServer()
        server.start()
        try:
            _, url = PostgresDatabases(server).create()
            measure("PostgreSQL", url, nodes)
        finally:
            server.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
