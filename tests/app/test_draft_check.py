"""A draft is checked while it is typed: as a deploy would, bounded, and not too often."""

import pytest
from flask import Flask

from app import draft_check, secret_store
from app.audit import COMMAND_LINE
from app.draft_check import BURST, CheckRate
from app.errors import InvalidInputError, NotFoundError, TooManyRequestsError
from tests.app.conftest import YAML


def test_a_draft_is_judged_with_the_names_of_its_environment(app: Flask, environment_id: str) -> None:
    """A secret that does not exist is a problem with its line; names are offered, never values."""
    text = YAML.replace("format: json", "format: SECRET[kind]")
    with app.app_context():
        (problem,) = draft_check.check(environment_id, text).problems
        assert (problem.component, problem.line) == ("made", 4)
        assert draft_check.completions(environment_id)["secrets"] == []
        secret_store.put(environment_id, "kind", "s3cret-value", COMMAND_LINE)
        checked = draft_check.check(environment_id, text)
        assert (checked.problems, list(checked.graph.components)) == ([], ["made", "gone"])
        offered = draft_check.completions(environment_id)
        assert offered["secrets"] == ["kind"]
        assert "s3cret-value" not in str(offered)
        assert "demo_logs" in offered["sources"]
        for call in (lambda: draft_check.check("0" * 32, text), lambda: draft_check.completions("x")):
            with pytest.raises(NotFoundError):
                call()
        with pytest.raises(InvalidInputError, match="128 KiB"):
            draft_check.check(environment_id, "#" * (draft_check.MAX_BYTES + 1))


def test_whoever_checks_too_often_waits_and_nobody_else() -> None:
    """Ten at once, then two a second; a refusal costs nothing."""
    now = 100.0
    rate = CheckRate(lambda: now)
    for _ in range(BURST):
        rate.take("one")
    for _ in range(3):
        with pytest.raises(TooManyRequestsError):
            rate.take("one")
    rate.take("other")
    now += 0.5
    rate.take("one")
    with pytest.raises(TooManyRequestsError):
        rate.take("one")
