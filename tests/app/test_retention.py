"""What is kept for how long: each kind goes by its own setting, and what is needed stays."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import func, select, update

from app import channel_history, metrics_history, retention, server_settings
from app.clock import utc_now
from app.database import snapshot, transaction
from app.metrics_points import Standing
from app.models import (
    AuditEntry,
    ChannelSpan,
    Deployment,
    DeploymentNode,
    MetricsBlock,
    Node,
    NodePipeline,
    PipelineVersion,
)
from app.push.standing import Span
from tests.app.conftest import Script, enroll, node_id
from tests.app.test_fleet import beat, deploy, running


@pytest.fixture(autouse=True)
def context(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(metrics_history, "_waiting", {})
    with app.app_context():
        yield


def pruned(name: str, days: float = 0, **kept: int) -> int:
    """How many rows of a kind go, so many days from now."""
    later = utc_now() + timedelta(days=days)
    return retention.prune(retention.steps({**server_settings.values(), **kept}, later)[name])


def count(table: type) -> int:
    return snapshot(lambda session: session.scalar(select(func.count()).select_from(table))) or 0


def test_minutes_go_once_the_hours_know_them(script: Script, environment_id: str) -> None:
    """A block that was not rolled up stays, however old."""
    (agent,) = enroll(script, environment_id, "n")
    now = utc_now().timestamp()
    values = {"p": {"eventsIn": 1.0}}
    metrics_history.write({node_id(agent): [Standing(now - 60, values), Standing(now, values)]})
    blocks = count(MetricsBlock)
    assert pruned("minutes", days=1.9) == pruned("minutes", days=10) == 0, "not rolled up"
    assert metrics_history.roll_up(now + 10 * 86400) > 0
    minutes = pruned("minutes", days=2.1)
    assert minutes >= 1
    assert pruned("minutes", days=2.1) == 0
    assert count(MetricsBlock) >= blocks - minutes + 2, "of the hour and of the day"
    assert pruned("hours", days=30) == 0
    assert pruned("hours", days=37) >= 1


def test_channels_are_written_together_paged_and_go(script: Script, environment_id: str) -> None:
    """Those of nodes that are gone are left out, and undo nothing."""
    (agent,) = enroll(script, environment_id, "n")
    now = utc_now()

    def span(node: str, number: int) -> Span:
        opened = now - timedelta(minutes=number)
        return Span(node, "ws", opened, now, f"reason {number}", "host:1", "192.0.2.1")

    channel_history.record([span("f" * 32, 9), *(span(node_id(agent), number) for number in range(3))])
    page = channel_history.of_node(node_id(agent), limit=2)
    assert [row.reason for row in page.items] == ["reason 2", "reason 1"]
    page = channel_history.of_node(node_id(agent), limit=2, cursor=page.next_cursor)
    assert ([row.reason for row in page.items], page.next_cursor) == (["reason 0"], None)
    assert pruned("channels", days=13.9) == 0
    assert pruned("channels", days=14.1) == 3
    assert count(ChannelSpan) == 0


def test_a_version_that_is_needed_stays(script: Script, environment_id: str, pipeline_id: str) -> None:
    """The latest ones, the deployed one, what a node runs, and the last one that ran well."""
    (agent,) = enroll(script, environment_id, "n")
    for number in range(1, 9):
        assert deploy(script, pipeline_id) == number
        if number in (2, 4):
            beat(agent, running(pipeline_id, number))

    def versions() -> list[int]:
        query = select(PipelineVersion.version).order_by(PipelineVersion.version)
        return list(snapshot(lambda session: session.scalars(query).all()))

    beat(agent, running(pipeline_id, 1))
    assert pruned("versions") == 0, "a hundred are kept"
    assert pruned("versions", versionsKept=2) == 4
    assert versions() == [1, 4, 7, 8], "what the node runs, what ran well last, the latest two"
    script.post(f"/pipelines/{pipeline_id}/rollback", {"version": 1}, 200)
    assert pruned("versions", versionsKept=2) == 1
    assert versions() == [1, 4, 8, 9]


def test_deployments_go_but_for_the_last_of_each_pipeline(
    script: Script, environment_id: str, pipeline_id: str
) -> None:
    """With the rows of their nodes."""
    enroll(script, environment_id, "n", "m")
    for _ in range(3):
        deploy(script, pipeline_id)
    assert pruned("deployments", days=179) == 0
    assert pruned("deployments", days=181) > 0
    assert (count(Deployment), count(DeploymentNode)) == (1, 2)


def test_log_lines_go_when_nobody_reports_them_any_more(
    script: Script, environment_id: str, pipeline_id: str
) -> None:
    """The state stays, the lines go."""
    (agent,) = enroll(script, environment_id, "n")
    deploy(script, pipeline_id)
    beat(agent, running(pipeline_id, 1, recentLogs=["one", "two"]))
    assert pruned("log lines", days=6.9) == 0
    assert pruned("log lines", days=7.1) == 1
    assert pruned("log lines", days=7.1) == 0
    assert snapshot(lambda session: session.scalars(select(NodePipeline.recent_logs)).all()) == [[]]


def test_nodes_not_seen_are_removed_by_the_rule_alone(script: Script, environment_id: str) -> None:
    """Off by default; one entry in the audit log says how many, which, and by which rule."""
    old, fresh = enroll(script, environment_id, "old", "fresh")
    beat(old)
    beat(fresh)
    long_ago = utc_now() - timedelta(days=4)
    transaction(
        lambda session: (
            session.execute(update(Node).where(Node.id == node_id(old)).values(last_seen_at=long_ago))
            and None
        )
    )
    retention.tidy_up()
    assert count(Node) == 2
    script.call("PATCH", "/settings", {"unseenNodeDays": 5})
    retention.tidy_up()
    assert count(Node) == 2
    script.call("PATCH", "/settings", {"unseenNodeDays": 3})
    retention.tidy_up()
    assert [row["name"] for row in script.get("/nodes")["items"]] == ["fresh"]
    assert old.call("GET", "/config").status_code == 401
    entry = script.get("/audit")["items"][0]
    assert (entry["action"], entry["detail"]) == (
        "nodes.remove_unseen",
        {"count": 1, "days": 3, "nodes": ["old"]},
    )
    entries = count(AuditEntry)
    retention.tidy_up()
    assert count(AuditEntry) == entries
