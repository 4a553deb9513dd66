"""Which form of the push channel the agent uses, and when it changes over. Played, not waited for."""

import random
from collections.abc import Callable

import pytest

from agent.actions import CloseLink, FetchConfig, OpenLink, SendHeartbeat
from agent.channel import QUICK_SECONDS
from agent.events import (
    Booted,
    ConfigFetched,
    Event,
    FetchFailed,
    HeartbeatFailed,
    HeartbeatSent,
    LinkClosed,
    LinkOpened,
    Nudged,
)
from agent.plan import Intervals
from agent.protocol import CloseCode, Transport
from agent.state import Agent
from agent.transport import LinkTiming
from tests.agent.playbook import Playbook, plan

WS_URL = "ws://server/api/agent/ws"
SSE_URL = "http://server/api/agent/push"
INTERVALS = Intervals(poll=15, idle_poll=300, heartbeat=15, idle_heartbeat=60, reconnect_spread=5)
TIMING = LinkTiming()

BrokenWay = Callable[["LinkStory"], None]


class LinkStory(Playbook):
    """An agent that has its plan, with its first attempt at a push channel under way.

    While it waits, what is asked over HTTP is answered as `http` says: "works", "fails", or "hangs".
    """

    def __init__(self, *, seed: int = 1, stream_url: str | None = SSE_URL) -> None:
        super().__init__(Agent(15.0, random.Random(seed)))
        self.http = "works"
        self.link = OpenLink(0, "", None)
        """The newest attempt."""
        self.closed: list[int] = []
        """Generations that the agent itself has closed."""
        self >> Booted(enrolled=True) << FetchConfig
        self >> ConfigFetched(1, plan(intervals=INTERVALS, websocket_url=WS_URL, push_url=stream_url), '"e1"')
        self.take()

    @property
    def transport(self) -> Transport:
        return self.link.transport

    def take(self) -> list[OpenLink]:
        """Do what is wanted just now; the attempts that begin."""
        begun = []
        while self._pending:
            action = self._pending.pop(0)
            if isinstance(action, OpenLink):
                assert action.url == (WS_URL if action.transport is Transport.WS else SSE_URL)
                begun.append(action)
                self.link = action
            elif isinstance(action, CloseLink):
                self.closed.append(action.generation)
            elif isinstance(action, FetchConfig | SendHeartbeat) and self.http != "hangs":
                self._feed(self._answer(action))
        return begun

    def _answer(self, action: FetchConfig | SendHeartbeat) -> Event:
        if isinstance(action, SendHeartbeat):
            if self.http == "works":
                return HeartbeatSent(action.generation)
            return HeartbeatFailed(action.generation, "cannot report: the server answered 502")
        if self.http == "works":
            return ConfigFetched(action.generation, plan(intervals=INTERVALS))
        return FetchFailed(action.generation, "cannot fetch: the server answered 502")

    def live(self, seconds: float) -> "LinkStory":
        """Let time pass; no attempt may begin."""
        end = self.now + seconds
        while (deadline := self.agent.next_deadline()) <= end:
            self.now = max(self.now, deadline)
            self.after(0)
            assert not self.take(), "began an attempt"
        self.now = end
        return self

    def until_attempt(self) -> float:
        """Wait for the next attempt; how long that took."""
        start = self.now
        while True:
            assert self.now - start < 7200, "no attempt"
            self.now = max(self.now, self.agent.next_deadline())
            self.after(0)
            if self.take():
                return self.now - start

    def fail(self, error: str = "the server answered 400", **more: object) -> float:
        """The attempt under way fails, or its channel ends; how long the agent waits before the next."""
        self >> LinkClosed(self.link.generation, error, **more)  # type: ignore[arg-type]
        self.take()
        return self.until_attempt()

    def fail_and_stay(self, times: int, error: str = "the server answered 400", **more: object) -> None:
        """So many failures, after each of which the WebSocket is tried again."""
        for _ in range(times):
            self.fail(error, **more)
            assert self.transport is Transport.WS

    def open(self, lives: float = 0.0) -> "LinkStory":
        """The attempt under way succeeds, and the channel lives so long."""
        self >> LinkOpened(self.link.generation)
        self.take()
        return self.live(lives)

    def fall_back(self) -> "LinkStory":
        """As many failures as that takes."""
        for _ in range(20):
            if self.transport is Transport.SSE:
                return self
            self.fail()
            # So that HTTP is heard of between them.
            self.live(0)
        raise AssertionError("does not fall back")


def refused(story: LinkStory) -> None:
    story.fail("the server answered 400")


def cut_at_once(story: LinkStory) -> None:
    story.open(2)
    story.fail("WebSocketConnectionClosedException: Connection to remote host was lost.")


def never_hears_a_frame(story: LinkStory) -> None:
    story.open(45)
    story.fail("nothing was heard in time")


def mangles_frames(story: LinkStory) -> None:
    story.open(1)
    story.fail("closed by the server", code=CloseCode.PROTOCOL_ERROR, reason="bad mask")


def never_answers(story: LinkStory) -> None:
    story.until_attempt()  # the agent itself gives the attempt up


@pytest.mark.parametrize(
    "way",
    [refused, cut_at_once, never_hears_a_frame, mangles_frames, never_answers],
    ids=lambda w: w.__name__,
)
@pytest.mark.parametrize("seed", range(5))
def test_after_three_short_lived_websockets_it_uses_the_event_stream(way: BrokenWay, seed: int) -> None:
    """Whatever a network does to WebSockets: not after two, and soon after three."""
    story = LinkStory(seed=seed)
    start = story.now
    for _ in range(2):
        way(story)
        assert story.transport is Transport.WS
    for _ in range(20):
        if story.transport is Transport.SSE:
            break
        way(story)
    assert story.transport is Transport.SSE
    assert story.link.generation <= 6, "three failures, and what it takes to hear of HTTP between them"
    assert story.now - start <= 200

    story.open()
    assert story.said("link state=open transport=sse")
    assert story.said("falls back")


@pytest.mark.parametrize(
    "failure",
    [
        {"error": "ConnectionRefusedError", "unreachable": True},
        {"error": "the server answered 401", "unauthorized": True},
        {"error": "the server answered 503", "retry_after": 1.0},
        {"error": "the server answered 429", "retry_after": 1.0},
    ],
    ids=lambda failure: failure["error"],
)
def test_a_refusal_that_is_the_servers_own_says_nothing_about_the_network(failure: dict[str, object]) -> None:
    """Nor does a connection that is never made: the same would happen to a stream."""
    story = LinkStory()
    story.fail_and_stay(10, **failure)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("code", "reason"),
    [(CloseCode.NORMAL, "replaced"), (CloseCode.GOING_AWAY, "going away"), (CloseCode.POLICY, "moved")],
)
def test_a_goodbye_has_come_through_however_early(code: CloseCode, reason: str) -> None:
    """A frame of the server's proves that WebSockets work here; what failed before is forgotten."""
    story = LinkStory()
    for _ in range(10):
        story.fail_and_stay(2)
        story.open(3)
        story.fail_and_stay(1, "closed by the server", code=code, reason=reason)


def test_a_websocket_that_held_is_no_failure_however_it_ends() -> None:
    """A laptop's lid, a worker that was killed: three a day must not add up."""
    story = LinkStory()
    for _ in range(10):
        story.open(61)
        story.fail_and_stay(1, "reset by peer")
        story.fail_and_stay(2)


def test_a_server_that_is_down_changes_nothing() -> None:
    """A proxy that answers 502 for a dead server does so to WebSockets and polls alike."""
    story = LinkStory()
    story.http = "fails"
    story.fail_and_stay(20, "the server answered 502")

    story.http = "works"
    story.open(61)
    story.fail_and_stay(2)


def test_what_failed_before_the_server_went_down_is_forgotten() -> None:
    """Two failures on their own, with HTTP heard of between them, and then an outage, are not three."""
    story = LinkStory()
    story.fail_and_stay(1)
    story >> Nudged()
    story.take()
    story.fail_and_stay(1)
    story.http = "fails"
    story >> Nudged()
    story.take()
    story.fail_and_stay(1, "the server answered 502")


def test_an_outage_between_two_polls_is_not_taken_for_a_broken_network() -> None:
    """HTTP that is heard of only before and after the failures, or hangs as well, proves nothing."""
    story = LinkStory()
    story.open(120)
    story.http = "hangs"
    story.fail_and_stay(10, "the server answered 502")

    story.http = "works"
    story.open(61)
    story.fail_and_stay(2)


def test_without_an_event_stream_it_stays_with_the_websocket() -> None:
    """A server that names none may be one that has none."""
    story = LinkStory(stream_url=None)
    story.fail_and_stay(10)


def on_stream(seed: int = 1) -> LinkStory:
    """An agent that has fallen back, and whose stream has held for a minute."""
    story = LinkStory(seed=seed).fall_back()
    return story.open(61)


def test_it_leaves_the_stream_to_try_the_websocket_closing_the_old_one_first() -> None:
    """After minutes, never two at a time: its own change must not be a duel (hazard 18)."""
    waits = set()
    for seed in range(20):
        story = LinkStory(seed=seed).fall_back()
        stream = story.link.generation
        start = story.now
        story.open()
        story.wait_for(CloseLink)
        assert story.last == CloseLink(stream)
        story << OpenLink(stream + 1, WS_URL, "r1", Transport.WS)
        story.link = story.last
        story.any_more()
        waits.add(round(story.now - start))
        assert TIMING.first_retry / 2 - QUICK_SECONDS <= story.now - start <= TIMING.first_retry

        # What the old one still says is old news.
        story >> LinkClosed(stream, "closed by the server", CloseCode.NORMAL, "replaced")
        story.end()
        story.open(61)
    assert len(waits) > 10, "a fleet does not try in one moment"


def test_a_websocket_that_fails_again_is_followed_by_the_stream_at_once() -> None:
    """One failure is enough, there is no backoff, and the next try is later each time, within bounds."""
    story = on_stream()
    gaps = []
    for way in (refused, cut_at_once, refused, cut_at_once, refused, refused):
        before = story.now
        story.until_attempt()
        gaps.append(story.now - before)
        assert story.transport is Transport.WS
        before = story.now
        way(story)
        assert story.transport is Transport.SSE
        assert story.now - before <= QUICK_SECONDS + 2
        story.open(61)

    assert gaps[2] > TIMING.first_retry
    assert all(gap <= TIMING.longest_retry for gap in gaps)
    assert all(gap >= TIMING.longest_retry / 2 - 120 for gap in gaps[4:])


def test_a_websocket_that_holds_again_makes_all_forgotten() -> None:
    """Three failures are needed anew, and the retry is as soon as the first time."""
    story = on_stream()
    for _ in range(5):
        story.until_attempt()
        refused(story)
        story.open(61)
    story.until_attempt()
    story.open(61)

    story.fail_and_stay(1, "reset by peer")
    story.fail_and_stay(2)
    story.fall_back()
    before = story.now
    story.open()
    story.until_attempt()
    assert story.now - before <= TIMING.first_retry


def test_a_websocket_that_has_not_yet_held_is_not_trusted() -> None:
    """It came up after the fall back and lasts half a minute: back to the stream, and no third chance."""
    story = on_stream()
    story.until_attempt()
    story.open(30)
    wait = story.fail("reset by peer")
    assert (story.transport, wait <= QUICK_SECONDS) == (Transport.SSE, True)


def test_where_the_stream_fails_too_they_take_turns_and_wait_longer_each_time() -> None:
    """Polls go on all the while."""
    story = LinkStory().fall_back()
    turns, waits = [], []
    for _ in range(40):
        waits.append(story.fail("the answer is no event stream"))
        turns.append(story.transport)

    assert turns == [Transport.WS, Transport.SSE] * 20
    assert max(waits) <= 30
    for either in (waits[20::2], waits[21::2]):
        assert sum(either) / len(either) > 5


def test_a_stream_that_ends_by_the_server_or_after_long_is_opened_again() -> None:
    """An upgrade of the server, a lost connection: no reason to disturb what works."""
    story = on_stream()
    story.fail("closed by the server", code=CloseCode.GOING_AWAY, reason="going away")
    assert story.transport is Transport.SSE
    story.fail("ConnectionRefusedError", unreachable=True)
    assert story.transport is Transport.SSE
    assert story.fail("the server answered 503", retry_after=40) >= 40
    assert story.transport is Transport.SSE
    story.open(1)
    story.fail("closed by the server", code=CloseCode.GOING_AWAY, reason="going away")
    assert story.transport is Transport.SSE


@pytest.mark.parametrize("transport", list(Transport))
def test_who_is_replaced_by_another_waits_for_minutes_on_either_form(transport: Transport) -> None:
    """Two agents on one token must not fight (hazard 18); polls, short ones, go on meanwhile."""
    story = LinkStory()
    if transport is Transport.SSE:
        story.fall_back()
    assert story.transport is transport
    story.open(3)
    before = story.now
    wait = story.fail("closed by the server", code=CloseCode.NORMAL, reason="replaced")
    assert 60 <= wait <= 300
    assert story.now - before == wait


def test_polls_are_rare_on_a_stream_that_holds_and_short_again_while_it_is_left() -> None:
    """An attempt that hangs must not leave the node without pushes and polls for five minutes."""
    story = on_stream()
    story.wait_for(FetchConfig)
    story >> ConfigFetched(story.last.generation, plan(intervals=INTERVALS))
    story.take()
    story.live(60)
    story.until_attempt()
    before = story.now
    story.wait_for(FetchConfig)
    assert story.now - before <= 16.5


def test_health_says_connected_for_a_stream_too() -> None:
    """`pushConnected` on the wire means a live channel, whichever form."""
    story = LinkStory().fall_back()
    story >> LinkOpened(story.link.generation)
    story.wait_for(SendHeartbeat)
    assert story.last.health.push_connected is True
