"""The setup code: the same everywhere, for two hours at most, and worth nothing with another key."""

from datetime import UTC, datetime, timedelta

import pytest

from app import setup_code

KEY = "k" * 32
NOW = datetime(2026, 3, 4, 10, 30, tzinfo=UTC)


def test_it_is_good_in_its_hour_and_the_next() -> None:
    """Whichever process made it; not before its hour, but for clocks that differ, and not in the third."""
    code = setup_code.at(KEY, NOW)
    begin = NOW.replace(minute=0)
    good = {
        moment: setup_code.is_good(KEY, code, begin + moment)
        for moment in (
            timedelta(minutes=-10),
            timedelta(minutes=-1),
            timedelta(0),
            timedelta(minutes=119),
            timedelta(minutes=120),
        )
    }
    assert list(good.values()) == [False, True, True, True, False]
    assert setup_code.good_until(NOW) == begin + timedelta(hours=2)


def test_it_may_be_typed_as_people_type() -> None:
    """Case, blanks and hyphens do not matter."""
    code = setup_code.at(KEY, NOW)
    assert len(code) == 19
    for typed in (code.upper(), code.replace("-", ""), f"  {code.replace('-', ' ')}\n"):
        assert setup_code.is_good(KEY, typed, NOW)


@pytest.mark.parametrize("given", ["", "-", "aaaa-aaaa-aaaa-aaaa", "é" * 16, "\ud800", "a" * 100_000])
def test_what_is_no_code_is_refused(given: str) -> None:
    assert not setup_code.is_good(KEY, given, NOW)


def test_another_key_has_another_code() -> None:
    """So does another hour."""
    code = setup_code.at(KEY, NOW)
    assert not setup_code.is_good("x" * 32, code, NOW)
    assert setup_code.at(KEY, NOW + timedelta(hours=1)) != code
