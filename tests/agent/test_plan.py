from typing import Any

import pytest

from agent.plan import (
    AnswerRefusedError,
    Intervals,
    difference,
    parse_action,
    parse_plan,
    parse_spec,
    spec_to_json,
)
from tests.agent.playbook import spec
from tests.agent.scripted_server import pipeline_entry


def test_the_difference_is_taken_by_checksum() -> None:
    """New starts, another checksum restarts, another version alone is relabelled, absent stops."""
    running = {id: spec(1, f"sum-{id}", id) for id in ("gone", "same", "newer", "other")}
    wanted = {
        "fresh": spec(1, "sum-fresh", "fresh"),
        "same": running["same"],
        "newer": spec(2, "sum-newer", "newer"),
        "other": spec(2, "sum-x", "other"),
    }

    change = difference(running, wanted)

    assert (change.start, change.restart, change.relabel, change.stop) == (
        ("fresh",),
        ("other",),
        ("newer",),
        ("gone",),
    )


def test_a_whole_answer_is_understood() -> None:
    """Every field of the wire that this agent uses; unknown ones are passed over."""
    entry = pipeline_entry(
        version=3,
        logLevel="debug",
        secrets={"VF_SECRET_A": "x"},
        certFiles=[{"name": "ca", "filename": "/etc/../ssl/ca.pem", "data": "eA=="}],
        hold=True,
        somethingNew=1,
    )
    plan = parse_plan(
        {
            "pipelines": [entry],
            "pollIntervalMs": 5000,
            "idlePollIntervalMs": 60000,
            "heartbeatIntervalMs": 6000,
            "idleHeartbeatIntervalMs": 7000,
            "reconnectSpreadMs": 8000,
            "websocketUrl": "ws://x/api/agent/ws",
            "pushUrl": "http://x/api/agent/push",
            "configRevision": "r",
            "sampleRequests": [{"requestId": "s", "pipelineId": "p1", "componentKeys": ["a"], "limit": 5}, 7],
            "pendingAction": {"type": "restart", "actionId": "a1", "pipelineId": "p1"},
        }
    )

    pipeline = plan.pipelines["p1"]
    assert (pipeline.version, pipeline.log_level, pipeline.secrets) == (3, "debug", {"VF_SECRET_A": "x"})
    assert [file.base_name for file in pipeline.cert_files] == ["ca.pem"]
    assert plan.held == {"p1"}
    assert (plan.websocket_url, plan.push_url) == ("ws://x/api/agent/ws", "http://x/api/agent/push")
    assert plan.intervals == Intervals(5, 60, 6, 7, 8)
    assert [request.request_id for request in plan.sample_requests] == ["s"]
    assert plan.pending_action is not None
    assert plan.pending_action.pipeline_id == "p1"


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        "<html>sign in to the wireless network</html>",
        {},
        {"pipelines": None},
        {"pipelines": {}},
        {"pipelines": [None]},
        {"pipelines": [pipeline_entry(), pipeline_entry()]},
        {"pipelines": [pipeline_entry("../../etc")]},
        {"pipelines": [pipeline_entry("p_1")]},
        {"pipelines": [pipeline_entry("")]},
        {"pipelines": [pipeline_entry(version="1")]},
        {"pipelines": [pipeline_entry(version=True)]},
        {"pipelines": [pipeline_entry() | {"configYaml": None}]},
        {"pipelines": [pipeline_entry() | {"checksum": ""}]},
        {"pipelines": [pipeline_entry(secrets=["x"])]},
        {"pipelines": [pipeline_entry(secrets={"A=B": "x"})]},
        {"pipelines": [pipeline_entry(secrets={"A": "x\0y"})]},
        {"pipelines": [pipeline_entry(certFiles=[{"filename": "..", "data": ""}])]},
        {"pipelines": [pipeline_entry(certFiles=[{"filename": "certs/", "data": ""}])]},
    ],
)
def test_a_doubtful_answer_is_refused_as_a_whole(body: object) -> None:
    """What is not surely a configuration must never count as an empty one."""
    with pytest.raises(AnswerRefusedError, match="cannot use the answer"):
        parse_plan(body)


def test_a_refusal_never_repeats_a_secret() -> None:
    """The sentence goes to the log."""
    with pytest.raises(AnswerRefusedError) as refusal:
        parse_plan({"pipelines": [pipeline_entry(secrets={"A": "hunter2\0"})]})

    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize("value", [0, -5, "15000", None, True, float("nan")])
def test_an_odd_interval_counts_as_the_usual_one(value: object) -> None:
    """No answer makes an agent ask without a pause, or never again."""
    assert parse_plan({"pipelines": [], "pollIntervalMs": value}).intervals == Intervals()


def test_intervals_have_bounds() -> None:
    """Half a second to a day."""
    answer = {"pipelines": [], "pollIntervalMs": 1, "heartbeatIntervalMs": 10**15}

    assert parse_plan(answer).intervals.poll == 0.5
    assert parse_plan(answer).intervals.heartbeat == 86400


def test_a_spec_survives_the_disk() -> None:
    """What is kept is what was run: secrets, certificates and all."""
    entry = pipeline_entry(
        logLevel="warn",
        secrets={"A": "ü\\n"},
        certFiles=[{"name": "n", "filename": "a/b.pem", "data": "eA=="}],
    )
    kept = parse_spec(entry)

    assert parse_spec(spec_to_json(kept)) == kept


def test_secrets_do_not_show_in_a_spec_that_is_printed() -> None:
    """A spec may end in a log line or in a traceback."""
    entry = pipeline_entry(
        secrets={"A": "hunter2"}, certFiles=[{"name": "n", "filename": "b.pem", "data": "aHVudGVyMg=="}]
    )

    assert "hunter2" not in repr(parse_spec(entry))
    assert "aHVudGVyMg" not in repr(parse_spec(entry))


@pytest.mark.parametrize(
    ("value", "type"),
    [
        ({"type": "restart", "actionId": "a"}, "restart"),
        ({"type": "action", "action": "restart", "actionId": "a"}, "restart"),
        ({"type": "action", "action": "restart"}, None),
        ({"actionId": "a"}, None),
        (None, None),
    ],
)
def test_an_action_is_read_from_a_push_and_from_an_answer(value: Any, type: str | None) -> None:
    """The two name its kind differently; one without an id cannot be told apart from the next."""
    action = parse_action(value)

    assert (action.type if action is not None else None) == type
