import itertools
import random

import pytest

from agent.actions import (
    AbandonFetch,
    AbandonHeartbeat,
    CloseLink,
    CompletedAction,
    Enroll,
    Exit,
    FetchConfig,
    OpenLink,
    ProbeChild,
    SavePlan,
    SendHeartbeat,
    StartChild,
    TerminateChild,
    ValidateConfiguration,
)
from agent.events import (
    ActionPushed,
    Booted,
    ChildExited,
    ChildHealthy,
    ChildLaunched,
    ConfigFetched,
    ConfigUnchanged,
    ConfigurationValidated,
    Enrolled,
    EnrollFailed,
    FetchFailed,
    HeartbeatFailed,
    HeartbeatSent,
    LinkClosed,
    LinkOpened,
    Nudged,
    PollIntervalPushed,
    TerminationRequested,
    Ticked,
)
from agent.plan import Intervals, Memory, PendingAction
from agent.protocol import CloseCode
from agent.state import Agent
from tests.agent.playbook import Playbook, plan, spec

URL = "ws://server/api/agent/ws"
INTERVALS = Intervals(poll=15, idle_poll=300, heartbeat=15, idle_heartbeat=60, reconnect_spread=5)


def booted() -> Playbook:
    """An enrolled agent whose first fetch is under way."""
    story = Playbook()
    story >> Booted(enrolled=True) << FetchConfig(1, None, None)
    return story


def fetched(*, url: str | None = None) -> Playbook:
    """An agent that has nothing to run, and has said so."""
    story = booted()
    story >> ConfigFetched(1, plan(intervals=INTERVALS, websocket_url=url), '"e1"')
    if url is not None:
        story << OpenLink(1, URL, "r1")
    story.until_due() << SendHeartbeat
    story >> HeartbeatSent(1)
    return story


def linked() -> Playbook:
    """An agent whose push channel has just come up."""
    story = fetched(url=URL)
    story >> LinkOpened(1)
    return story


def test_a_node_without_a_token_enrolls_before_it_asks_for_anything() -> None:
    """Everything but enrolling needs the node's token."""
    story = Playbook()

    story >> Booted(enrolled=False) << Enroll()
    story >> Enrolled("n1") << FetchConfig(1, None, None)
    story.end()


def test_enrolling_is_tried_until_it_succeeds() -> None:
    """A server that is away when a node boots must not cost the node its agent."""
    story = Playbook()
    story >> Booted(enrolled=False) << Enroll()

    for _ in range(20):
        story >> EnrollFailed("cannot enroll: nobody there")
        before = story.now
        story.until_due(most=60) << Enroll()
        assert story.now - before <= 60

    story >> EnrollFailed("cannot enroll: 429", retry_after=120)
    before = story.now
    story.until_due() << Enroll()
    assert story.now - before >= 120


def test_what_ran_before_runs_at_once_even_without_a_token() -> None:
    """A node that boots while the server is away runs what it last ran; no validation, it has run here."""
    story = Playbook()

    story >> Booted(enrolled=False, memory=Memory((spec(3),))) << StartChild(spec(3), 1) << Enroll()
    story.end()


def test_a_nudge_fetches_at_once() -> None:
    """That is what the push channel is for."""
    story = linked()

    story >> Nudged("deploy") << FetchConfig(2, "r1", '"e1"')
    assert story.said("nudged type=config_changed")


def test_nudges_during_a_fetch_become_exactly_one_more() -> None:
    """What is being fetched may be older than the nudge; a hundred nudges are still one question."""
    story = linked()
    story >> Nudged("deploy") << FetchConfig(2, "r1", '"e1"')
    for _ in range(100):
        story >> Nudged("deploy")

    story >> ConfigUnchanged(2) << FetchConfig(3, "r1", '"e1"')
    story >> ConfigUnchanged(3)
    story.end()


def test_a_nudge_with_a_spread_is_followed_within_it() -> None:
    """A deploy to a large fleet is fetched over a while, not in one moment."""
    waits = set()
    for seed in range(30):
        story = Playbook(Agent(15.0, random.Random(seed)))
        story >> Booted(enrolled=True) << FetchConfig
        story >> ConfigFetched(1, plan(intervals=Intervals(heartbeat=9000, poll=9000)))
        story.until_due() << SendHeartbeat
        story >> HeartbeatSent(1)
        before = story.now
        story >> Nudged("deploy", spread_seconds=20)
        story.until_due() << FetchConfig
        waits.add(round(story.now - before))
        assert 0 <= story.now - before <= 20
    assert len(waits) > 5


def test_a_failed_fetch_after_a_nudge_is_followed_up_soon() -> None:
    """Something new is known to be there: 1 s doubling to 30 s, not the idle poll."""
    story = linked()
    story >> Nudged("deploy") << FetchConfig
    for generation, span in enumerate((1, 2, 4, 8, 16, 30, 30), start=2):
        story >> FetchFailed(generation, "cannot fetch the configuration: 503")
        story.any_more()
        before = story.now
        story.wait_for(FetchConfig)
        assert story.now - before <= span


def test_a_fetch_that_trickles_is_given_up_and_its_late_result_dropped() -> None:
    """One answer that never ends must not keep the next one waiting, nor undo it."""
    story = booted()

    story.until_due() << SendHeartbeat
    story >> HeartbeatSent(1)
    story.wait_for(AbandonFetch)
    assert story.now == pytest.approx(1030.0)
    assert story.last == AbandonFetch(1)

    story.any_more()
    story >> ConfigFetched(1, plan(spec()))
    story.end()
    story.wait_for(FetchConfig)
    assert story.last.generation == 2


def test_every_fetch_waits_for_retry_after() -> None:
    """A server that asks for patience gets it, and more, never less."""
    story = booted()
    story >> FetchFailed(1, "cannot fetch the configuration: 503", retry_after=100)
    before = story.now
    story.wait_for(FetchConfig)
    assert 100 <= story.now - before <= 150


@pytest.mark.parametrize("unauthorized", [True, False])
def test_no_failed_fetch_stops_anything(unauthorized: bool) -> None:
    """An error of any kind, a refused token too, changes nothing on the node."""
    story = Playbook()
    story >> Booted(enrolled=True, memory=Memory((spec(),))) << StartChild << FetchConfig
    story >> ChildLaunched("p1", 1, 4711, 1, 2)
    story.any_more()
    story >> ChildHealthy("p1", 1)

    generation = 1
    for _ in range(50):
        story >> FetchFailed(generation, "cannot fetch", unauthorized=unauthorized)
        taken = []
        while not any(isinstance(action, FetchConfig) for action in taken):
            story.until_due()
            taken = story.any_more()
            assert not any(isinstance(action, TerminateChild | SavePlan) for action in taken)
            for action in taken:
                if isinstance(action, SendHeartbeat):
                    assert [p.status for p in action.pipelines] == ["RUNNING"] or story.now < 1003
                    story >> HeartbeatSent(action.generation)
        generation += 1


@pytest.mark.parametrize("away", ["no such name", "refused"])
def test_an_hour_without_a_server_costs_nothing_that_runs(away: str) -> None:
    """A name server that fails: some questions a minute, no child touched, nothing piled up, and back within one."""
    story = Playbook()
    story >> Booted(enrolled=True) << FetchConfig
    story >> ConfigFetched(1, plan(spec(), websocket_url="ws://x")) << ValidateConfiguration << OpenLink
    story >> ConfigurationValidated("p1", "sum-1") << StartChild(spec(), 1)
    story >> ChildLaunched("p1", 1, 4711, 1, 2) << ProbeChild
    story >> LinkOpened(1)
    story >> ChildHealthy("p1", 1)
    story.wait_for(SavePlan)
    story.any_more()
    story.wait_for(SendHeartbeat)
    story >> HeartbeatSent(story.last.generation)
    story.any_more()
    story >> LinkClosed(1, "closed")
    began, asked = story.now, {FetchConfig: 0, OpenLink: 0, SendHeartbeat: 0}
    while story.now < began + 3600:
        story.until_due()
        for action in story.any_more(FetchConfig, OpenLink, SendHeartbeat):
            asked[type(action)] += 1
            match action:
                case FetchConfig():
                    story._feed(FetchFailed(action.generation, away))
                case OpenLink():
                    story._feed(LinkClosed(action.generation, away))
                case SendHeartbeat():
                    story._feed(HeartbeatFailed(action.generation, away))
        story.any_more()

    assert all(60 <= count <= 400 for count in asked.values()), asked
    (report,) = story.agent._supervisor.reports(story.now)
    assert (report.status, report.pid) == ("RUNNING", 4711)
    began, fetches = story.now, []
    while not fetches:
        fetches = [a for a in story.until_due().any_more() if isinstance(a, FetchConfig)]
    assert story.now - began <= 60
    story >> ConfigFetched(fetches[0].generation, plan(spec(), websocket_url="ws://x"))
    assert story.agent._supervisor.running_revision() == "r1"


def test_polls_become_rare_only_once_the_link_has_been_up_for_a_minute() -> None:
    """A link that flaps is not relied on."""
    story = linked()
    polls: list[float] = []
    while story.now < 3000:
        story.until_due()
        for action in story.any_more():
            if isinstance(action, FetchConfig):
                polls.append(story.now)
                story >> ConfigUnchanged(action.generation)
            elif isinstance(action, SendHeartbeat):
                story >> HeartbeatSent(action.generation)

    early = [at for at in polls if at < 1062]
    late = [later - at for at, later in itertools.pairwise(polls) if at > 1062]
    assert 3 <= len(early) <= 5
    assert all(270 <= gap <= 330 for gap in late)
    assert len(set(late)) == len(late), "polls have jitter"


def test_a_lost_link_brings_the_short_poll_interval_back_at_once() -> None:
    """Without pushes the poll is all there is; it must not sleep out its five minutes."""
    story = linked()
    story.now += 120
    story >> Nudged("deploy") << FetchConfig << SendHeartbeat
    story >> HeartbeatSent(2)
    story >> ConfigUnchanged(2)

    story >> LinkClosed(1, "reset by peer")
    before = story.now
    story.any_more()
    story.wait_for(FetchConfig)
    assert story.now - before <= 16.5


def test_the_link_comes_back_first_within_the_spread_then_with_a_backoff() -> None:
    """A worker that dies takes thousands of links with it; each waits its own random share."""
    firsts, thirds = [], []
    for seed in range(60):
        story = Playbook(Agent(15.0, random.Random(seed)))
        story >> Booted(enrolled=True) << FetchConfig
        far = Intervals(poll=9000, idle_poll=9000, heartbeat=9000, idle_heartbeat=9000, reconnect_spread=40)
        story >> ConfigFetched(1, plan(intervals=far, websocket_url=URL)) << OpenLink
        story >> LinkOpened(1)
        story.until_due() << SendHeartbeat
        story >> HeartbeatSent(1)
        waits = []
        for generation in range(1, 4):
            before = story.now
            story >> LinkClosed(generation, "gone", CloseCode.GOING_AWAY)
            story.wait_for(OpenLink)
            waits.append(story.now - before)
            story >> LinkOpened(generation + 1)
            story.any_more()
        firsts.append(waits[0])
        thirds.append(waits[2])

    assert max(firsts) > 20
    assert max(firsts) <= 40
    assert min(firsts) < 4, "anywhere in it"
    assert min(thirds) < 0.2, "full jitter"
    assert max(thirds) <= 2, "accepted and closed again: the backoff goes on, 1 s then 2 s"
    assert max(thirds) > 1


def test_a_replaced_agent_waits_for_minutes_and_polls_meanwhile() -> None:
    """Two agents on one token that each come back at once would fight for ever."""
    story = linked()

    story >> LinkClosed(1, "closed", CloseCode.NORMAL, "replaced")
    before = story.now
    story.wait_for(OpenLink)
    assert 60 <= story.now - before <= 300
    polls = [action for action in story.passed if isinstance(action, FetchConfig)]
    assert len(polls) >= (story.now - before) / 20


def test_a_link_that_is_refused_for_now_waits_as_it_is_told() -> None:
    """503 with Retry-After: never earlier, and spread."""
    story = fetched(url=URL)
    story >> LinkClosed(1, "the server answered 503", retry_after=70)
    before = story.now
    story.wait_for(OpenLink)
    assert 70 <= story.now - before <= 105


def test_a_link_that_was_given_up_is_closed_if_it_comes_up_after_all() -> None:
    """One link has one owner: an old attempt never lives beside a new one."""
    story = fetched(url=URL)
    story.wait_for(CloseLink)
    assert story.last == CloseLink(1)

    story.any_more()
    story >> LinkOpened(1) << CloseLink(1)
    story.end()


def test_the_link_tells_what_runs_or_was_tried() -> None:
    """So the server nudges at once whoever is behind, and nobody else."""
    story = booted()

    story >> ConfigFetched(1, plan(revision="r7", websocket_url=URL)) << OpenLink(1, URL, "r7")


def test_changes_within_a_second_share_a_heartbeat() -> None:
    """The page hears soon, and once."""
    story = fetched()
    story >> Nudged() << FetchConfig
    story >> ConfigFetched(2, plan(spec(), revision="r2")) << ValidateConfiguration
    story.after(0.2) >> ConfigurationValidated("p1", "sum-1") << StartChild
    story.after(0.2) >> ChildLaunched("p1", 1, 4711, 1, 2)
    story.any_more()

    story.after(0.5)
    story.end()
    story.after(0.2) << SendHeartbeat
    assert [(p.pipeline_id, p.status) for p in story.last.pipelines] == [("p1", "STARTING")]
    assert story.last.running_revision is None
    assert story.last.tried_revision is None
    story.end()


def test_a_change_during_a_heartbeat_gets_one_of_its_own() -> None:
    """What the heartbeat under way says was already old when it was sent."""
    story = fetched()
    story >> Nudged() << FetchConfig
    story >> ConfigFetched(2, plan(revision="r2"))
    story.after(1.0) << SendHeartbeat
    story >> Nudged() << FetchConfig
    story >> ConfigFetched(3, plan(revision="r3"))
    story.after(1.0)
    story.end()

    story >> HeartbeatSent(2)
    story.after(1.0) << SendHeartbeat
    assert story.last.running_revision == "r3"


def test_heartbeats_are_rarer_while_the_link_is_up() -> None:
    """The link itself says that the node lives."""
    story = linked()
    story.after(1.0) << SendHeartbeat
    story >> HeartbeatSent(2)
    before = story.now
    story.wait_for(SendHeartbeat)
    assert 54 <= story.now - before <= 66


def test_a_heartbeat_that_hangs_is_given_up() -> None:
    """Thirty seconds, then the next may go."""
    story = booted()
    story >> ConfigFetched(1, plan(intervals=Intervals(poll=9000)))
    story.until_due() << SendHeartbeat
    story.after(30) << AbandonHeartbeat(1)
    story.until_due(most=30) << SendHeartbeat
    assert story.last.generation == 2
    assert story.last.health.heartbeat_errors == 1
    story >> HeartbeatSent(1)
    story.end()


def test_what_was_done_is_told_until_a_heartbeat_has_arrived() -> None:
    """A lost heartbeat must not leave an action open for ever."""
    story = fetched()
    story >> ActionPushed(PendingAction("dance", "a1"))
    story.after(1) << SendHeartbeat
    done = (CompletedAction("a1", "cannot do 'dance': this agent does not know it"),)
    assert story.last.completed_actions == done
    story >> HeartbeatFailed(2, "cannot report: 503")
    story >> ActionPushed(PendingAction("restart", "a2", "p1")) << FetchConfig

    story.until_due() << SendHeartbeat
    missing = "cannot restart pipeline p1: this node does not run it"
    assert story.last.completed_actions == (*done, CompletedAction("a2", missing))
    story >> ActionPushed(PendingAction("fly", "a3"))
    story >> HeartbeatSent(3)

    story.after(1) << SendHeartbeat
    assert [action.action_id for action in story.last.completed_actions] == ["a3"]


def test_an_action_is_done_once_however_often_it_is_told() -> None:
    """It comes pushed, and in every config answer until it is acknowledged."""
    story = fetched()
    action = PendingAction("self_update", "a1")
    story >> ActionPushed(action) >> ActionPushed(action)
    story >> Nudged() << FetchConfig
    story >> ConfigFetched(2, plan(pending_action=action))

    story.after(1) << SendHeartbeat
    assert len(story.last.completed_actions) == 1


def test_a_pushed_poll_interval_replaces_the_poll_interval() -> None:
    """And hurries the poll that was due by the old one."""
    story = fetched()
    story >> PollIntervalPushed(2.0)

    before = story.now
    story.until_due() << FetchConfig
    assert story.now - before <= 2.2


def test_an_agent_that_is_told_to_end_stops_all_children_at_once_and_then_exits() -> None:
    """In parallel: the slowest one alone decides how long it takes."""
    story = Playbook()
    specs = [spec(pipeline_id=id) for id in ("p1", "p2")]
    story >> Booted(enrolled=True, memory=Memory(tuple(specs))) << StartChild << StartChild << FetchConfig

    story >> TerminationRequested() << TerminateChild("p1", 1) << TerminateChild("p2", 1)
    story >> TerminationRequested() >> ChildExited("p2", 1, 0)
    story.end()
    story >> ConfigFetched(1, plan())
    story.end()
    story >> ChildExited("p1", 1, 0) << Exit()
    story >> Ticked()
    story.end()


def come_to_run(story: Playbook, run: int = 1) -> None:
    """Pipeline p1 has been deployed, and its child has stayed up; a heartbeat that says so is under way."""
    story >> ChildLaunched("p1", run, 100, 5001, 5002)
    story.any_more()
    story >> ChildHealthy("p1", run)
    story.wait_for(SendHeartbeat)
    while not story.last.pipelines or story.last.pipelines[0].status != "RUNNING":
        story >> HeartbeatSent(story.last.generation)
        story.wait_for(SendHeartbeat)


def until_next_heartbeat(story: Playbook) -> float:
    """The heartbeat under way arrives; how long the next one is in coming, in seconds."""
    story >> HeartbeatSent(story.last.generation)
    before = story.now
    story.wait_for(SendHeartbeat)
    return story.now - before


@pytest.mark.parametrize(("interval", "least"), [(60.0, 3.0), (600.0, 30.0)])
def test_a_second_heartbeat_follows_soon_after_a_pipeline_has_come_to_run(
    interval: float, least: float
) -> None:
    """So that there are rates; later where the server asks for few heartbeats, and never in step."""
    waits = set()
    for seed in range(20):
        story = Playbook(Agent(15.0, random.Random(seed)))
        story >> Booted(enrolled=True, memory=Memory((spec(),))) << StartChild(spec(), 1) << FetchConfig
        intervals = Intervals(poll=9000, idle_poll=9000, heartbeat=interval, idle_heartbeat=interval)
        story >> ConfigFetched(1, plan(spec(), intervals=intervals))
        story.any_more()
        come_to_run(story)
        story >> HeartbeatFailed(
            story.last.generation, "away"
        )  # it has told nobody: that makes no difference
        story.wait_for(SendHeartbeat)
        wait = until_next_heartbeat(story)
        assert least <= wait <= 2 * least
        waits.add(round(wait / least, 1))
        assert until_next_heartbeat(story) >= 0.9 * interval, "only one more"
    assert len(waits) > 5


def test_a_pipeline_that_keeps_dying_costs_no_more_than_one_second_heartbeat_an_interval() -> None:
    """What comes and goes is told, but the fleet's budget counts on the interval."""
    story = Playbook()
    story >> Booted(enrolled=True, memory=Memory((spec(),))) << StartChild(spec(), 1) << FetchConfig
    story >> ConfigFetched(1, plan(spec(), intervals=Intervals(9000, 9000, 60, 60)))
    story.any_more()
    come_to_run(story)
    assert until_next_heartbeat(story) <= 6
    story >> HeartbeatSent(story.last.generation) >> ChildExited("p1", 1, 1)
    story.any_more()
    story.wait_for(StartChild)
    come_to_run(story, 2)
    assert until_next_heartbeat(story) > 6
