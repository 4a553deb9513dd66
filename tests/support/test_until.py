"""Waiting ends with the value or with its story."""

import pytest

from tests.support.until import until


def test_it_returns_the_first_true_value() -> None:
    """What the probe answered is handed on, so that it need not be asked again."""
    answers = iter([0, "", "here"])

    assert until(lambda: next(answers), every=0.001) == "here"


def test_the_last_value_is_in_the_failure() -> None:
    """A test that waited in vain says what it saw at last."""
    with pytest.raises(AssertionError, match=r"not so after 0.01 s: the badge was \[\] at last"):
        until(lambda: list[int](), seconds=0.01, what="the badge")


def test_the_probe_is_asked_even_when_the_deadline_is_now() -> None:
    """Zero seconds means: look once."""
    assert until(lambda: True, seconds=0)


def test_tolerated_exceptions_are_a_not_yet_and_shown_at_the_end() -> None:
    """Others go straight through: a mistake in the probe is not waited for."""

    def refused() -> bool:
        raise ConnectionRefusedError("nobody there")

    with pytest.raises(AssertionError, match="raised ConnectionRefusedError"):
        until(refused, seconds=0.01, tolerate=(OSError,))
    with pytest.raises(ConnectionRefusedError):
        until(refused)
