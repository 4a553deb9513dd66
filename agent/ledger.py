"""Which actions were taken up, and what the server has still to be told about them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from agent.plan import PendingAction

REMEMBERED = 256
"""So many actions are remembered, lest one is done twice; the oldest is forgotten."""


@dataclass(frozen=True, slots=True)
class ActionRecord:
    """One action of this node's past."""

    action_id: str
    type: str
    done: bool = False
    error: str | None = None
    told: bool = False
    """A heartbeat that says so has arrived."""


class Ledger:
    """Every action by its id, oldest first."""

    def __init__(self, records: Iterable[ActionRecord] = ()) -> None:
        self._records = {record.action_id: record for record in records}
        self._saved = self.records()

    def records(self) -> tuple[ActionRecord, ...]:
        """All of it, as it is to be kept."""
        return tuple(self._records.values())

    def unsaved(self) -> tuple[ActionRecord, ...] | None:
        """All of it, if it is other than when this was last asked; else ``None``."""
        records = self.records()
        if records == self._saved:
            return None
        self._saved = records
        return records

    def take_up(self, action: PendingAction) -> bool:
        """Whether this action is to be done; false for one that was taken up before, in whichever life."""
        if action.action_id in self._records:
            return False
        self._put(ActionRecord(action.action_id, action.type))
        return True

    def finish(self, action_id: str, error: str | None) -> None:
        """It was done, or cannot be."""
        record = self._records.get(action_id) or ActionRecord(action_id, "")
        self._put(replace(record, done=True, error=error))

    def tell(self, action_ids: Iterable[str]) -> None:
        """The server knows."""
        for action_id in action_ids:
            if (record := self._records.get(action_id)) is not None:
                self._put(replace(record, told=True))

    def open(self) -> list[ActionRecord]:
        """What was taken up, and nothing is known of its end."""
        return [record for record in self._records.values() if not record.done]

    def owed(self) -> list[ActionRecord]:
        """What was done, and the server may not know."""
        return [record for record in self._records.values() if record.done and not record.told]

    def _put(self, record: ActionRecord) -> None:
        self._records[record.action_id] = record
        if len(self._records) > REMEMBERED:
            del self._records[next(iter(self._records))]
