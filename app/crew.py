"""What the workers of one gunicorn master know of each other: who accepts, who goes, and how much each holds.

A page of memory that the master makes before it forks. Each worker has a slot that it alone writes; the master
hands a slot out before the fork and takes it back when the worker has died. Nothing here waits or locks.
"""

from __future__ import annotations

import mmap
import struct
from enum import IntEnum
from functools import cache

SLOTS = 256
"""More workers than one master has; a reload doubles them for a moment."""
_SLOT = struct.Struct("=II")
_COUNT = struct.Struct("=I")
"""Behind the slots."""
SLACK = 2
SLACK_SHARE = 0.02


class State(IntEnum):
    """What a worker is about."""

    FREE = 0
    BOOTING = 1
    ACCEPTING = 2
    LEAVING = 3


class Crew:
    """The slots. A slot is ``None`` for a worker beyond the last one: it accepts as if it were alone."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, SLOTS * _SLOT.size + _COUNT.size)

    def take(self) -> int | None:
        """In the master, before a fork: a slot for the new worker, which boots from now on."""
        for slot in range(SLOTS):
            if _SLOT.unpack_from(self._memory, slot * _SLOT.size)[0] == State.FREE:
                self.write(slot, State.BOOTING, 0)
                _COUNT.pack_into(self._memory, SLOTS * _SLOT.size, max(self._count(), slot + 1))
                return slot
        return None

    def free(self, slot: int | None) -> None:
        """In the master: the worker of this slot is dead."""
        self.write(slot, State.FREE, 0)

    def write(self, slot: int | None, state: State, load: int) -> None:
        """In the worker of this slot: what it is about, and how many connections it holds."""
        if slot is not None:
            _SLOT.pack_into(self._memory, slot * _SLOT.size, state, load)

    def loads(self, but: int | None = None) -> list[int]:
        """What each worker that accepts holds, without the one in slot *but*."""
        accepting = State.ACCEPTING
        return [load for slot, (state, load) in enumerate(self._all()) if state == accepting and slot != but]

    def is_booting(self) -> bool:
        """Whether a worker is about to accept."""
        return any(state == State.BOOTING for state, _ in self._all())

    def _count(self) -> int:
        """How many slots were ever used: this is asked for each connection, and nearly all are not."""
        count: int = _COUNT.unpack_from(self._memory, SLOTS * _SLOT.size)[0]
        return count

    def _all(self) -> list[tuple[int, int]]:
        return list(_SLOT.iter_unpack(self._memory[: self._count() * _SLOT.size]))


def has_freer(own: int, others: list[int]) -> bool:
    """Whether one of the others holds so much less than *own* that the next connection should be its."""
    if not others:
        return False
    least = min(others)
    return own > least + max(SLACK, int(least * SLACK_SHARE))


@cache
def crew() -> Crew:
    """This master's crew: made before the first fork, and the same after a reload."""
    return Crew()
