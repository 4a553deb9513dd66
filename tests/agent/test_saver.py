"""What this node runs gets to the disk, and nobody waits for it."""

import threading
import time
from pathlib import Path

import pytest

from agent import saver as saver_module
from agent.plan import Memory
from agent.saver import Saver
from agent.store import Store, StoreError
from tests.agent.playbook import spec
from tests.support.until import until


class SlowStore(Store):
    """A disk that lets each write wait until the test says so, and may refuse it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.begun = 0
        self.go = threading.Semaphore(0)
        self.is_full = False

    def keep_plan(self, memory: Memory) -> None:
        self.begun += 1
        assert self.go.acquire(timeout=10)
        if self.is_full:
            raise StoreError("cannot write plan.json: No space left on device")
        super().keep_plan(memory)


def plan_of(number: int) -> Memory:
    return Memory((spec(number),))


@pytest.fixture
def store(tmp_path: Path) -> SlowStore:
    store = SlowStore(tmp_path / "data")
    store.open()
    return store


@pytest.fixture
def saver(store: SlowStore) -> Saver:
    saver = Saver(store)
    saver.start()
    return saver


def test_nobody_waits_for_a_disk_that_hangs_and_only_the_newest_is_written(
    store: SlowStore, saver: Saver
) -> None:
    """A hundred plans while one write hangs are one more write."""
    before = time.monotonic()
    saver.save(plan_of(1))
    until(lambda: store.begun == 1, what="a write")
    for number in range(2, 102):
        saver.save(plan_of(number))
    assert time.monotonic() - before < 10.0
    assert store.plan() == Memory()

    store.go.release(2)
    saver.close(5.0)
    assert store.plan() == plan_of(101)
    assert store.begun == 2


def test_what_could_not_be_written_is_tried_again(
    store: SlowStore, saver: Saver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while, and once more at the end; never at once again and again."""
    store.is_full = True
    store.go.release(1)
    saver.save(plan_of(1))
    until(lambda: store.begun == 1, what="a write")
    store.is_full = False
    store.go.release(1)
    saver.close(5.0)
    assert (store.begun, store.plan()) == (2, plan_of(1))

    monkeypatch.setattr(saver_module, "RETRY_SECONDS", 0.3)
    again = Saver(store)
    again.start()
    store.is_full = True
    store.go.release(1)
    again.save(plan_of(2))
    until(lambda: store.begun == 3, what="a write")
    store.is_full = False
    store.go.release(1)
    until(lambda: store.plan() == plan_of(2), what="the second try")
    again.close(5.0)
    assert store.begun == 4


def test_an_end_is_not_held_up_by_a_disk(store: SlowStore, saver: Saver) -> None:
    """Children have ended, and whoever stops the agent has no patience for ever."""
    saver.save(plan_of(1))
    until(lambda: store.begun == 1, what="a write")
    before = time.monotonic()
    saver.close(0.2)
    assert time.monotonic() - before < 10.0
    store.go.release(1)
