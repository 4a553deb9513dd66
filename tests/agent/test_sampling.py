"""Samples: which are taken when, and what a tap that misbehaves costs."""

import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent import vector
from agent.actions import PostSamples, SampleResult, SendHeartbeat, TakeSample
from agent.events import HeartbeatSent, SampleRequested, SamplesFailed, SampleTaken
from agent.plan import SampleRequest
from agent.report import KEPT_BYTES
from agent.sampling import (
    LOST,
    LOST_SECONDS,
    MOST_TAPS,
    MOST_WAITING,
    NO_TURN,
    NOT_RUNNING,
    TOO_MANY,
    WAIT_SECONDS,
    Sampling,
)
from agent.tap import SAMPLE_BYTES, Seen
from agent.tap_output import EVENT_BYTES
from tests.agent.scripted_server import ScriptedServer, pipeline_entry
from tests.agent.test_state import fetched
from tests.conftest import StartAgent
from tests.support import PROJECT
from tests.support.until import until

YAML = """\
sources:
  in: {type: demo_logs, format: json, interval: 0.05}
sinks:
  out: {type: blackhole, inputs: [in]}
"""


def ports(**known: int) -> Callable[[str], int | None]:
    return known.get


def request(id: str = "s1", *keys: str, **more: Any) -> SampleRequest:
    return SampleRequest(id, "p1", keys or ("a",), **more)


def taps(actions: list[Any]) -> list[str]:
    return [action.component_key for action in actions if isinstance(action, TakeSample)]


def errors(actions: list[Any]) -> list[str | None]:
    return [action.results[0].error for action in actions if isinstance(action, PostSamples)]


# deciding


def test_a_request_is_taken_up_once_and_several_components_at_a_time() -> None:
    """Four taps at most; each that ends makes room for the next, and is posted by itself."""
    sampling = Sampling()
    wish = request("s1", "a", "b", "c", "d", "e", "e", limit=7, sink_keys=("b",))
    sampling.take_up(wish, 0.0)
    assert sampling.take_up(wish, 1.0) == []
    actions = sampling.due(1.0, ports(p1=99))
    assert taps(actions) == ["a", "b", "c", "d"]
    assert len(actions) == MOST_TAPS
    assert actions[1] == TakeSample("s1", "b", 99, 7, of_inputs=True)
    assert sampling.due(2.0, ports(p1=99)) == []
    result = SampleResult("s1", "c", events=({"n": 1},))
    assert sampling.taken(result) == [PostSamples((result,))]
    assert sampling.taken(result) == [], "a second time is not posted"
    assert taps(sampling.due(3.0, ports(p1=99))) == ["e"]


def test_what_cannot_be_sampled_is_said_at_once() -> None:
    """A pipeline that does not run here, and more than can wait."""
    sampling = Sampling()
    sampling.take_up(request(), 0.0)
    assert errors(sampling.due(0.0, ports())) == [NOT_RUNNING]
    refused = []
    for number in range(MOST_WAITING // 16 + 1):
        refused += sampling.take_up(request(f"r{number}", *(f"c{n}" for n in range(20))), 0.0)
    assert errors(refused) == [TOO_MANY] * 16
    assert len(taps(sampling.due(0.0, ports(p1=1)))) == MOST_TAPS


def test_nothing_waits_for_ever() -> None:
    """A tap that is not heard of, and a component that never has its turn."""
    sampling = Sampling()
    sampling.take_up(request("s1", "a", "b", "c", "d", "e"), 0.0)
    sampling.due(0.0, ports(p1=1))
    assert sampling.next_deadline() == LOST_SECONDS
    actions = sampling.due(LOST_SECONDS, ports(p1=1))
    assert (errors(actions), taps(actions)) == ([LOST] * 4, ["e"])
    sampling.take_up(request("s2", "f", "g", "h", "i"), LOST_SECONDS)
    sampling.due(LOST_SECONDS, ports(p1=1))
    late = LOST_SECONDS + WAIT_SECONDS
    for _ in range(2):
        sampling.taken(SampleResult("s1", "e", "x"))
    assert sampling.next_deadline() < late
    assert NO_TURN in errors(sampling.due(late, ports(p1=1)))


def test_what_cannot_be_posted_goes_into_the_next_heartbeat() -> None:
    """Until one arrives, and no more than fits into its body."""
    story = fetched()
    story >> SampleRequested(request()) << PostSamples
    assert story.last.results[0].error == NOT_RUNNING
    story >> SampleRequested(request())
    results = story.last.results
    story >> SamplesFailed(results)
    story.after(1) << SendHeartbeat
    assert story.last.sample_results == results
    story >> HeartbeatSent(2)
    large = SampleResult("s2", "a", events=({"n": 1},), size=KEPT_BYTES // 2)
    story >> SamplesFailed((large,)) >> SamplesFailed((large,)) >> SamplesFailed((large,))
    story.after(1) << SendHeartbeat
    assert story.last.sample_results == (large, large)
    story >> SampleTaken(SampleResult("nobody", "asked", "x"))


# what a tap prints


def seen(limit: int, *parts: bytes) -> Seen:
    output = Seen(limit)
    for part in parts:
        output.feed(part)
    return output


def test_events_are_lines_of_json_however_they_are_cut() -> None:
    """Notes among them are for people; the rest of a line that has no end is no event."""
    text = b'[tap] Pattern \'a\' successfully matched.\n{"n": 1}\n{"n": "\xc3\xa4"}\n{"half"'
    for seed in range(20):
        chance = random.Random(seed)
        cuts = sorted(chance.sample(range(len(text)), 5))
        parts = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        output = seen(9, *parts)
        assert output.events() == [{"n": 1}, {"n": "ä"}]
        assert output.notes_of_failure() == []
    assert seen(1, text).events() == [{"n": 1}]


def test_a_flood_is_bounded() -> None:
    """An event that is too large is left out, and so is what comes behind enough bytes."""
    huge = b'{"a": "' + b"x" * EVENT_BYTES + b'"}\n'
    output = seen(100, huge, b'{"n": 1}\n', huge[:1000], huge[1000:])
    assert (output.events(), output.oversized) == ([{"n": 1}], 2)
    large = b'{"a": "' + b"x" * (EVENT_BYTES // 2) + b'"}\n'
    output = seen(100, *[large] * 50)
    assert 1 < len(output.lines) <= SAMPLE_BYTES // len(large)
    output.feed(b'{"late": true}\n' * 1000)
    assert len(output.lines) <= SAMPLE_BYTES // len(large)


def test_numbers_that_json_cannot_hold_are_texts() -> None:
    """Else the whole heartbeat would fail that carries them."""
    assert seen(9, b'{"a": NaN, "b": 1e999, "c": 1.5}\n').events() == [{"a": "NaN", "b": "1e999", "c": 1.5}]


@pytest.mark.parametrize(
    ("version", "url"),
    [
        ("vector 0.50.0 (x86_64-unknown-linux-gnu 1 2025-09-23)", "http://127.0.0.1:7/graphql"),
        ("vector 0.54.9", "http://127.0.0.1:7/graphql"),
        ("vector 0.55.0 (x86_64)", "http://127.0.0.1:7"),
        ("vector 1.0.0", "http://127.0.0.1:7"),
        (None, "http://127.0.0.1:7"),
    ],
)
def test_vector_is_asked_where_its_version_answers(version: str | None, url: str) -> None:
    """Its API became gRPC in 0.55, and its address lost a path."""
    command = vector.tap_command("vector", version, 7, "-x", 3, of_inputs=False)
    assert command[:2] == ["vector", "tap"]
    assert f"--url={url}" in command
    assert "--outputs-of=-x" in command
    assert "--inputs-of=-x" in vector.tap_command("vector", version, 7, "-x", 3, of_inputs=True)
    assert vector.tap_environment({"http_proxy": "http://x", "HOME": "/h"}) == {"HOME": "/h"}


# by a real agent


def results(server: ScriptedServer) -> dict[str, Any]:
    """What was posted, by component."""
    return {result["componentKey"]: result for body in server.samples for result in body["results"]}


def test_a_component_that_does_not_exist_is_an_error_and_the_others_are_not(
    start_agent: StartAgent, scripted_server: ScriptedServer
) -> None:
    """With the stand-in's own tap: at once, not when its time is up; and once, however often it is asked."""
    scripted_server.pipelines = [pipeline_entry(config_yaml=YAML)]
    agent = start_agent(scripted_server.url, "enroll-1")
    scripted_server.running()
    message = {
        "type": "sample_request",
        "requestId": "s1",
        "pipelineId": "p1",
        "componentKeys": ["in", "nope", "out"],
        "sinkKeys": ["out"],
        "limit": 2,
    }
    channel = scripted_server.socket()
    channel.send(message)
    channel.send(message)
    told = until(lambda: (found := results(scripted_server)) and len(found) == 3 and found, seconds=30)
    assert 'no output of a component "nope"' in told["nope"]["error"]
    for key in ("in", "out"):
        assert "error" not in told[key], told[key]
        assert 1 <= len(told[key]["events"]) <= 2
    channel.send({**message, "requestId": "s2", "pipelineId": "elsewhere", "componentKeys": ["in"]})
    until(lambda: any(b["results"][0]["requestId"] == "s2" for b in scripted_server.samples))
    assert results(scripted_server)["in"]["error"] == NOT_RUNNING
    assert len(scripted_server.samples) == 4
    assert agent.log.read_text().count("nudged type=sample_request id=s1 ") == 1, "it was begun once"


def test_a_post_that_fails_is_made_up_for_by_a_heartbeat(
    start_agent: StartAgent, scripted_server: ScriptedServer
) -> None:
    """Events and all."""
    scripted_server.pipelines = [pipeline_entry(config_yaml=YAML)]
    scripted_server.samples_status = 503
    start_agent(scripted_server.url, "enroll-1")
    scripted_server.running()
    scripted_server.socket().send(
        {"type": "sample_request", "requestId": "s1", "pipelineId": "p1", "componentKeys": ["in"], "limit": 1}
    )
    told = scripted_server.heartbeat_where(lambda body: "sampleResults" in body, seconds=30)
    (result,) = told["sampleResults"]
    assert (result["requestId"], result["componentKey"], len(result["events"])) == ("s1", "in", 1)


ODD_TAP = """#!{python} -I
import os, sys, time
if sys.argv[1:2] != ["tap"]:
    os.execv({vector!r}, [{vector!r}, *sys.argv[1:]])
if "--outputs-of=crash" in sys.argv:
    sys.exit("cannot reach it")
if os.fork() == 0:
    time.sleep(600)
while True:
    print('{{"n": 1}}', flush=True)
"""


def test_a_tap_is_killed_with_all_that_it_has_started(
    start_agent: StartAgent, scripted_server: ScriptedServer, tmp_path: Path
) -> None:
    """Once it has shown enough; one that cannot tap says why."""
    scripted_server.pipelines = [pipeline_entry(config_yaml=YAML)]
    odd = tmp_path / "odd-vector"
    odd.write_text(ODD_TAP.format(python=sys.executable, vector=str(PROJECT / "demo" / "vector")))
    odd.chmod(0o755)
    agent = start_agent(scripted_server.url, "enroll-1", {"SIGNALBOX_VECTOR_BIN": str(odd)})
    scripted_server.running()
    scripted_server.socket().send(
        {
            "type": "sample_request",
            "requestId": "s1",
            "pipelineId": "p1",
            "componentKeys": ["flood", "crash"],
            "limit": 1,
        }
    )
    # Sooner than its 15 seconds are over.
    told = until(lambda: (found := results(scripted_server)) and len(found) == 2 and found, seconds=12)
    assert told["flood"]["events"] == [{"n": 1}]
    assert told["crash"]["error"] == "vector tap shows nothing (exit code 1): cannot reach it"
    until(lambda: len(agent.child_pids()) == 1, what="only the pipeline's own child")
