"""Metrics history on both databases: written by any worker, rolled up, read at each level."""

from collections.abc import Iterator

import pytest
from flask import Flask
from sqlalchemy import select

from app import metrics_history
from app.database import snapshot
from app.errors import InvalidInputError
from app.heartbeats import Heartbeat
from app.metrics_points import DAY, HOST, HOUR, MINUTE, Standing
from app.models import MetricsBlock
from tests.app.conftest import Script, enroll, node_id

ZERO = 20_833 * 86400.0  # a full day
PIPELINE = "b" * 32


@pytest.fixture
def node(app: Flask, script: Script, environment_id: str) -> Iterator[str]:
    (agent,) = enroll(script, environment_id, "n")
    with app.app_context():
        yield node_id(agent)


def standing(at: float, events: float) -> Standing:
    return Standing(ZERO + at, {PIPELINE: {"eventsIn": events}})


def seen(node: str, level: int, since: float, until: float) -> dict[int, tuple[float, float]]:
    series = metrics_history.read(node, level, ZERO + since, ZERO + until)
    return {int(start - ZERO): (p[0], round(p[1], 2)) for start, p in series.get(PIPELINE, {}).items()}


def latest(node: str) -> list[int]:
    """The blocks that hold counters, by their start."""
    rows = snapshot(lambda session: session.scalars(select(MetricsBlock)).all())
    return sorted(int(row.start - ZERO) for row in rows if row.latest and row.node_id == node)


def test_two_workers_that_hear_one_node_count_nothing_twice(node: str) -> None:
    """Each writes what it heard; one that is late adds nothing, because the other's difference covers it."""
    metrics_history.write({node: [standing(0, 0)]})
    metrics_history.write({node: [standing(15, 15), standing(45, 45)]})
    metrics_history.write({node: [standing(30, 30), standing(60, 60)]})
    metrics_history.write({node: [standing(20, 20)]})
    assert seen(node, MINUTE, 0, 3600) == {0: (60, 60)}


def test_the_next_hour_goes_on_from_the_last(node: str) -> None:
    """Counters stand in the newest block alone; the difference reaches into both."""
    metrics_history.write({node: [standing(3570, 0)]})
    metrics_history.write({node: [standing(3630, 60)]})
    assert seen(node, MINUTE, 0, 7200) == {3540: (30, 30), 3600: (30, 30)}
    assert latest(node) == [3600]
    metrics_history.write({node: [standing(3690, 10)], "f" * 32: [standing(0, 0)]})  # restarted; one is gone
    assert seen(node, MINUTE, 0, 7200)[3660] == (30, 5)


def test_hours_and_days_are_the_sums_of_what_lies_in_them(node: str) -> None:
    """Before the roll-up as after it, and again when something comes late."""
    metrics_history.write({node: [standing(second, second) for second in range(0, 2 * 3600 + 1, 300)]})
    expected = {0: (3600, 3600), 3600: (3600, 3600)}
    assert seen(node, HOUR, 0, 86400) == expected
    assert seen(node, DAY, 0, 86400) == {0: (7200, 7200)}
    assert metrics_history.roll_up(ZERO + 3600 + 60) == 0, "not settled yet"
    assert metrics_history.roll_up(ZERO + 2 * 86400) == 4, "three hours of minutes, then the day of hours"
    assert metrics_history.roll_up(ZERO + 2 * 86400) == 0
    assert seen(node, HOUR, 0, 86400) == expected
    assert seen(node, DAY, 0, 86400) == {0: (7200, 7200)}
    metrics_history.write({node: [standing(2 * 3600 + 300, 2 * 3600 + 300)]})
    assert seen(node, DAY, 0, 86400)[0][0] >= 7200
    assert metrics_history.roll_up(ZERO + 2 * 86400) == 2
    assert seen(node, DAY, 0, 86400) == {0: (7500, 7500)}


def test_a_range_is_bounded(node: str) -> None:
    """At most a day of minutes and a little, and it ends after it begins."""
    for until in (0, -1, 1501 * 60):
        with pytest.raises(InvalidInputError):
            seen(node, MINUTE, 0, until)


def test_heartbeats_are_what_is_written(node: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the body on the wire to the points, by one flush; a second one has nothing to do."""
    monkeypatch.setattr(metrics_history, "_waiting", {})
    for at, count in ((0, 5), (60, 65)):
        heartbeat = Heartbeat.model_validate(
            {
                "pipelines": [{"pipelineId": PIPELINE, "version": 1, "status": "RUNNING", "eventsIn": count}],
                "hostMetrics": {"cpuSecondsTotal": at, "cpuSecondsIdle": at / 2, "netRxBytes": None},
            }
        )
        metrics_history.observe(node, heartbeat, ZERO + at)
    assert metrics_history.is_waiting()
    assert metrics_history.flush() == 1
    assert not metrics_history.is_waiting()
    assert metrics_history.flush() == 0
    assert seen(node, MINUTE, 0, 60) == {0: (60, 60)}
    assert metrics_history.read(node, MINUTE, ZERO, ZERO + 60)[HOST][int(ZERO)][:3] == [60, 60, 30]


def test_what_is_no_id_of_ours_has_no_history(node: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a name that cannot be stored nor one that passes for the machine undoes what others say."""
    monkeypatch.setattr(metrics_history, "_waiting", {})
    names = ("host", "é" * 100, PIPELINE)
    for at in (0, 60):
        pipelines = [
            {"pipelineId": name, "version": 1, "status": "RUNNING", "eventsIn": at} for name in names
        ]
        metrics_history.observe(node, Heartbeat.model_validate({"pipelines": pipelines}), ZERO + at)
    metrics_history.flush()
    assert metrics_history.read(node, MINUTE, ZERO, ZERO + 60).keys() == {PIPELINE}
