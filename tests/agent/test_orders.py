"""Restarting and updating the whole agent: each action once, in whichever life, and nothing before it is on disk."""

import random

from agent.actions import (
    BeginTrial,
    CloseLink,
    CompletedAction,
    EndTrial,
    Exit,
    ExtendTrial,
    FetchConfig,
    KeepActions,
    OpenLink,
    SendHeartbeat,
    StageUpdate,
    StartChild,
    TerminateChild,
)
from agent.events import (
    ActionPushed,
    Booted,
    ChildExited,
    ChildHealthy,
    ChildLaunched,
    ConfigFetched,
    FetchFailed,
    HeartbeatFailed,
    HeartbeatSent,
    LinkOpened,
    TerminationRequested,
    Ticked,
    TrialBegun,
    TrialEnded,
    UpdateRefused,
    UpdateStaged,
)
from agent.ledger import ActionRecord
from agent.plan import Declined, Intervals, Memory, PendingAction
from agent.state import Agent
from agent.update import Standing, Trial, UpdateTiming, Verdict, Wanted
from tests.agent.playbook import Playbook, plan, spec

DIGEST = "ab" * 32
UPDATE = PendingAction("self_update", "u1", None, "1.3.0", "https://server/agent.pyz", DIGEST)
WANTED = Wanted("u1", "1.3.0", "https://server/agent.pyz", DIGEST)
RESTART = PendingAction("restart", "r1")
TIMING = UpdateTiming(patience=100.0, longest=500.0, retry=50.0, margin=10.0)
TRIAL = Trial("u1", "1.3.0", DIGEST, had_link=True, running=("p1",), timing=TIMING)
STANDING = Standing(version="1.2.0")
URL = "ws://server/api/agent/ws"
RARELY = Intervals(poll=9000, idle_poll=9000, heartbeat=9000, idle_heartbeat=9000)


def running(standing: Standing = STANDING, *records: ActionRecord, linked: bool = True) -> Playbook:
    """An agent with one pipeline that runs, its channel up, which has reported."""
    story = Playbook(Agent(15.0, random.Random(1), update_timing=TIMING))
    story >> Booted(True, Memory((spec(),)), records, standing) << StartChild << FetchConfig
    story >> ChildLaunched("p1", 1, 100, 5001, 5002)
    story.any_more()
    story >> ChildHealthy("p1", 1)
    if linked:
        story >> ConfigFetched(1, plan(spec(), intervals=RARELY, websocket_url=URL)) << OpenLink
        story >> LinkOpened(1)
    story.after(3.0)
    story.any_more()
    return story


def told(story: Playbook) -> list[CompletedAction]:
    """What the next heartbeat says of actions; it arrives."""
    story.wait_for(SendHeartbeat)
    completed = list(story.last.completed_actions)
    story >> HeartbeatSent(story.last.generation)
    return completed


def test_a_restart_stops_the_children_and_begins_anew() -> None:
    """Once, however often it is asked for; until all have ended nothing else is begun."""
    story = running()
    story >> ActionPushed(RESTART) << CloseLink(1) << TerminateChild("p1", 1)
    assert story.records[-1] == ActionRecord("r1", "restart")
    story >> ActionPushed(RESTART) >> ActionPushed(UPDATE)
    story >> ChildExited("p1", 1, 0) << Exit(is_restart=True)
    story.end()


def test_the_next_life_tells_of_the_restart_until_the_server_knows() -> None:
    """And does not do it again, though the server goes on asking."""
    story = running(STANDING, ActionRecord("r1", "restart"))
    story >> ActionPushed(RESTART)
    story.end()
    story.wait_for(SendHeartbeat)
    assert story.last.completed_actions == (CompletedAction("r1"),)
    story >> HeartbeatFailed(story.last.generation, "cannot report: 503")
    assert story.records[-1] == ActionRecord("r1", "restart", done=True)
    assert told(story) == [CompletedAction("r1")]
    assert story.records[-1] == ActionRecord("r1", "restart", done=True, told=True)

    later = running(STANDING, *story.records)
    assert told(later) == []


def test_nothing_is_begun_that_is_not_on_disk() -> None:
    """A full disk would otherwise restart the agent for ever."""
    story = running()
    story.disk_error = "cannot write actions.json: No space left on device"
    story >> ActionPushed(RESTART) >> ActionPushed(UPDATE)
    story.end()
    assert told(story) == [
        CompletedAction("r1", f"cannot restart: {story.disk_error}"),
        CompletedAction("u1", f"cannot update: {story.disk_error}"),
    ]


def test_the_disk_comes_first() -> None:
    """Not in the same breath: what is asked for begins with the answer."""
    story = running()
    actions = story.agent.handle(ActionPushed(RESTART), story.now)
    assert isinstance(actions[-1], KeepActions)
    assert not any(isinstance(action, TerminateChild) for action in actions)


def test_a_restart_that_was_asked_for_tries_again_what_had_failed() -> None:
    """Any other new life goes on declining it."""
    declined = (Declined("p1", "sum-2", 2, "exited with code 1", 1, refused=False),)
    for records, started in ((ActionRecord("r1", "restart"),), 2), ((), 1):
        story = Playbook()
        story >> Booted(True, Memory((spec(1),), declined), records, STANDING) << StartChild << FetchConfig
        story >> ConfigFetched(1, plan(spec(2), intervals=RARELY))
        wants = {type(action).__name__ for action in story.any_more()}
        assert ("ValidateConfiguration" in wants) == (started == 2)


def test_an_update_is_staged_then_tried_in_the_next_life() -> None:
    """What the new agent must be able to do is what the old one does in the moment of leaving."""
    story = running()
    story >> ActionPushed(UPDATE) << StageUpdate(WANTED)
    story.end()
    story >> UpdateStaged("u1") << BeginTrial(TRIAL)
    story.end()
    story >> TrialBegun()
    assert TerminateChild("p1", 1) in story.any_more()
    story >> ChildExited("p1", 1, 0) << Exit(is_restart=True)


def test_an_update_that_cannot_be_had_changes_nothing() -> None:
    """It is told, and the next one may come."""
    story = running()
    story >> ActionPushed(UPDATE) << StageUpdate
    story >> ActionPushed(PendingAction("self_update", "u2", None, "1.3.0", "https://x/", DIGEST))
    story >> ActionPushed(RESTART)
    story >> UpdateRefused("u1", "cannot update: no")
    busy = "an update is under way; ask again when it has ended"
    assert told(story) == [
        CompletedAction("u2", f"cannot update: {busy}"),
        CompletedAction("r1", f"cannot restart: {busy}"),
        CompletedAction("u1", "cannot update: no"),
    ]
    (
        story
        >> ActionPushed(PendingAction("self_update", "u3", None, "1.3.0", "https://x/", DIGEST))
        << StageUpdate
    )


def test_an_agent_that_is_told_to_end_ends_although_it_wanted_to_restart() -> None:
    """SIGTERM wins, before and after; the trial waits for the next start."""
    story = running()
    story >> ActionPushed(RESTART) << CloseLink(1) << TerminateChild("p1", 1)
    story >> TerminationRequested()
    story >> ChildExited("p1", 1, 0) << Exit(is_restart=False)

    story = running()
    story >> ActionPushed(UPDATE) << StageUpdate
    story >> TerminationRequested()
    story.any_more()
    story >> UpdateStaged("u1")
    story.end()


def test_a_trial_ends_well_and_the_new_agent_tells_of_it() -> None:
    """Accepted once everything is as it was."""
    story = Playbook(Agent(15.0, random.Random(1)))
    standing = Standing(version="1.3.0", trial=TRIAL)
    story >> Booted(True, Memory((spec(),)), (ActionRecord("u1", "self_update"),), standing)
    story << StartChild << FetchConfig
    story >> ConfigFetched(1, plan(spec(), intervals=RARELY, websocket_url=URL)) << OpenLink
    story >> LinkOpened(1) >> ChildLaunched("p1", 1, 100, 5001, 5002)
    story.any_more()
    story >> ChildHealthy("p1", 1)
    story.wait_for(SendHeartbeat)
    assert story.last.completed_actions == ()
    assert story.last.is_on_trial
    story >> HeartbeatSent(story.last.generation)
    story.wait_for(EndTrial)
    assert story.last.verdict == Verdict()
    story.any_more()
    story >> ActionPushed(RESTART)
    story >> TrialEnded(Verdict())
    assert CompletedAction("u1") in told(story)
    assert not story.last.is_on_trial


def test_an_acceptance_that_cannot_be_written_is_tried_again() -> None:
    """Until it is on disk the starter will go back."""
    story = running(Standing(version="1.3.0", trial=TRIAL), ActionRecord("u1", "self_update"))
    story.wait_for(EndTrial)
    story.any_more()
    before = story.now
    story >> TrialEnded(Verdict(), "cannot write update: No space left on device")
    story.wait_for(EndTrial)
    assert story.now == before + 10.0


def test_a_trial_that_fails_gives_way_to_the_old_agent() -> None:
    """Children are stopped in order, whether or not the verdict could be written."""
    for error in (None, "cannot write update: No space left on device"):
        story = running(Standing(version="1.3.0", trial=TRIAL), linked=False)
        story >> FetchFailed(1, "cannot fetch: 404", answered=True)
        story.wait_for(EndTrial)
        verdict = story.last.verdict
        assert verdict.reason is not None
        assert not verdict.server_is_away
        story.any_more()
        story >> TrialEnded(verdict, error)
        assert TerminateChild("p1", 1) in story.any_more()
        story >> ChildExited("p1", 1, 0) << Exit(is_restart=True)


def test_a_trial_without_the_server_asks_for_time_and_is_put_off() -> None:
    """Fetches and heartbeats that reach nobody speak neither for it nor against it."""
    story = running(Standing(version="1.3.0", trial=TRIAL), linked=False)
    began, extended = story.now - 3.0, False
    while not isinstance(story.last, EndTrial):
        story >> Ticked()
        for action in story.any_more() or story.until_due().any_more():
            if isinstance(action, FetchConfig):
                story >> FetchFailed(action.generation, "cannot fetch: refused")
            elif isinstance(action, SendHeartbeat):
                story >> HeartbeatFailed(action.generation, "cannot report: refused")
            elif isinstance(action, ExtendTrial):
                extended = True
                assert action.seconds == 610.0
                assert story.now - began >= 100
            elif isinstance(action, EndTrial):
                story.last = action
    assert extended
    assert story.last.verdict.server_is_away
    assert story.now - began >= 500


def test_a_trial_that_was_put_off_is_begun_again_once_the_server_has_answered() -> None:
    """By the old agent, with what it does now; the action stays open."""
    story = running(Standing(version="1.2.0", retry=TRIAL), ActionRecord("u1", "self_update"))
    assert told(story) == []
    before = story.now
    story.wait_for(BeginTrial)
    assert story.last == BeginTrial(TRIAL)
    assert 25.0 <= story.now - before <= 50.0


def test_what_became_of_an_update_is_told_by_the_life_after() -> None:
    """Given up, accepted by a life that ended before it could say so, or cut off."""
    records = (ActionRecord("u1", "self_update"),)
    failed = Standing(version="1.2.0", last_action_id="u1", last_error="went back from 1.3.0: it ended")
    assert told(running(failed, *records)) == [CompletedAction("u1", "went back from 1.3.0: it ended")]
    accepted = Standing(version="1.3.0", last_action_id="u1")
    assert told(running(accepted, *records)) == [CompletedAction("u1")]
    cut_off = "the agent ended before the update was ready to be tried"
    assert told(running(STANDING, *records)) == [CompletedAction("u1", cut_off)]


def test_so_many_actions_are_remembered() -> None:
    """The oldest is forgotten, and what is kept stays bounded."""
    story = running()
    for number in range(300):
        story >> ActionPushed(PendingAction("dance", f"a{number}"))
        story.any_more()
    assert len(story.records) == 256
    assert story.records[-1].action_id == "a299"
