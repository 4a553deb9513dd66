"""How the pages print numbers and versions."""

import pytest

from app.pages.words import rate, reason, short_version


@pytest.mark.parametrize(
    ("events", "text"),
    [(None, "–"), (0, "0"), (0.001, "<0.01"), (0.25, "0.25"), (7.5, "7.5"), (120.4, "120"), (1240, "1.24k")],
)
def test_rates_are_short(events: float | None, text: str) -> None:
    """A column of them can be read at a glance."""
    assert rate(events) == text


def test_a_version_line_is_cut_to_its_number() -> None:
    """What Vector prints is long; what has no number stays as it is."""
    assert short_version("vector 0.57.0 (x86_64-unknown-linux-gnu 1c4d9f2 2026-09-01)") == "0.57.0"
    assert short_version("a build of ours") == "a build of ours"
    assert short_version(None) is None


def test_an_error_begins_with_its_reason() -> None:
    """Not with the files that Vector has read; an error that says nothing else stays."""
    assert reason('Failed to load ["pipeline.yaml"]\n---\nx unknown variant') == "x unknown variant"
    assert reason("Vector exited with code 78") == "Vector exited with code 78"
    assert reason('Failed to load ["pipeline.yaml"]') == 'Failed to load ["pipeline.yaml"]'
