"""A conversation with the pure parts of the agent: `story >> event << action << action`."""

import random
from typing import Any

from agent.actions import Action, FetchConfig, KeepActions, Log, SendHeartbeat
from agent.events import ActionsKept, ConfigUnchanged, Event, HeartbeatSent, Ticked
from agent.ledger import ActionRecord
from agent.plan import PipelineSpec, Plan
from agent.state import Agent


class Playbook:
    """Feeds events to an agent and checks, in order, what it wants done.

    An expected action is a value to equal or a class to be an instance of. Lines for the log are collected
    in `lines` and need not be expected, and neither need actions that are kept on disk. Before the next event
    everything must have been expected or passed over with `any_more()`.
    """

    def __init__(self, agent: Agent | None = None, *, now: float = 1000.0) -> None:
        self.agent = agent or Agent(15.0, random.Random(1))
        self.now = now
        self.lines: list[str] = []
        self.last: Any = None
        self.passed: list[Action] = []
        """What the last `wait_for` has passed over."""
        self.records: tuple[ActionRecord, ...] = ()
        """The actions that are on disk; kept at once, unless `disk_error` is set."""
        self.disk_error: str | None = None
        self._pending: list[Action] = []

    def __rshift__(self, event: Event) -> "Playbook":
        assert not self._pending, f"not expected before {event}: {self._pending}"
        self._feed(event)
        return self

    def __lshift__(self, expected: Action | type[Action]) -> "Playbook":
        assert self._pending, f"expected {expected}, but there is nothing more to do"
        self.last = self._pending.pop(0)
        if isinstance(expected, type):
            assert isinstance(self.last, expected), f"expected {expected.__name__}, not {self.last}"
        else:
            assert expected == self.last
        return self

    def after(self, seconds: float) -> "Playbook":
        """Let time pass, to the end in one step."""
        self.now += seconds
        return self >> Ticked()

    def until_due(self, most: float = 7200.0) -> "Playbook":
        """Let time pass until the agent has something to do because of it."""
        start = self.now
        while not self._pending:
            deadline = self.agent.next_deadline()
            assert deadline - start <= most, f"nothing to do within {most} s"
            # A deadline that is not in the future would make the loop spin.
            assert deadline > self.now, "asks to be woken for something that it then does not do"
            self.now = deadline
            self >> Ticked()
        return self

    def any_more(self, *types: type[Action]) -> list[Action]:
        """Take what is left; with `types` only these may be among it."""
        taken, self._pending = self._pending, []
        for action in taken:
            assert not types or isinstance(action, types), f"not expected: {action}"
        return taken

    def wait_for(self, kind: type[Action]) -> "Playbook":
        """Let time pass until the agent wants this done; `last` is it.

        On the way heartbeats arrive and fetches find nothing new; everything else is passed over.
        """
        self.passed = []
        while True:
            if not self._pending:
                self.until_due()
            self.last = self._pending.pop(0)
            if isinstance(self.last, kind):
                return self
            self.passed.append(self.last)
            if isinstance(self.last, SendHeartbeat):
                self._feed(HeartbeatSent(self.last.generation))
            elif isinstance(self.last, FetchConfig):
                self._feed(ConfigUnchanged(self.last.generation))

    def said(self, part: str) -> bool:
        """Whether a line for the log contains `part`."""
        return any(part in line for line in self.lines)

    def _feed(self, event: Event) -> None:
        for action in self.agent.handle(event, self.now):
            if isinstance(action, Log):
                self.lines.append(action.line)
            elif isinstance(action, KeepActions):
                if self.disk_error is None:
                    self.records = action.records
                self._feed(ActionsKept(self.disk_error))
            else:
                self._pending.append(action)

    def end(self) -> None:
        """Nothing may be left to do."""
        assert not self._pending, f"not expected: {self._pending}"


def spec(version: int = 1, checksum: str = "", pipeline_id: str = "p1", **more: Any) -> PipelineSpec:
    """A pipeline's version; the checksum follows from the version unless it is given."""
    text = checksum or f"sum-{version}"
    return PipelineSpec(pipeline_id, f"name of {pipeline_id}", version, text, f"# {text}\n", **more)


def plan(*specs: PipelineSpec, revision: str = "r1", **more: Any) -> Plan:
    """A whole answer that wants these."""
    return Plan(pipelines={s.pipeline_id: s for s in specs}, revision=revision, **more)
