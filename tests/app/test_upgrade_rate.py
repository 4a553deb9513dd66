"""Admission by rate, and the span over which a herd is told to come back (hazard 29)."""

from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event

from app.config import Settings, SettingsError
from app.database import db
from app.upgrade_rate import MOST_SPREAD_MS, ReconnectSpread, UpgradeRate, spread_ms
from tests.app.conftest import Script, enroll
from tests.support.server import fresh_secrets


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_of_a_second_goes_through_and_the_rest_is_spread() -> None:
    """Who is turned away later is told to come back later; as many a second as can be served, none after a minute."""
    clock = Clock()
    rate = UpgradeRate(100, clock, lambda least, _most: least)
    answers = [rate.retry_after() for _ in range(1100)]
    assert answers[:100] == [None] * 100
    told = [answer for answer in answers[100:] if answer is not None]
    assert told == sorted(told)
    assert [told.count(second) for second in range(1, 11)] == [100] * 10
    for _ in range(20_000):
        answer = rate.retry_after()
    assert answer == 60
    clock.now += 0.5
    assert [rate.retry_after() is None for _ in range(60)] == [True] * 50 + [False] * 10
    clock.now += 3600
    assert [rate.retry_after() is None for _ in range(110)] == [True] * 100 + [False] * 10
    assert rate.retry_after() == 1


def test_who_asks_without_being_counted_prolongs_nothing() -> None:
    """The short way asks first, and only the long way, to which it leaves the refusal, counts who is turned away."""
    clock = Clock()
    rate = UpgradeRate(10, clock, lambda least, _most: least)
    assert [rate.take() for _ in range(1000)] == [True] * 10 + [False] * 990
    assert rate.retry_after() == 1
    clock.now += 0.1
    assert [rate.take(), rate.take()] == [True, False]


@pytest.mark.parametrize(
    ("nodes", "per_second", "milliseconds"),
    [
        (0, 2000, 1000),
        (2000, 2000, 1000),
        (2001, 2000, 2000),
        (50_000, 2000, 32_000),
        (10**9, 1, MOST_SPREAD_MS),
    ],
)
def test_the_spread_is_nodes_over_the_rate_in_powers_of_two_seconds(
    nodes: int, per_second: int, milliseconds: int
) -> None:
    """Never less than what is needed, and a second at least."""
    assert spread_ms(nodes, per_second) == milliseconds


def settings_of(**more: str) -> Settings:
    return Settings.from_environ({**fresh_secrets(), **more})


def test_the_rate_is_a_setting() -> None:
    """A thousand by default, one at least."""
    assert settings_of().upgrade_rate == 1000
    assert settings_of(SIGNALBOX_UPGRADE_RATE="50").upgrade_rate == 50
    with pytest.raises(SettingsError, match="SIGNALBOX_UPGRADE_RATE"):
        settings_of(SIGNALBOX_UPGRADE_RATE="0")


def test_the_spread_in_the_configuration_does_not_churn_and_costs_no_count_a_poll(
    app: Flask, script: Script, environment_id: str
) -> None:
    """Nodes that come change neither the answer nor its ETag, until a minute's count says that it must."""
    clock = Clock()
    settings = settings_of(SIGNALBOX_UPGRADE_RATE="1", WEB_CONCURRENCY="2")
    app.extensions["reconnect_spread"] = ReconnectSpread(settings, clock)
    agents = enroll(script, environment_id, *(f"n{number}" for number in range(5)))

    def poll() -> Any:
        answer = agents[0].call("GET", "/config")
        return answer.get_json()["reconnectSpreadMs"], answer.headers["ETag"]

    spread, etag = poll()
    assert spread == 4000
    counts: list[str] = []
    with app.app_context():
        engine = db.engine

    def listen(*arguments: Any) -> None:
        text = str(arguments[2])
        if text.startswith("SELECT count(") and "audit_entry" not in text:  # which enrolling counts
            counts.append(text)

    event.listen(engine, "before_cursor_execute", listen)
    try:
        enroll(script, environment_id, "n5", "n6")
        assert [poll() for _ in range(3)] == [(4000, etag)] * 3
        assert counts == []
        clock.now += 61
        assert poll() == (4000, etag), "seven nodes need no more than eight"
        enroll(script, environment_id, "n7", "n8")
        assert poll() == (4000, etag)
        clock.now += 61
        assert poll()[0] == 8000
        assert len(counts) == 2
    finally:
        event.remove(engine, "before_cursor_execute", listen)
