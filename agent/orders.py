"""What is asked of the agent as a whole: to restart, to update itself; each action once, in whichever life. Pure.

Nothing is begun before the action's id is on disk: an agent that restarts must not find the same wish again.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from random import Random

from agent.actions import (
    Action,
    BeginTrial,
    CompletedAction,
    EndTrial,
    ExtendTrial,
    KeepActions,
    Log,
    StageUpdate,
)
from agent.events import TrialEnded
from agent.ledger import ActionRecord, Ledger
from agent.plan import PendingAction
from agent.protocol import ActionType
from agent.update import UNKNOWN_STANDING, Standing, Trial, TrialJudge, UpdateTiming, Wanted, examine

VERDICT_RETRY_SECONDS = 10.0
BUSY = "cannot {what}: an update is under way; ask again when it has ended"
CUT_OFF = "the agent ended before the update was ready to be tried"


@dataclass(frozen=True, slots=True)
class Facts:
    """How the agent is doing, as far as an update must not make it worse."""

    has_link: bool
    running: frozenset[str]
    """Ids of pipelines whose child runs."""
    wanted: frozenset[str]


class Orders:
    """Takes actions up, waits for the disk, and says when the agent is to be started again."""

    def __init__(self, random: Random, timing: UpdateTiming) -> None:
        self.wants_restart = False
        self.was_asked_to_restart = False
        """This life is what an operator has asked for."""
        self._random = random
        self._timing = timing
        self._ledger = Ledger()
        self._standing = UNKNOWN_STANDING
        self._waiting: list[PendingAction] = []
        """Until their ids are on disk."""
        self._completed: list[CompletedAction] = []
        self._wanted: Wanted | None = None
        """The update that is being fetched."""
        self._judge: TrialJudge | None = None
        self._is_ending = False
        self._judge_again_at: float | None = None
        """The verdict could not be written; until then."""
        self._retry_at = math.inf

    def boot(self, records: Iterable[ActionRecord], standing: Standing, now: float) -> list[CompletedAction]:
        """Go on from an earlier life; what the server has still to be told."""
        self._ledger, self._standing = Ledger(records), standing
        if standing.trial is not None:
            self._judge = TrialJudge(standing.trial, now)
        for record in self._ledger.open():
            if record.type != ActionType.SELF_UPDATE:
                # Whatever was to be restarted, it has been.
                self.was_asked_to_restart = True
                self._ledger.finish(record.action_id, None)
            elif record.action_id == standing.last_action_id:
                self._ledger.finish(record.action_id, standing.last_error)
            elif not self._is_pending(record.action_id):
                self._ledger.finish(record.action_id, CUT_OFF)
        return [CompletedAction(record.action_id, record.error) for record in self._ledger.owed()]

    @property
    def is_on_trial(self) -> bool:
        """Whether this life has yet to be accepted."""
        return self._judge is not None

    def is_new(self, action: PendingAction) -> bool:
        """Take note of an action; false if it was taken up before."""
        return self._ledger.take_up(action)

    def take_up(self, action: PendingAction) -> None:
        """Begin once its id is on disk."""
        if self._is_busy():
            what = "restart" if action.type == ActionType.RESTART else "update"
            self._refuse(action.action_id, BUSY.format(what=what))
        else:
            self._waiting.append(action)

    def keep(self) -> list[Action]:
        """Have what has changed written."""
        records = self._ledger.unsaved()
        return [KeepActions(records)] if records is not None else []

    def kept(self, error: str | None) -> list[Action]:
        """It was written, or could not be."""
        waiting, self._waiting = self._waiting, []
        actions: list[Action] = []
        for action in waiting:
            what = "restart" if action.type == ActionType.RESTART else "update"
            if error is not None:
                self._refuse(action.action_id, f"cannot {what}: {error}")
            elif self._is_busy():
                self._refuse(action.action_id, BUSY.format(what=what))
            elif action.type == ActionType.RESTART:
                self.wants_restart = True
            else:
                actions += self._update(action)
        return actions

    def staged(self, action_id: str, facts: Facts) -> list[Action]:
        """The new file lies there, whole and willing."""
        wanted = self._wanted
        if wanted is None or wanted.action_id != action_id:
            return []
        trial = Trial(
            action_id=action_id,
            version=wanted.version,
            digest=wanted.digest,
            had_link=facts.has_link,
            running=tuple(sorted(facts.running)),
            timing=self._timing,
        )
        return [BeginTrial(trial)]

    def refused(self, action_id: str, error: str) -> list[Action]:
        """It cannot be fetched, is not what it should be, or does not start."""
        self._wanted = None
        self._refuse(action_id, error)
        return [Log(logging.WARNING, f"update refused id={action_id} error={error!r}")]

    def trial_begun(self) -> None:
        """The next life tries the new file."""
        self.wants_restart = True

    def due(self, now: float, facts: Facts) -> list[Action]:
        """What follows from the time and from how the agent is doing."""
        retry = self._standing.retry
        if retry is not None and now >= self._retry_at and not self._is_busy():
            self._standing = replace(self._standing, retry=None)
            self._retry_at = math.inf
            self._wanted = Wanted(retry.action_id, retry.version, "", retry.digest)
            return [BeginTrial(replace(retry, had_link=facts.has_link, running=tuple(sorted(facts.running))))]
        judge = self._judge
        if (
            judge is None
            or self._is_ending
            or (self._judge_again_at is not None and now < self._judge_again_at)
        ):
            return []
        self._judge_again_at = None
        actions: list[Action] = []
        earlier = judge.extension
        verdict = judge.judge(now, has_link=facts.has_link, running=facts.running, wanted=facts.wanted)
        if judge.extension is not None and judge.extension != earlier:
            actions.append(Log(logging.WARNING, "update still on trial: the server does not answer"))
            actions.append(ExtendTrial(judge.extension))
        if verdict is not None:
            self._is_ending = True
            actions.append(EndTrial(verdict))
        return actions

    def trial_ended(self, event: TrialEnded, now: float) -> list[Action]:
        """The verdict was written, or could not be."""
        trial, verdict = self._standing.trial, event.verdict
        assert trial is not None
        if verdict.reason is not None:
            self.wants_restart = True
            line = f"update version={trial.version} given up error={verdict.reason!r}"
            if verdict.server_is_away:
                line = f"update version={trial.version} put off error={verdict.reason!r}"
            return [Log(logging.ERROR, line)]
        if event.error is not None:
            self._is_ending, self._judge_again_at = False, now + VERDICT_RETRY_SECONDS
            return [Log(logging.ERROR, f"update not accepted yet error={event.error!r}")]
        self._judge = None
        self._completed.append(CompletedAction(trial.action_id))
        return [Log(logging.INFO, f"update version={trial.version} accepted")]

    def configured(self, now: float) -> None:
        """The configuration was fetched."""
        if self._judge is not None:
            self._judge.configured(now)

    def reported(self, now: float) -> None:
        """A heartbeat was taken."""
        if self._judge is not None:
            self._judge.reported(now)
        if self._standing.retry is not None and math.isinf(self._retry_at) and not self._is_busy():
            self._retry_at = now + self._standing.retry.timing.retry * self._random.uniform(0.5, 1.0)

    def request_failed(self, now: float, *, answered: bool) -> None:
        """A request did not bring what it should. ``answered``: by the server, and it was the request's fault."""
        if self._judge is None:
            return
        if answered:
            self._judge.answered(now)
        else:
            self._judge.unanswered()

    def finish(self, completed: list[CompletedAction]) -> list[CompletedAction]:
        """Note what has ended elsewhere, and return it with what has ended here."""
        ended, self._completed = completed + self._completed, []
        for entry in ended:
            self._ledger.finish(entry.action_id, entry.error)
        return ended

    def told(self, completed: Iterable[CompletedAction]) -> None:
        """A heartbeat that carried these has arrived."""
        self._ledger.tell(entry.action_id for entry in completed)

    def next_deadline(self) -> float:
        """When :meth:`due` has something to do."""
        if self._judge is not None and not self._is_ending:
            return self._judge_again_at or self._judge.next_deadline()
        return self._retry_at

    def _update(self, action: PendingAction) -> list[Action]:
        found = examine(action, self._standing)
        if isinstance(found, str):
            return self.refused(action.action_id, found)
        if found is None:
            self._completed.append(CompletedAction(action.action_id))
            return [Log(logging.INFO, f"update version={action.target_version} runs already")]
        self._wanted = found
        return [StageUpdate(found)]

    def _is_busy(self) -> bool:
        return self._wanted is not None or self._judge is not None or self.wants_restart

    def _is_pending(self, action_id: str) -> bool:
        pending = (self._standing.trial, self._standing.retry)
        return any(trial is not None and trial.action_id == action_id for trial in pending)

    def _refuse(self, action_id: str, error: str) -> None:
        self._completed.append(CompletedAction(action_id, error))
