"""Metrics and channels of a node as scripts read them."""

from flask import Flask

from app import channel_history, metrics_history
from app.clock import utc_now
from app.metrics_points import HOST, Standing
from app.push.standing import Span
from tests.app.conftest import Script, enroll, make_script, node_id, refused

AT = 1_800_000_000
PIPELINE = "c" * 32


def test_metrics_are_read_by_level_and_range(app: Flask, script: Script, environment_id: str) -> None:
    """Rates and means; a range that is too long or cannot be understood is 400 with the field."""
    (agent,) = enroll(script, environment_id, "n")
    path = f"/nodes/{node_id(agent)}/metrics"
    before = {HOST: {"cpuSecondsTotal": 0.0, "cpuSecondsIdle": 0.0}, PIPELINE: {"eventsIn": 0.0}}
    after = {
        HOST: {"cpuSecondsTotal": 120.0, "cpuSecondsIdle": 90.0, "memoryUsedBytes": 1000.0},
        PIPELINE: {"eventsIn": 30.0},
    }
    with app.app_context():
        metrics_history.write({node_id(agent): [Standing(AT, before), Standing(AT + 60, after)]})
    for level in ("minute", "hour", "day"):
        answer = script.get(path, level=level, since="2027-01-15T00:00:00Z", until="2027-01-15T23:59:59Z")
        (host,) = answer["host"]
        assert (host["seconds"], host["cpuShare"], host["memoryUsedBytes"]) == (60, 0.25, 1000)
        assert host["memoryTotalBytes"] is None
        (point,) = answer["pipelines"][PIPELINE]
        assert (point["eventsInPerSecond"], point["bytesOutPerSecond"]) == (0.5, 0)
        assert point["at"] == {"day": "2027-01-15T00:00:00.000Z"}.get(level, "2027-01-15T08:00:00.000Z")
    latest = script.get(path)
    assert (latest["level"], latest["host"], latest["pipelines"]) == ("minute", [], {})
    refused(script.call("GET", path, level="second"), 400, "level")
    refused(script.call("GET", path, since="yesterday"), 400, "since")
    refused(
        script.call("GET", path, since="2026-01-01T00:00:00Z", until="2026-02-02T00:00:00Z"), 400, "until"
    )
    refused(script.call("GET", path, until="2026-01-01T00:00:00"), 400, "until")
    refused(script.call("GET", f"/nodes/{'f' * 32}/metrics"), 404)


def test_channels_are_paged_and_stay_in_their_environment(
    app: Flask, script: Script, environment_id: str
) -> None:
    """Newest first; a token of another environment is told of no such node."""
    (agent,) = enroll(script, environment_id, "n")
    path, now = f"/nodes/{node_id(agent)}/channels", utc_now()
    with app.app_context():
        channel_history.record(
            [Span(node_id(agent), "ws", now, now, f"r{number}", "host:1", "192.0.2.1") for number in range(3)]
        )
    page = script.get(path, limit="2")
    assert [row["reason"] for row in page["items"]] == ["r2", "r1"]
    page = script.get(path, limit="2", cursor=page["nextCursor"])
    assert ([row["reason"] for row in page["items"]], page["nextCursor"]) == (["r0"], None)
    other = script.post("/environments", {"name": "other"})["id"]
    for name in ("channels", "metrics"):
        answer = make_script(app, "viewer", other).call("GET", f"/nodes/{node_id(agent)}/{name}")
        refused(answer, 404)
