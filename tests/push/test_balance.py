"""Hazard 20: what is shed, and that it comes to rest although agents dial at random."""

import random

import pytest

from app.crew import Crew, State, has_freer
from app.push.balance import LEAST_EXCESS, STABLE_REPORTS, TOLERATED, Load, Steady, to_shed

ROUND_SECONDS = 2.0


def loads(*sockets: int, cap: int = 10_000, reports: int = STABLE_REPORTS) -> list[Load]:
    return [Load(str(number), count, cap, False, reports) for number, count in enumerate(sockets)]


def test_who_holds_too_much_sheds_a_little_of_it() -> None:
    """At most four in a hundred a second, and nobody else anything."""
    workers = loads(1000, 0)
    assert to_shed("0", workers, 1.0) == 40
    assert to_shed("1", workers, 1.0) == 0
    assert to_shed("elsewhere", workers, 1.0) == 0


@pytest.mark.parametrize(
    ("workers", "why"),
    [
        (loads(119, 81), "within 120 %"),
        (loads(LEAST_EXCESS * 2, 0), "too few to matter"),
        (loads(1000), "alone"),
        ([*loads(1000, 0)[:1], Load("1", 0, 10_000, False, STABLE_REPORTS - 1)], "the other has just joined"),
        ([*loads(1000, 0)[:1], Load("1", 0, 10_000, True, 9)], "the other is going"),
        ([*loads(1000, 0)[:1], Load("1", 200, 200, False, 9)], "the other is full"),
        ([Load("0", 1000, 10_000, True, 9), *loads(0, 0)[1:]], "it is going itself"),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_nothing_is_shed_without_need_or_room(workers: list[Load], why: str) -> None:
    """Each case is one reason to leave things as they are."""
    assert to_shed("0", workers, 10.0) == 0, why


def test_growth_is_not_excess() -> None:
    """A herd comes back evenly; the other's report is a round old, and nobody sheds for that."""
    steady = Steady()
    for count in range(0, 2000, 200):
        other = Load("1", max(0, count - 200), 10_000, False, 9)
        own = steady.seen(Load("0", count, 10_000, False, 9))
        assert to_shed("0", [own, other], ROUND_SECONDS) == 0
    for _ in range(STABLE_REPORTS):
        own = steady.seen(Load("0", 2000, 10_000, False, 9))
    assert to_shed("0", [own, Load("1", 1000, 10_000, False, 9)], ROUND_SECONDS) > 0


def test_several_that_shed_share_the_room() -> None:
    """Nine full workers and one with little room: together they send no more than fits, but for rounding."""
    workers = [*loads(*[500] * 9), Load("9", 0, 30, False, 9)]
    assert sum(to_shed(str(number), workers, 60.0) for number in range(9)) <= 30 + 9


@pytest.mark.parametrize("old", [[300, 0], [150, 150, 0, 0], [5000, 5000, 0], [3000, 40, 900, 0, 0]])
@pytest.mark.parametrize("seed", range(5))
def test_it_comes_to_rest_within_the_bound(old: list[int], seed: int) -> None:
    """Agents land anywhere at random, also where they came from; no node moves twice, none below the average."""
    chance = random.Random(seed)
    holds = [set[int]() for _ in old]
    number = 0
    for held, count in zip(holds, old, strict=True):
        for _ in range(count):
            held.add(number)
            number += 1
    average = number / len(holds)
    bound = max(average * TOLERATED, average + LEAST_EXCESS)
    shed: set[int] = set()
    dialling: list[int] = []
    quiet = 0
    for _ in range(60):
        reported = [Load(str(n), len(held), 10_000, False, 9) for n, held in enumerate(holds)]
        for node in dialling:
            holds[chance.randrange(len(holds))].add(node)
        dialling = []
        for name, held in enumerate(holds):
            count = to_shed(str(name), reported, ROUND_SECONDS)
            assert count <= max(1, reported[name].sockets * 0.04 * ROUND_SECONDS + 1)
            able = sorted(held - shed)
            going = chance.sample(able, min(count, len(able)))
            shed.update(going)
            held.difference_update(going)
            dialling += going
            if going:
                assert len(held) >= average - 1
        quiet = 0 if dialling else quiet + 1
        if quiet == 3:
            break
    assert max(len(held) for held in holds) <= bound
    assert quiet == 3, "two minutes are enough"


def test_the_crew_prefers_the_freest_and_forgets_the_dead() -> None:
    """A slot of a worker that boots or leaves does not count; one that died is handed out again."""
    crew = Crew()
    first, second, third = (crew.take() for _ in range(3))
    assert crew.is_booting()
    crew.write(first, State.ACCEPTING, 7)
    crew.write(second, State.ACCEPTING, 3)
    crew.write(third, State.LEAVING, 0)
    assert not crew.is_booting()
    assert crew.loads(first) == [3]
    assert has_freer(7, crew.loads(first))
    assert not has_freer(3, crew.loads(second))
    assert not has_freer(4, [3])
    assert not has_freer(1000, [])
    crew.free(second)
    assert crew.loads() == [7]
    assert crew.take() == second
