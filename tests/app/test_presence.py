"""Who is connected, as rows, filter and counts say it alike: an event stream needs a request to prove life."""

import time
from datetime import timedelta

from flask import Flask
from sqlalchemy import update

from app import fleet
from app.clock import utc_now
from app.database import transaction
from app.models import Node
from app.push.entries import Entry
from app.push.presence import Registry
from tests.app.conftest import Script, enroll, node_id

INTERVAL = timedelta(seconds=60)
"""The default heartbeat interval while the push channel is up."""


def test_a_stream_counts_for_two_and_a_half_heartbeats_after_the_last_request(
    app: Flask, script: Script, environment_id: str
) -> None:
    """Its opening is one too. A WebSocket counts for as long as it is open: it answers pings."""
    cases = {
        "fresh stream": ("sse", 1.0, None),
        "heard stream": ("sse", 9.0, 2.4),
        "silent stream": ("sse", 9.0, 2.6),
        "mute stream": ("sse", 2.6, None),
        "silent socket": ("ws", 9.0, 9.0),
    }
    nodes = dict(zip(cases, map(node_id, enroll(script, environment_id, *cases)), strict=True))
    now = utc_now()
    registry: Registry = app.extensions["switchboard"]._registry
    registry.renew_lease("w", "host:1")
    entries = {}
    for name, (transport, opened, seen) in cases.items():
        since_ms = int((time.time() - (opened * INTERVAL).total_seconds()) * 1000)
        entries[nodes[name]] = Entry(1, name.split()[0], "w", transport, since_ms, "host:1", "-", True)
        with app.app_context():
            values = {"last_seen_at": now - seen * INTERVAL if seen else None, "last_heartbeat_at": now}
            change = update(Node).where(Node.id == nodes[name]).values(**values)
            transaction(lambda session, change=change: session.execute(change) and None)
    registry.restore(entries)
    expected = {"fresh stream", "heard stream", "silent socket"}
    rows = script.get("/nodes")["items"]
    assert {row["name"] for row in rows if row["push"]["connected"]} == expected
    assert {row["name"] for row in script.get("/nodes", connected="true")["items"]} == expected
    silent = {row["name"] for row in script.get("/nodes", status="UNREACHABLE")["items"]}
    assert silent == {"silent stream", "mute stream"}
    assert {row["name"] for row in rows if row["status"] == "UNREACHABLE"} == silent
    with app.app_context():
        counts = fleet.counts()
    assert (counts.connected, counts.unreachable) == (3, 2)
