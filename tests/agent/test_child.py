import random
from collections.abc import Callable

import pytest

from agent.actions import Action, KillChild, ProbeChild, StartChild, TerminateChild
from agent.child import ARROWS, Child, ChildState, Happening, Timing
from tests.agent.playbook import spec

S, H = ChildState, Happening
TIMING = Timing()


def stopped() -> Child:
    return Child("p1", TIMING, random.Random(1))


def starting() -> Child:
    child = stopped()
    child.start(spec(), 0.0)
    child.launched(1, 4711, 1, 2, 0.0)
    return child


def running() -> Child:
    child = starting()
    child.healthy(1, TIMING.settle)
    return child


def terminating() -> Child:
    child = running()
    child.stop(10.0)
    return child


def killing() -> Child:
    child = terminating()
    child.tick(10.0 + TIMING.grace)
    return child


def in_backoff() -> Child:
    child = running()
    child.exited(1, 10.0, is_crash=True)
    return child


ENTER: dict[ChildState, Callable[[], Child]] = {
    S.STOPPED: stopped,
    S.STARTING: starting,
    S.RUNNING: running,
    S.TERMINATING: terminating,
    S.KILLING: killing,
    S.BACKOFF: in_backoff,
}


def happen(child: Child, happening: Happening) -> list[Action]:
    """What the supervisor does when it has come to this."""
    late = 10_000.0
    match happening:
        case H.START:
            return child.start(spec(2), late)
        case H.STOP:
            return child.stop(late)
        case H.EXITED:
            child.exited(child.run, late, is_crash=True)
        case H.SETTLED:
            child.healthy(child.run, late)
        case H.GRACE_ELAPSED:
            return child.tick(late)
    return []


@pytest.mark.parametrize("state", S)
def test_every_state_can_be_entered(state: ChildState) -> None:
    """The table has no state that nothing leads to."""
    assert ENTER[state]().state is state


@pytest.mark.parametrize(("before", "happening"), ARROWS)
def test_every_arrow_leads_where_the_table_says(before: ChildState, happening: Happening) -> None:
    """Each line of the table is reachable through the methods, and ends where it says."""
    child = ENTER[before]()

    happen(child, happening)

    assert child.state is ARROWS[before, happening]


@pytest.mark.parametrize("state", S)
def test_every_state_can_be_left(state: ChildState) -> None:
    """Nothing gets stuck: each state has an arrow that leads elsewhere."""
    assert any(before is state and after is not state for (before, _), after in ARROWS.items())


@pytest.mark.parametrize("state", [S.STARTING, S.RUNNING, S.TERMINATING, S.KILLING])
def test_a_second_process_is_never_started_beside_the_first(state: ChildState) -> None:
    """Two Vectors on one data folder would spoil each other's checkpoints."""
    child = ENTER[state]()

    with pytest.raises(AssertionError, match="no arrow start"):
        child.start(spec(2), 20.0)


def test_it_counts_as_running_only_once_it_has_stayed_up_and_is_well() -> None:
    """Health alone is not enough, and time alone is not enough."""
    child = stopped()
    assert child.start(spec(), 0.0) == [StartChild(spec(), 1)]
    assert child.launched(1, 4711, 8080, 9090, 0.5) == [ProbeChild("p1", 1, 8080)]

    child.tick(0.5 + TIMING.settle + 1)
    assert child.state is S.STARTING, "not healthy yet"

    child.healthy(1, 4.0)
    assert child.state is S.RUNNING

    early = starting()
    early.healthy(1, 0.1)
    early.tick(TIMING.settle - 0.1)
    assert early.state is S.STARTING, "not up for long enough"
    early.tick(TIMING.settle)
    assert early.state is S.RUNNING


def test_one_that_never_says_that_it_is_well_is_stopped() -> None:
    """A child that hangs in its start is a failed one."""
    child = starting()

    assert child.tick(TIMING.health) == [TerminateChild("p1", 1)]
    assert child.never_healthy


def test_news_of_an_earlier_run_changes_nothing() -> None:
    """The exit of the last process, told late, must not be taken for the exit of this one."""
    child = in_backoff()
    child.start(spec(2), 100.0)

    assert not child.exited(1, 101.0, is_crash=True)
    child.healthy(1, 200.0)
    assert child.launched(1, 4711, 1, 2, 101.0) == []
    assert child.state is S.STARTING


def test_sigkill_follows_sigterm_after_the_grace_and_not_before() -> None:
    """Vector gets 30 s to flush."""
    child = terminating()

    assert child.tick(10.0 + TIMING.grace - 0.1) == []
    assert child.tick(10.0 + TIMING.grace) == [KillChild("p1", 1)]


def test_crashes_back_off_are_named_a_loop_and_forgiven() -> None:
    """1 s doubling to 60 s; three in a row are a loop; a stable minute wipes the slate."""
    child, now = running(), 10.0
    for number, span in enumerate((1, 2, 4, 8, 16, 32, 60, 60), start=1):
        child.exited(child.run, now, is_crash=True)
        assert child.is_crash_loop == (number >= 3)
        assert span / 2 <= child.next_deadline() - now <= span
        assert not child.may_start(now)
        now = child.next_deadline()
        assert child.may_start(now)
        child.start(spec(), now)
        child.launched(child.run, 4711, 1, 2, now)
        child.healthy(child.run, now + TIMING.settle)
        now += TIMING.settle

    child.tick(now + TIMING.forgive)

    assert not child.is_crash_loop


def test_a_stopped_one_waits_for_nothing() -> None:
    """Being stopped while it backs off ends the waiting."""
    child = in_backoff()

    assert child.stop(10.1) == []
    assert child.next_deadline() == float("inf")
    assert child.spec is None
