"""Live tails of our own agent: which run, when they end, and that nothing else waits for them."""

import math
import threading
from collections.abc import Callable
from typing import Any

import pytest

from agent.actions import Action, Exit, RefuseTap, StartTap, StopTap
from agent.api import ApiError
from agent.events import (
    Event,
    TapEnded,
    TapRefused,
    TapRequested,
    TapStopRequested,
    TerminationRequested,
)
from agent.tap_stream import (
    BATCH_BYTES,
    BATCH_EVENTS,
    BATCH_SECONDS,
    LONGEST_PAUSE_SECONDS,
    MOST_FAILURES,
    TapStreams,
    _Stream,
)
from agent.taps import (
    AGENT_ENDS,
    GOODBYE_SECONDS,
    LONGEST_SECONDS,
    MOST_OPEN,
    NO_LONGER_RUNNING,
    NOT_RUNNING,
    STARTED_ANEW,
    STOPPED,
    TOO_LONG,
    TOO_MANY,
    Taps,
)
from tests.agent.scripted_server import ScriptedServer, Socket, pipeline_entry
from tests.agent.test_sampling import YAML
from tests.agent.test_state import fetched
from tests.conftest import StartAgent
from tests.support.agent_process import AgentProcess
from tests.support.until import until


def ports(**known: int) -> Callable[[str], int | None]:
    return known.get


RUNS = ports(p1=99)


def asked(id: str = "t1") -> TapRequested:
    return TapRequested(id, "p1", "made")


def without_lines(actions: list[Action]) -> list[Action]:
    return [action for action in actions if isinstance(action, StartTap | StopTap | RefuseTap)]


# deciding


def test_a_tap_runs_until_it_is_stopped_and_is_begun_once() -> None:
    """Told twice it runs once; a stop for one that is over, or never was, is nothing."""
    taps = Taps()
    begun = without_lines(taps.handle(asked(), 0.0, RUNS))
    assert begun == [StartTap("t1", "p1", "made", 99, LONGEST_SECONDS)]
    assert taps.handle(asked(), 1.0, RUNS) == []
    assert without_lines(taps.handle(TapStopRequested("t1"), 2.0, RUNS)) == [StopTap("t1", STOPPED)]
    assert taps.handle(TapStopRequested("t1"), 2.0, RUNS) == []
    assert not taps.is_idle(), "until its process is gone"
    taps.handle(TapEnded("t1"), 3.0, RUNS)
    assert taps.is_idle()
    assert taps.handle(TapStopRequested("nobody"), 3.0, RUNS) == []


def test_what_cannot_be_tapped_is_said() -> None:
    """A pipeline that does not run here, and one tap more than there may be; one that ends makes room."""
    taps = Taps()
    refused = without_lines(taps.handle(asked(), 0.0, ports()))
    assert refused == [RefuseTap("t1", "p1", "made", NOT_RUNNING)]
    for number in range(MOST_OPEN):
        taps.handle(asked(f"t{number}"), 0.0, RUNS)
    assert without_lines(taps.handle(asked("more"), 0.0, RUNS)) == [RefuseTap("more", "p1", "made", TOO_MANY)]
    taps.handle(TapStopRequested("t1"), 0.0, RUNS)
    assert isinstance(without_lines(taps.handle(asked("more"), 0.0, RUNS))[0], RefuseTap), "not gone yet"
    taps.handle(TapEnded("t1"), 0.0, RUNS)
    assert isinstance(without_lines(taps.handle(asked("more"), 0.0, RUNS))[0], StartTap)


@pytest.mark.parametrize(
    ("port", "now", "reason"),
    [
        (None, 1.0, NO_LONGER_RUNNING),
        (100, 1.0, STARTED_ANEW),
        (99, LONGEST_SECONDS, TOO_LONG),
        (99, LONGEST_SECONDS - 1, None),
    ],
)
def test_a_tap_ends_with_its_pipeline_and_with_its_time(
    port: int | None, now: float, reason: str | None
) -> None:
    """Each once; the agent is woken when the time is up."""
    taps = Taps()
    taps.handle(asked(), 0.0, RUNS)
    assert taps.next_deadline() == LONGEST_SECONDS
    actions = without_lines(taps.due(now, lambda _: port))
    assert actions == ([StopTap("t1", reason)] if reason is not None else [])
    if reason is not None:
        assert taps.due(now + 1, lambda _: port) == []
        assert taps.next_deadline() == math.inf


def test_a_server_that_does_not_want_it_is_obeyed() -> None:
    taps = Taps()
    taps.handle(asked(), 0.0, RUNS)
    refused = TapRefused("t1", "the server answered 403")
    assert without_lines(taps.handle(refused, 1.0, RUNS)) == [StopTap("t1", "the server answered 403")]


def test_an_agent_that_ends_says_so_and_waits_a_moment_for_it() -> None:
    """It takes up no other, and a server that does not answer does not keep it."""
    taps = Taps()
    taps.handle(asked(), 0.0, RUNS)
    assert without_lines(taps.end(10.0)) == [StopTap("t1", AGENT_ENDS)]
    assert taps.handle(asked("t2"), 10.0, RUNS) == []
    taps.due(10.0, ports())
    assert (taps.is_idle(), taps.next_deadline()) == (False, 10.0 + GOODBYE_SECONDS)
    assert taps.due(10.0 + GOODBYE_SECONDS, ports()) == []
    assert (taps.is_idle(), taps.next_deadline()) == (True, math.inf)


def test_the_whole_agent_refuses_what_it_does_not_run_and_ends_at_once_without_taps() -> None:
    story = fetched()
    story >> asked() << RefuseTap("t1", "p1", "made", NOT_RUNNING)
    assert story.said("type=tap_start")
    story >> TerminationRequested() << Exit


# between the threads


def stream() -> _Stream:
    return _Stream(StartTap("t1", "p1", "made", 99, LONGEST_SECONDS))


def test_what_is_not_posted_in_time_is_lost_the_newest_last() -> None:
    """However fast it comes and however long the server takes: a bounded number of events and bytes."""
    fast = stream()
    for number in range(10 * BATCH_EVENTS):
        fast.feed(b'{"n": %d}\n' % number)
    lines = fast.take()
    assert (len(lines), lines[-1]) == (BATCH_EVENTS, b'{"n": %d}' % (10 * BATCH_EVENTS - 1))
    assert fast.take() == []
    large = b'{"a": "' + b"x" * 50_000 + b'"}\n'
    for _ in range(100):
        fast.feed(large)
    assert 0 < sum(map(len, fast.take())) <= BATCH_BYTES


def test_a_tap_that_ends_says_why() -> None:
    """What was told first counts; else what Vector said, or how it ended."""
    told = stream()
    told.reason = STOPPED
    told.exited(-9)
    assert (told.reason, told.over.is_set()) == (STOPPED, True)
    unmatched = stream()
    unmatched.feed(b"[tap] Pattern 'made' failed to match: will retry on configuration reload.\n")
    unmatched.exited(-9)
    assert 'no output of a component "made"' in (unmatched.reason or "")
    broken = stream()
    broken.feed(b"cannot connect\n")
    broken.exited(78)
    assert broken.reason == "vector tap has ended (exit code 78): cannot connect"


# posting, with a scripted clock


class Clock(threading.Event):
    """That the tap's process is gone; time passes where its thread waits for it."""

    now = 0.0

    def wait(self, timeout: float | None = None) -> bool:
        """Without a time: the tap was refused, and the agent's own thread has had it killed."""
        if timeout is None:
            self.set()
        self.now += timeout or 0.0
        return self.is_set()


class Posting:
    """A tap that always has something to tell, until each of *answers* was given (None: it was taken)."""

    def __init__(self, *answers: ApiError | None) -> None:
        self.clock = Clock()
        self.told: list[Event] = []
        self.posted_at: list[float] = []
        """Of posts with events while it ran."""
        self.last_words: list[Any] = []
        self._answers = list(answers)
        self._tap = stream()
        self._tap.over = self.clock
        self._tap.feed(b'{"n": 1}\n')
        streams = TapStreams(None, "vector", lambda: None, self._post, self.told.append)  # type: ignore[arg-type]
        streams._post_all(StartTap("t1", "p1", "made", 99, LONGEST_SECONDS), self._tap)

    @property
    def pauses(self) -> list[float]:
        return [
            round(later - sooner, 6)
            for sooner, later in zip(self.posted_at, self.posted_at[1:], strict=False)
        ]

    def _post(self, body: Any) -> None:
        if "status" in body:
            self.last_words.append(body["reason"])
            return
        self.posted_at.append(self.clock.now)
        self._tap.feed(b'{"n": 1}\n')
        answer = self._answers.pop(0)
        if not self._answers:
            self._tap.finish(STOPPED)
        if answer is not None:
            raise answer


AWAY = ApiError("cannot post tap events: the server answered 503", status=503)


def test_a_tap_posts_at_most_once_a_second() -> None:
    """Whatever comes in between, and also after a post that failed, where it waits for longer and longer."""
    posting = Posting(None, None, None, AWAY, None, AWAY, AWAY, AWAY, None, None)
    assert len(posting.posted_at) == 10
    assert BATCH_SECONDS == 1.0
    assert min(posting.pauses) >= BATCH_SECONDS
    assert posting.pauses[:3] == [BATCH_SECONDS] * 3
    assert max(posting.pauses) <= LONGEST_PAUSE_SECONDS
    late = ApiError("cannot post tap events: the server answered 429", status=429, retry_after=3.0)
    assert Posting(late, None).pauses[0] >= 3.0
    assert (posting.last_words, posting.told) == ([STOPPED], [])


def test_five_posts_in_a_row_that_fail_end_a_tap() -> None:
    """Not the same number with one among them that was taken; an answer that blames the post ends it at once."""
    assert MOST_FAILURES == 5
    posting = Posting(*[AWAY] * 9)
    assert len(posting.posted_at) == 5
    assert posting.told == [TapRefused("t1", str(AWAY))]
    assert len(posting.last_words) == 1, "it is tried all the same"
    assert Posting(*[AWAY] * 4, None, *[AWAY] * 4, None).told == []
    refused = ApiError("cannot post tap events: the server answered 403", status=403)
    posting = Posting(None, refused, None)
    assert (len(posting.posted_at), posting.last_words) == (2, [])
    assert posting.told == [TapRefused("t1", str(refused))]


# by a real agent


@pytest.fixture
def tapped(start_agent: StartAgent, scripted_server: ScriptedServer) -> AgentProcess:
    """A real agent with a pipeline that makes twenty events a second."""
    scripted_server.pipelines = [pipeline_entry(config_yaml=YAML)]
    agent = start_agent(scripted_server.url, "enroll-1")
    scripted_server.running()
    return agent


def start(channel: Socket, id: str = "t1", component: str = "in", pipeline: str = "p1") -> None:
    channel.send({"type": "tap_start", "requestId": id, "pipelineId": pipeline, "componentId": component})


def last_word(server: ScriptedServer, id: str = "t1") -> Any:
    """The reason that was given for the end of a tap; waits for it."""

    def find() -> list[Any]:
        return [b for b in server.tap_events if b["requestId"] == id and b.get("status") == "stopped"]

    (body,) = until(find, what="the last word")
    return body["reason"]


def is_alone(agent: AgentProcess) -> None:
    until(lambda: len(agent.child_pids()) <= 1, what="no tap to be left")


def test_events_come_until_they_are_no_longer_wanted(
    tapped: AgentProcess, scripted_server: ScriptedServer
) -> None:
    """Batch by batch, of the component that was asked for; then one last word, and no process is left."""
    channel = scripted_server.socket()
    start(channel)
    start(channel)
    until(lambda: len(scripted_server.tap_events) >= 2)
    for body in scripted_server.tap_events[:2]:
        assert (body["requestId"], body["pipelineId"], body["componentId"]) == ("t1", "p1", "in")
        assert all("message" in event for event in body["events"])
    assert len(tapped.child_pids()) == 2, "it was begun once"
    channel.send({"type": "tap_stop", "requestId": "t1"})
    assert last_word(scripted_server) == STOPPED
    is_alone(tapped)


def test_a_server_that_hangs_or_refuses_holds_nothing_up(
    tapped: AgentProcess, scripted_server: ScriptedServer
) -> None:
    """While a post of events waits for its answer the agent reports; at a 403 it says no more."""
    scripted_server.answers_taps.clear()
    start(scripted_server.socket())
    until(lambda: scripted_server.tap_tries == 1)
    scripted_server.heartbeat_where(lambda body: True)
    scripted_server.heartbeat_where(lambda body: True)
    assert scripted_server.tap_tries == 1, "one at a time"
    scripted_server.tap_status = 403
    scripted_server.answers_taps.set()
    is_alone(tapped)
    until(lambda: "tap ends id=t1: cannot post tap events: the server answered 403" in tapped.log.read_text())
    scripted_server.tap_status = 200
    start(scripted_server.socket(), "t2")
    until(lambda: scripted_server.tap_events)
    assert {body["requestId"] for body in scripted_server.tap_events} == {"t2"}


def test_a_tap_ends_with_its_pipeline(tapped: AgentProcess, scripted_server: ScriptedServer) -> None:
    """And one of what does not run here, or is not there, is answered with the reason."""
    channel = scripted_server.socket()
    start(channel, "t2", component="nope")
    assert 'no output of a component "nope"' in last_word(scripted_server, "t2")
    start(channel, "t3", pipeline="elsewhere")
    assert last_word(scripted_server, "t3") == NOT_RUNNING
    start(channel)
    until(lambda: any(body["requestId"] == "t1" for body in scripted_server.tap_events))
    scripted_server.deploy()
    # Vector's own end may be noticed sooner than that of the pipeline's.
    assert last_word(scripted_server) == NO_LONGER_RUNNING or "ended" in last_word(scripted_server)
    until(lambda: not tapped.child_pids())


def test_a_tap_ends_with_its_agent(tapped: AgentProcess, scripted_server: ScriptedServer) -> None:
    """Which says so before it goes."""
    start(scripted_server.socket())
    until(lambda: scripted_server.tap_events)
    assert tapped.stop() == 0
    assert last_word(scripted_server) == AGENT_ENDS
