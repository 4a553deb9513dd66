import random
from dataclasses import replace
from typing import Any

import pytest

from agent.actions import (
    Action,
    CompletedAction,
    PipelineReport,
    ProbeChild,
    RemoveCertificates,
    RemovePipelineFiles,
    SavePlan,
    StartChild,
    TerminateChild,
    ValidateConfiguration,
)
from agent.child import Timing
from agent.events import (
    ChildExited,
    ChildHealthy,
    ChildLaunched,
    ConfigurationRefused,
    ConfigurationValidated,
    Ticked,
    ValidationFailed,
)
from agent.plan import CertFile, Declined, Memory, PendingAction, PipelineSpec, Plan
from agent.supervisor import Supervisor
from tests.agent.playbook import Playbook, plan, spec

V1, V2 = spec(1), spec(2)


class Supervised:
    """A supervisor that takes plans and restarts as if they were events."""

    def __init__(self) -> None:
        self.supervisor = Supervisor(Timing(), random.Random(1))

    def handle(self, event: Any, now: float) -> list[Action]:
        match event:
            case Ticked():
                return self.supervisor.tick(now)
            case Plan():
                return self.supervisor.apply(event, now)
            case PendingAction():
                return self.supervisor.restart(event, now)
        return self.supervisor.handle(event, now)

    def next_deadline(self) -> float:
        return self.supervisor.next_deadline()


class Story(Playbook):
    """A conversation with a supervisor."""

    def __init__(self) -> None:
        self.supervised = Supervised()
        super().__init__(self.supervised)  # type: ignore[arg-type]

    @property
    def supervisor(self) -> Supervisor:
        return self.supervised.supervisor

    def report(self, pipeline_id: str = "p1") -> PipelineReport:
        reports = {r.pipeline_id: r for r in self.supervisor.reports(self.now)}
        return reports[pipeline_id]

    def come_to_run(self, run: int, pipeline_id: str = "p1") -> "Story":
        """A started child gets a process, stays up, and is well."""
        self >> ChildLaunched(pipeline_id, run, 1000 + run, 8000, 9000) << ProbeChild
        self >> ChildHealthy(pipeline_id, run)
        self.after(2.0)
        return self


def running(version: PipelineSpec = V1, revision: str = "r1") -> Story:
    """One pipeline that was deployed, validated and started, and has come to run."""
    story = Story()
    story >> plan(version, revision=revision) << ValidateConfiguration(version)
    story >> ConfigurationValidated("p1", version.checksum) << StartChild(version, 1)
    story.come_to_run(1) << SavePlan(Memory((version,), ()))
    return story


def gone_back(story: Story, lines: str = "boom") -> Story:
    """Version 2 was deployed, died early, and version 1 has come to run again."""
    story >> plan(V2, revision="r2") << ValidateConfiguration(V2)
    story >> ConfigurationValidated("p1", V2.checksum) << TerminateChild("p1", 1)
    story >> ChildExited("p1", 1, 0) << StartChild(V2, 2)
    story >> ChildLaunched("p1", 2, 1, 1, 1) << ProbeChild
    story >> ChildExited("p1", 2, 1, lines) << StartChild(V1, 3) << SavePlan
    story.come_to_run(3)
    return story


def test_a_new_pipeline_is_validated_started_and_running_once_it_has_stayed_up() -> None:
    """*Running* is said only when it is so, and only then is the revision reported."""
    story = Story()
    story >> plan(V1) << ValidateConfiguration(V1)
    assert story.report().status == "STARTING"
    story >> ConfigurationValidated("p1", V1.checksum) << StartChild(V1, 1)
    story >> ChildLaunched("p1", 1, 4711, 8000, 9000) << ProbeChild("p1", 1, 8000)
    story >> ChildHealthy("p1", 1)
    assert story.report().status == "STARTING"
    assert story.supervisor.running_revision() is None
    assert story.supervisor.tried_revision() is None

    story.after(2.0) << SavePlan(Memory((V1,), ()))

    report = story.report()
    assert (report.status, report.version, report.pid, report.metrics_port) == ("RUNNING", 1, 4711, 9000)
    assert story.supervisor.running_revision() == "r1"
    assert story.supervisor.tried_revision() is None
    story.end()


def test_the_old_child_runs_until_the_new_configuration_is_validated() -> None:
    """A configuration that Vector refuses must not cost the node the one that runs."""
    story = running()

    story >> plan(V2, revision="r2") << ValidateConfiguration(V2)
    story.after(25.0)
    assert (story.report().status, story.report().version) == ("RUNNING", 1)
    story >> ConfigurationValidated("p1", V2.checksum) << TerminateChild("p1", 1)
    story >> ChildExited("p1", 1, 0) << StartChild(V2, 2)
    story.come_to_run(2) << SavePlan(Memory((V2,), ()))
    assert story.supervisor.running_revision() == "r2"
    story.end()


def test_a_refused_configuration_leaves_the_old_one_running_and_is_not_asked_about_again() -> None:
    """Only another checksum can help; the page shows what was refused, and why."""
    story = running()
    story >> plan(V2, revision="r2") << ValidateConfiguration(V2)
    story >> ConfigurationRefused("p1", V2.checksum, "unknown input")

    report = story.report()
    assert (report.status, report.version, report.pid) == ("RUNNING", 1, 1001)
    assert (report.failed_version, report.failed_checksum, report.error) == (2, "sum-2", "unknown input")
    assert story.supervisor.running_revision() is None
    assert story.supervisor.tried_revision() == "r2"
    story >> plan(V2, revision="r2")
    story.after(7200)
    story >> plan(replace(V2, version=3), revision="r3")
    assert story.report().failed_version == 3
    story >> plan(spec(4), revision="r4") << ValidateConfiguration(spec(4))
    story.end()


def test_a_refused_first_configuration_is_failed() -> None:
    """There is nothing to go back to, and nothing runs."""
    story = Story()
    story >> plan(V1) << ValidateConfiguration
    story >> ConfigurationRefused("p1", V1.checksum, "no sinks")

    report = story.report()
    assert (report.status, report.version, report.pid, report.error) == ("FAILED", 1, None, "no sinks")
    assert report.failed_version == 1
    assert story.supervisor.tried_revision() == "r1"


def test_validation_without_a_verdict_is_asked_again_and_stops_nothing() -> None:
    """A Vector that is being upgraded just now is no reason to decline a configuration."""
    story = running()
    story >> plan(V2) << ValidateConfiguration
    for _ in range(10):
        story >> ValidationFailed("p1", V2.checksum, "cannot ask Vector")
        assert (story.report().status, story.report().error) == ("RUNNING", "cannot ask Vector")
        story.until_due(most=60) << ValidateConfiguration(V2)

    story >> ConfigurationValidated("p1", V2.checksum) << TerminateChild
    story.end()


def test_what_dies_while_nobody_can_tell_about_its_successor_comes_back() -> None:
    """A Vector that hangs in `validate`, or a disk too full to ask it, must not leave the node with nothing."""
    story = running()
    story >> plan(V2, revision="r2") << ValidateConfiguration(V2)
    story >> ChildExited("p1", 1, -9) << SavePlan
    story.until_due(most=1) << StartChild(V1, 2)
    story.come_to_run(2)
    story >> ValidationFailed("p1", V2.checksum, "cannot ask Vector: no space left on device")
    story >> ChildExited("p1", 2, -9) << SavePlan
    story.wait_for(StartChild)
    assert story.last == StartChild(V1, 3)
    story.any_more(ValidateConfiguration)
    story.come_to_run(3)
    story >> ConfigurationValidated("p1", V2.checksum) << TerminateChild("p1", 3)
    story >> ChildExited("p1", 3, 0) << StartChild(V2, 4)


def test_an_early_death_goes_back_to_the_last_good_configuration_and_tells_both() -> None:
    """*Failed, running the previous version*: what runs, and beside it what was tried and its last words."""
    story = gone_back(running(), "ERROR cannot bind")

    report = story.report()
    assert (report.status, report.version, report.checksum) == ("RUNNING", 1, "sum-1")
    assert (report.failed_version, report.failed_checksum) == (2, "sum-2")
    assert report.error == "Vector exited with code 1\nERROR cannot bind"
    assert story.supervisor.running_revision() is None
    assert story.supervisor.tried_revision() == "r2"


def test_what_died_early_is_tried_again_after_5_15_and_60_minutes() -> None:
    """The fault may have been a passing one: a sink that was down for two minutes at deploy time."""
    story, run = gone_back(running()), 3
    shares = set()
    for minutes in (5, 15, 60, 60):
        story.after(60.0)
        before = story.now - 62
        story.until_due(most=5000) << ValidateConfiguration(V2)
        waited = (story.now - before) / 60
        assert minutes <= waited <= minutes * 1.2 + 0.1
        shares.add(round(waited / minutes, 2))
        story >> ConfigurationValidated("p1", V2.checksum) << TerminateChild
        story >> ChildExited("p1", run, 0) << StartChild(V2, run + 1)
        story >> ChildLaunched("p1", run + 1, 1, 1, 1) << ProbeChild
        story >> ChildExited("p1", run + 1, 1) << StartChild(V1, run + 2) << SavePlan
        run += 2
        story.come_to_run(run)
        assert story.report().status == "RUNNING"
    assert len(shares) > 1, "with jitter: a fleet that failed together does not try again together"


def test_what_was_declined_and_then_runs_is_no_longer_declined() -> None:
    """The second try succeeded: nothing is left of the failure."""
    story = gone_back(running())
    story.after(60.0)
    story.until_due() << ValidateConfiguration(V2)
    story >> ConfigurationValidated("p1", V2.checksum) << TerminateChild
    story >> ChildExited("p1", 3, 0) << StartChild(V2, 4)
    story.come_to_run(4) << SavePlan(Memory((V2,), ()))

    report = story.report()
    assert (report.version, report.failed_version, report.error) == (2, None, None)
    assert story.supervisor.running_revision() == "r2"


def test_a_declined_checksum_is_not_tried_at_every_poll() -> None:
    """The server goes on listing it; its answer is shared by many nodes."""
    story = gone_back(running())

    for _ in range(5):
        story >> plan(V2, revision="r2")
        story.after(20)
    story.end()
    assert story.report().version == 1


def test_a_first_configuration_that_keeps_dying_backs_off_and_is_called_a_crash_loop() -> None:
    """With nothing to go back to it is tried again, ever more rarely, and nudging is of no use."""
    story = Story()
    story >> plan(V1) << ValidateConfiguration
    story >> ConfigurationValidated("p1", V1.checksum) << StartChild
    statuses, waits = [], []
    for run in range(1, 10):
        story >> ChildLaunched("p1", run, 1, 1, 1) << ProbeChild
        story >> ChildExited("p1", run, 101, "panicked")
        story.any_more(SavePlan)
        statuses.append(story.report().status)
        before = story.now
        story.until_due(most=60) << StartChild(V1, run + 1)
        waits.append(story.now - before)

    assert statuses[:4] == ["CRASHED", "CRASHED", "CRASH_LOOP", "CRASH_LOOP"]
    assert story.report().status == "CRASH_LOOP", "while it starts once more"
    assert story.report().error == "Vector exited with code 101\npanicked"
    assert waits[0] <= 1
    assert min(waits[-2:]) >= 30
    assert story.supervisor.tried_revision() == "r1"
    story.come_to_run(10)
    assert (story.report().status, story.report().error) == ("RUNNING", None)


def test_a_running_child_that_dies_is_started_again() -> None:
    """It has proved good; its death is a crash, not a failed deploy."""
    story = running()
    story >> ChildExited("p1", 1, -9) << SavePlan(Memory((V1,), (), crashes=(("p1", 1),)))
    assert story.report().status == "CRASHED"
    assert story.report().error == "Vector was ended by signal 9"
    assert story.supervisor.tried_revision() == "r1", "not behind: nudging would not help"

    story.until_due(most=1) << StartChild(V1, 2)
    story.come_to_run(2)
    assert story.supervisor.running_revision() == "r1"


def test_a_child_that_never_gets_healthy_counts_as_an_early_death() -> None:
    """A configuration that hangs in its start is no better than one that dies."""
    story = running()
    story >> plan(V2, revision="r2") << ValidateConfiguration
    story >> ConfigurationValidated("p1", V2.checksum) << TerminateChild
    story >> ChildExited("p1", 1, 0) << StartChild(V2, 2)
    story >> ChildLaunched("p1", 2, 1, 1, 1) << ProbeChild

    story.after(60) << TerminateChild("p1", 2)
    story >> ChildExited("p1", 2, 0) << StartChild(V1, 3) << SavePlan
    assert story.report().error == "Vector did not become healthy in time"


def test_a_snatched_port_is_no_failure_of_the_configuration() -> None:
    """Free ports are chosen, not kept; somebody else may be quicker. Three times, then it is a crash."""
    story = Story()
    story >> plan(V1) << ValidateConfiguration
    story >> ConfigurationValidated("p1", V1.checksum) << StartChild
    for run in (1, 2, 3):
        story >> ChildLaunched("p1", run, 1, 1, 1) << ProbeChild
        story >> ChildExited("p1", run, 1, "address in use", port_taken=True) << StartChild(V1, run + 1)
    story >> ChildLaunched("p1", 4, 1, 1, 1) << ProbeChild
    story >> ChildExited("p1", 4, 1, "address in use", port_taken=True)
    story.any_more(SavePlan)
    assert story.report().status == "CRASHED"


def test_the_same_checksum_with_another_version_restarts_nothing() -> None:
    """An identical redeploy makes a new version; only the report changes, and what is on disk."""
    story = running()
    relabelled = replace(V1, version=2)

    story >> plan(relabelled, revision="r2") << SavePlan(Memory((relabelled,), ()))
    story.end()
    assert (story.report().version, story.report().pid) == (2, 1001)
    assert story.supervisor.running_revision() == "r2"


def test_a_pipeline_that_is_absent_from_the_answer_is_stopped_and_forgotten() -> None:
    """And only then does the node run the new revision."""
    story = running()
    story >> plan(revision="r2") << TerminateChild("p1", 1) << SavePlan(Memory((), ()))
    assert story.supervisor.running_revision() is None
    assert story.report().status == "RUNNING", "it still does"

    story >> ChildExited("p1", 1, 0) << RemovePipelineFiles("p1")
    assert story.supervisor.reports(story.now) == ()
    assert story.supervisor.running_revision() == "r2"


def test_a_pipeline_wanted_again_while_it_stops_is_started_again() -> None:
    """Undeploy and deploy in quick succession: never two at once, and one in the end."""
    story = running()
    story >> plan() << TerminateChild << SavePlan
    story >> plan(V1, revision="r3") << SavePlan
    story >> ChildExited("p1", 1, 0) << StartChild(V1, 2)
    story.come_to_run(2)
    assert story.supervisor.running_revision() == "r3"


def test_a_change_of_mind_during_a_stop_starts_only_the_last_wish() -> None:
    """Three deploys in a row while Vector flushes for its 30 s."""
    story = running()
    story >> plan(V2) << ValidateConfiguration(V2)
    story >> ConfigurationValidated("p1", V2.checksum) << TerminateChild
    story >> plan(spec(3), revision="r3") << ValidateConfiguration(spec(3))
    story >> ConfigurationValidated("p1", "sum-3")

    story >> ChildExited("p1", 1, 0) << StartChild(spec(3), 2)
    story.end()


def test_one_pipeline_in_trouble_holds_up_no_other() -> None:
    """A child that ignores SIGTERM, one that crashes and one that is refused; the fourth just starts."""
    story = running()
    others = [spec(1, pipeline_id=id, checksum=f"sum-{id}") for id in ("p2", "p3", "p4")]
    story >> plan(*others) << TerminateChild("p1", 1)
    story.any_more(ValidateConfiguration, SavePlan)
    story >> ConfigurationRefused("p2", "sum-p2", "no")
    story >> ConfigurationValidated("p3", "sum-p3") << StartChild
    story >> ChildLaunched("p3", 1, 1, 1, 1) << ProbeChild
    story >> ChildExited("p3", 1, 1)
    story.any_more(SavePlan)
    story >> ConfigurationValidated("p4", "sum-p4") << StartChild(others[2], 1)
    story >> ChildLaunched("p4", 1, 1, 1, 1) << ProbeChild
    story >> ChildHealthy("p4", 1)
    story.after(2)
    story.any_more(SavePlan, StartChild)

    assert story.report("p4").status == "RUNNING"
    assert [story.report(id).status for id in ("p1", "p2")] == ["RUNNING", "FAILED"]
    assert story.report("p3").error == "Vector exited with code 1"


def test_a_held_pipeline_goes_on_as_it_is() -> None:
    """Its entry lacks its secrets: it must never be started from, nor stop what runs."""
    secret = replace(V1, secrets={"VF_SECRET_A": "x"})
    story = running(secret)
    story >> plan(V1, held=frozenset({"p1"}), revision="r1h")
    story.end()
    assert story.supervisor.running_revision() == "r1h"

    story >> ChildExited("p1", 1, 1) << SavePlan
    story.until_due() << StartChild(secret, 2)


def test_a_held_pipeline_that_never_ran_here_is_pending() -> None:
    """With the reason, and without being started."""
    story = Story()
    story >> plan(V1, held=frozenset({"p1"}))
    story.end()
    assert story.report().status == "PENDING"
    assert "held by the server" in (story.report().error or "")
    assert story.supervisor.tried_revision() == "r1"

    story >> plan(V1) << ValidateConfiguration(V1)


def test_a_hold_with_another_version_keeps_the_one_that_runs() -> None:
    """Whatever the entry repeats, a held pipeline is not changed."""
    story = running()
    story >> plan(V2, held=frozenset({"p1"}), revision="r2")
    story.end()
    assert (story.report().status, story.report().version) == ("RUNNING", 1)
    assert story.supervisor.running_revision() is None
    assert story.supervisor.tried_revision() == "r2"


def test_a_restart_is_told_as_done_once_the_child_runs_again() -> None:
    """Told too early it would be a lie, told never it would be repeated."""
    story = running()
    story >> PendingAction("restart", "a1", "p1") << TerminateChild("p1", 1)
    story >> ChildExited("p1", 1, 0) << StartChild(V1, 2)
    assert story.supervisor.take_completed() == []
    story.come_to_run(2)

    assert story.supervisor.take_completed() == [CompletedAction("a1")]
    assert story.supervisor.take_completed() == []


def test_a_held_pipeline_is_restarted_once() -> None:
    """With what it ran, since its entry lacks the secrets."""
    story = running()
    story >> plan(replace(V1, version=1), held=frozenset({"p1"}), revision="r1h")
    story >> PendingAction("restart", "a1", "p1") << TerminateChild("p1", 1)
    story >> ChildExited("p1", 1, 0) << StartChild(V1, 2)
    story.come_to_run(2)
    story.end()
    assert story.supervisor.take_completed() == [CompletedAction("a1")]


def test_a_restart_that_fails_is_told_with_its_error() -> None:
    """The operator who pressed the button hears why."""
    story = running()
    story >> PendingAction("restart", "a1", "p1") << TerminateChild("p1", 1)
    story >> ChildExited("p1", 1, 0) << StartChild(V1, 2)
    story >> ChildLaunched("p1", 2, 1, 1, 1) << ProbeChild
    story >> ChildExited("p1", 2, 1, "no disk")

    assert story.supervisor.take_completed() == [CompletedAction("a1", "Vector exited with code 1\nno disk")]


def test_a_restart_tries_again_what_was_declined() -> None:
    """*Retry* on the page: the operator knows that the fault has passed."""
    story = gone_back(running())
    story >> PendingAction("restart", "a1", "p1") << ValidateConfiguration(V2) << SavePlan
    story >> ConfigurationValidated("p1", V2.checksum) << TerminateChild
    story >> ChildExited("p1", 3, 0) << StartChild(V2, 4)
    story.come_to_run(4) << SavePlan
    assert story.supervisor.take_completed() == [CompletedAction("a1")]


def test_a_restart_of_what_is_not_here_is_an_error() -> None:
    """A pipeline that was undeployed meanwhile."""
    story = Story()
    story >> PendingAction("restart", "a1", "p9")
    (done,) = story.supervisor.take_completed()
    assert done.error == "cannot restart pipeline p9: this node does not run it"


def test_memory_is_run_before_the_server_is_asked_and_keeps_declining() -> None:
    """A boot must not repeat a deploy that failed a minute ago."""
    story = Story()
    declined = Declined("p1", V2.checksum, 2, "boom", 1, False)
    assert StartChild(V1, 1) in story.supervisor.remember(Memory((V1,), (declined,)), story.now)
    story.come_to_run(1)

    story >> plan(V2, revision="r2")
    story.end()
    assert (story.report().version, story.report().failed_version) == (1, 2)
    story.after(299)
    story.until_due(most=70) << ValidateConfiguration(V2)


def test_a_new_life_of_the_agent_does_not_hurry_what_kept_crashing() -> None:
    """The backoff goes on where it was: an agent that is restarted must not start it at once each time."""
    story = running()
    for run in range(1, 7):
        story >> ChildExited("p1", run, 1) << SavePlan
        story.until_due() << StartChild(V1, run + 1)
        story >> ChildLaunched("p1", run + 1, 1, 1, 1) << ProbeChild
    memory = story.supervisor._saved
    assert memory.crashes == (("p1", 6),)

    story = Story()
    assert story.supervisor.remember(memory, story.now) == []
    assert story.report().status == "CRASH_LOOP"
    before = story.now
    story.until_due() << StartChild(V1, 1)
    assert 16 <= story.now - before <= 32, "half to all of 2 ** 5 seconds"
    story.come_to_run(1)
    story.after(60) << SavePlan(Memory((V1,), ()))


def test_an_operator_need_not_wait_for_what_an_earlier_life_remembers() -> None:
    """*Retry* on the page starts it at once."""
    story = Story()
    story.supervisor.remember(Memory((V1,), (), crashes=(("p1", 8),)), story.now)
    story >> plan(V1)
    story >> PendingAction("restart", "a1", "p1") << StartChild(V1, 1)


def test_what_crashed_says_nothing_about_what_replaces_it() -> None:
    """A crash loop that a deploy has mended is no crash loop any more, however soon the deploy came."""
    story = running()
    for run in (1, 2, 3):
        story >> ChildExited("p1", run, 1) << SavePlan
        story.until_due() << StartChild(V1, run + 1)
        story.come_to_run(run + 1)
    story >> plan(V2, revision="r2") << ValidateConfiguration(V2)
    story >> ConfigurationValidated("p1", V2.checksum) << TerminateChild("p1", 4)
    story >> ChildExited("p1", 4, 0) << StartChild(V2, 5) << SavePlan
    assert story.report().status == "STARTING"


def test_what_never_ran_is_no_place_to_go_back_to_in_a_new_life_either() -> None:
    """It is validated again and backs off as before; the one that replaces it backs off, too."""
    story = Story()
    story >> plan(V1) << ValidateConfiguration
    story >> ConfigurationValidated("p1", V1.checksum) << StartChild(V1, 1)
    story >> ChildLaunched("p1", 1, 1, 1, 1) << ProbeChild
    story >> ChildExited("p1", 1, 1) << SavePlan
    memory = story.last.memory
    assert memory == Memory((V1,), (), unproved=("p1",), crashes=(("p1", 1),))

    story = Story()
    assert story.supervisor.remember(memory, story.now) == [ValidateConfiguration(V1)]
    story >> ConfigurationValidated("p1", V1.checksum)
    story.until_due() << StartChild(V1, 1)
    story >> plan(V2, revision="r2") << ValidateConfiguration(V2)
    story >> ConfigurationValidated("p1", V2.checksum) << TerminateChild("p1", 1)
    story >> ChildExited("p1", 1, 0) << StartChild(V2, 2) << SavePlan
    story >> ChildExited("p1", 2, 1) << SavePlan
    assert story.report().status == "CRASHED"
    story.until_due(most=1) << StartChild(V2, 3)


def test_a_retry_that_is_refused_leaves_what_runs_untouched() -> None:
    """*Retry* asks for the new version once more; the old one must not pay for the answer."""
    story = running()
    story >> plan(V2, revision="r2") << ValidateConfiguration(V2)
    story >> ConfigurationRefused("p1", V2.checksum, "no such sink")
    story >> PendingAction("restart", "a1", "p1") << ValidateConfiguration(V2)
    story >> ConfigurationRefused("p1", V2.checksum, "still no such sink")

    story.end()
    assert (story.report().status, story.report().pid) == ("RUNNING", 1001)
    assert story.supervisor.take_completed() == [CompletedAction("a1", "still no such sink")]


def test_certificates_go_once_nothing_needs_them() -> None:
    """Private keys must not lie about for ever; what may still be gone back to keeps its own."""
    old = replace(V1, cert_files=(CertFile("old.pem", ""), CertFile("both.pem", "")))
    new = replace(V2, cert_files=(CertFile("new.pem", ""), CertFile("both.pem", "")))
    story = running(old)
    story >> plan(new, revision="r2") << ValidateConfiguration
    story >> ConfigurationValidated("p1", new.checksum) << TerminateChild
    story >> ChildExited("p1", 1, 0) << StartChild(new, 2)
    story.come_to_run(2) << SavePlan << RemoveCertificates(("old.pem",))

    story >> plan(revision="r3") << TerminateChild << SavePlan
    (
        story
        >> ChildExited("p1", 2, 0)
        << RemovePipelineFiles("p1")
        << RemoveCertificates(("both.pem", "new.pem"))
    )


def test_the_plan_on_disk_is_what_is_good_not_what_was_last_asked_for() -> None:
    """A node that boots alone must come up with what is known to work."""
    story = running()
    story >> plan(V2) << ValidateConfiguration
    story >> ConfigurationValidated("p1", V2.checksum) << TerminateChild
    story >> ChildExited("p1", 1, 0) << StartChild(V2, 2)
    story.end()
    story.come_to_run(2) << SavePlan(Memory((V2,), ()))


def test_stopping_all_ends_every_child_and_keeps_what_is_on_disk() -> None:
    """The next boot runs it again."""
    story = running()
    assert not story.supervisor.is_idle()
    assert TerminateChild("p1", 1) in story.supervisor.stop_all(story.now)
    story >> ChildExited("p1", 1, 0)
    story.end()
    assert story.supervisor.is_idle()


@pytest.mark.parametrize("seed", range(60))
def test_whatever_happens_each_step_is_one_that_may_be_taken(seed: int) -> None:
    """Random histories: no arrow that does not exist, no two processes of one pipeline, no empty deadline."""
    story, chance = Story(), random.Random(seed)
    launched: dict[str, int] = {}
    story.now = 0.0
    for _ in range(400):
        for start in (action for action in story.any_more() if isinstance(action, StartChild)):
            assert start.spec.pipeline_id not in launched, "a second process beside the first"
            launched[start.spec.pipeline_id] = start.run
        id = chance.choice(["p1", "p2"])
        run = launched.get(id)
        match chance.randrange(9):
            case 0:
                wanted = [
                    spec(chance.randrange(1, 4), pipeline_id=i) for i in ("p1", "p2") if chance.random() < 0.8
                ]
                held = frozenset(i for i in ("p1", "p2") if chance.random() < 0.2)
                story >> plan(*wanted, held=held, revision=str(chance.random()))
            case 1:
                story >> ConfigurationValidated(id, f"sum-{chance.randrange(1, 4)}")
            case 2:
                story >> ConfigurationRefused(id, f"sum-{chance.randrange(1, 4)}", "no")
            case 3:
                story >> ValidationFailed(id, f"sum-{chance.randrange(1, 4)}", "cannot ask")
            case 4 if run is not None:
                story >> ChildLaunched(id, run, 1, 1, 1)
            case 5 if run is not None:
                story >> ChildHealthy(id, run)
            case 6 if run is not None:
                del launched[id]
                story >> ChildExited(id, run, chance.choice([0, 1, -9]), port_taken=chance.random() < 0.2)
            case 7:
                story >> PendingAction("restart", str(chance.random()), id)
            case _:
                deadline = story.agent.next_deadline()
                if deadline < story.now + 7200:
                    story.now = max(story.now, deadline)
                    story >> Ticked()
                    assert story.agent.next_deadline() > story.now, "the loop would spin"
                    started = [a for a in story.any_more() if isinstance(a, StartChild)]
                    launched |= {a.spec.pipeline_id: a.run for a in started}
