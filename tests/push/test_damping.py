"""One worker's memory of who dials too often: a pause that doubles, is bounded, and is forgotten."""

from app.push import damping
from app.push.damping import DIALS_ALLOWED, LONGEST_PAUSE_MS, Dials


def test_the_pause_doubles_and_is_bounded() -> None:
    """Eight dials at once, then each attempt after a pause that is lost again makes the next one longer."""
    dials, now = Dials(), 1000.0
    assert [dials.pause_ms("n", now) for _ in range(DIALS_ALLOWED)] == [0] * DIALS_ALLOWED
    pauses = []
    for _ in range(8):
        pause = dials.pause_ms("n", now)
        pauses.append(pause)
        assert 0 < dials.pause_ms("n", now + pause / 2000) <= pause / 2 + 1, (
            "a dial meanwhile prolongs nothing"
        )
        now += pause / 1000
        assert dials.pause_ms("n", now) == 0, "after the pause it may try"
    assert pauses == [2000, 4000, 8000, 16000, 32000, LONGEST_PAUSE_MS, LONGEST_PAUSE_MS, LONGEST_PAUSE_MS]
    assert dials.pause_ms("other", now) == 0


def test_who_was_quiet_starts_afresh_and_a_slow_rhythm_is_never_damped() -> None:
    """One dial in two seconds for ever, as rolling restarts may cause; and two quiet minutes."""
    dials, now = Dials(), 0.0
    for _ in range(100):
        now += 2.0
        assert dials.pause_ms("slow", now) == 0
    for _ in range(DIALS_ALLOWED):
        dials.pause_ms("n", now)
    assert dials.pause_ms("n", now) == 2000
    now += 2 + damping.REMEMBERED_MS / 1000
    for _ in range(DIALS_ALLOWED):
        assert dials.pause_ms("n", now) == 0
    assert dials.pause_ms("n", now) == 2000


def test_the_memory_is_bounded() -> None:
    """The nodes that came first make way."""
    dials = Dials()
    for number in range(damping.MAX_NODES + 10):
        dials.pause_ms(str(number), 0.0)
    assert len(dials._nodes) == damping.MAX_NODES
