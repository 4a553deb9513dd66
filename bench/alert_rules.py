"""What evaluating alert rules costs: `python -m bench.alert_rules [nodes]`, 10,000 by default; about two minutes.

On SQLite and on a PostgreSQL of its own: three pipelines a node, with the metrics and the log lines that heartbeats
leave. Prints how long each kind of rule takes where nothing is wrong and where one node in a hundred is, and how many
alerts a turn makes where the whole fleet is gone.
"""

import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from sqlalchemy import func, insert, select, update

from app import (
    alert_drafts,
    alert_evaluation,
    alert_rules,
    create_app,
    environments,
    leases,
    pipelines,
    server_settings,
)
from app.alert_kinds import CERTIFICATE_EXPIRES, KINDS
from app.audit import COMMAND_LINE
from app.clock import utc_now
from app.config import Settings
from app.database import db, snapshot, transaction
from app.models import Alert, AlertRule, Lease, Node, NodePipeline
from tests.support.database import PostgresDatabases, SqliteDatabases
from tests.support.many_nodes import enroll_many
from tests.support.postgres_server import PostgresServer
from tests.support.server import fresh_secrets

YAML = "sources: {made: {type: demo_logs, format: json}}\nsinks: {gone: {type: blackhole, inputs: [made]}}\n"
COMPONENTS = [
    {
        "componentId": f"component-{number}", "componentKind": "transform", "receivedEvents": 10**9,
        "sentEvents": 10**9,
        "receivedBytes": 10**12, "sentBytes": 10**12, "errorsTotal": 0, "discardedEvents": 0, "receivedRate": 120.5,
    }
    for number in range(8)
]  # fmt: skip
LINES = [f"2026-01-01T00:00:00Z INFO vector: line {number} of what it has printed" for number in range(50)]
SPAN, GAP = timedelta(minutes=5), timedelta(hours=1)


def measure(label: str, database_url: str, redis_url: str, nodes: int) -> None:
    """Fill a database and evaluate."""
    settings = {
        **fresh_secrets(), "SIGNALBOX_DATABASE_URL": database_url, "SIGNALBOX_REDIS_URL": redis_url,
        "SIGNALBOX_REDIS_PREFIX": f"bench-{label}:",
    }  # fmt: skip
    app = create_app(Settings.from_environ(settings))
    with app.app_context():
        environment_id = environments.create("bench", COMMAND_LINE).id
    node_ids = [token.split("_")[2] for token in enroll_many(settings, environment_id, nodes)]
    with app.app_context():
        fill(environment_id, node_ids)
        rules = [make(kind, "") for kind in KINDS] + [
            make(kind, "zone=a,tier!=db") for kind in KINDS if kind != CERTIFICATE_EXPIRES
        ]
        print(f"{label}: {nodes} nodes, {3 * nodes} pipelines on nodes, {len(rules)} rules")
        turn(label, "nothing is wrong", rules)
        spoil(node_ids[::100])
        turn(label, "1 % has begun to fire", rules)
        turn(label, "1 % fires", rules)
        silence()
        before, turns = 0, 0
        while (firing := count()) > before or not turns:
            before, turns = firing, turns + 1
            turn(label, "the whole fleet begins to be unreachable", rules[:1])
            print(f"{label}: {count() - before} alerts made")
        turn(label, "the whole fleet is unreachable", rules[:1])
        db.engine.dispose()


def count() -> int:
    return snapshot(lambda session: session.scalar(select(func.count()).select_from(Alert))) or 0


def make(kind: str, selector: str) -> str:
    threshold = {"certificate_expires": 14.0, "throughput_below": 1.0}.get(
        kind, 5.0 if KINDS[kind].unit else None
    )
    draft = alert_drafts.Draft(kind, kind, threshold, 0, node_selector=selector)
    return alert_rules.create(draft, COMMAND_LINE).id


def fill(environment_id: str, node_ids: list[str]) -> None:
    ids = [
        pipelines.create(COMMAND_LINE, environment_id=environment_id, name=f"p{number}", config_yaml=YAML).id
        for number in range(3)
    ]
    now = utc_now() + timedelta(minutes=20)  # they are heard of all the time that this takes
    labels = [{"zone": "a" if number % 2 else "b", "tier": "web"} for number in range(2)]
    for start in range(0, len(node_ids), 500):
        some = node_ids[start : start + 500]
        rows = [
            {
                "node_id": node_id, "pipeline_id": pipeline_id, "version": 1, "status": "RUNNING",
                "events_out_rate": 120.5,
                "events_in_rate": 120.5, "errors_rate": 0.0, "discarded_rate": 0.0, "component_metrics": COMPONENTS,
                "recent_logs": LINES, "reported_at": now,
            }
            for node_id in some
            for pipeline_id in ids
        ]  # fmt: skip
        seen = {"last_seen_at": now, "last_heartbeat_at": now}

        def work(session, some=some, rows=rows, seen=seen):  # type: ignore[no-untyped-def]
            session.execute(insert(NodePipeline), rows)
            for number in range(2):
                own = update(Node).where(Node.id.in_(some[number::2]))
                session.execute(own.values(operator_labels=labels[number], **seen))

        transaction(work)
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")


def spoil(node_ids: list[str]) -> None:
    bad = {"status": "CRASHED", "errors_rate": 50.0, "discarded_rate": 50.0}
    query = update(NodePipeline).where(NodePipeline.node_id.in_(node_ids)).values(**bad)
    transaction(lambda session: session.execute(query) and None)


def silence() -> None:
    long_ago = utc_now() - timedelta(hours=1)
    transaction(
        lambda session: (
            session.execute(update(Node).values(last_seen_at=long_ago, last_heartbeat_at=long_ago)) and None
        )
    )


def turn(label: str, when: str, rule_ids: list[str]) -> None:
    """Evaluate each rule once, and say what it took."""
    watched = utc_now() - timedelta(hours=1)
    leases.take(alert_evaluation.LEASE, "bench", SPAN)
    transaction(lambda session: session.execute(update(Lease).values(unbroken_since=watched)) and None)
    held = leases.take(alert_evaluation.LEASE, "bench", SPAN)
    assert held is not None
    took: dict[str, list[float]] = {}
    for rule_id in rule_ids:
        rule = snapshot(lambda session, rule_id=rule_id: session.get(AlertRule, rule_id))
        if rule is None:
            continue
        began = time.perf_counter()
        alert_evaluation.evaluate_rule(held, rule, GAP, server_settings.intervals())
        took.setdefault(rule.kind, []).append((time.perf_counter() - began) * 1000)
    words = ", ".join(
        f"{kind} {' and '.join(f'{each:.0f}' for each in times)}" for kind, times in took.items()
    )
    print(f"{label}: {when}: {sum(sum(times) for times in took.values()):.0f} ms ({words})")


def main() -> int:
    from tools.redis_server import RedisServer

    nodes = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory(prefix="alerts-") as name, RedisServer(Path(name)) as redis:
        folder = Path(name)
        measure("SQLite", SqliteDatabases(folder).create(folder), redis.url, nodes)
        server = PostgresServer()
        server.start()
        try:
            _, url = PostgresDatabases(server).create()
            measure("PostgreSQL", url, redis.url, nodes)
        finally:
            server.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
