"""Charts: round scales, gaps, and nothing that a content-security policy would refuse."""

import re
from xml.etree import ElementTree

import pytest

from app.node_charts import count_rate, share, size
from app.svg_charts import Line, chart, runs, scale_top, ticks

ZERO = 1_800_000_000.0


@pytest.mark.parametrize(
    ("most", "base", "top"),
    [
        (0, 10, 3),
        (3, 10, 3),
        (3.1, 10, 6),
        (0.011, 10, 0.015),
        (1e7, 10, 1.5e7),
        (2048, 1024, 3072),
        (500, 1024, 600),
    ],
)
def test_a_scale_ends_at_a_round_number_that_is_enough(most: float, base: int, top: float) -> None:
    """Three steps of 1, 2 or 5."""
    assert scale_top(most, base) == pytest.approx(top)


def test_a_gap_is_not_bridged() -> None:
    """A missing value or moment begins a new line; points side by side are joined."""
    readings = [(0.0, 1.0), (60.0, 2.0), (120.0, None), (180.0, 3.0), (600.0, 4.0), (660.0, 5.0)]
    assert [len(run) for run in runs(readings, 60)] == [2, 1, 2]


@pytest.mark.parametrize("span", [3600, 86_400, 7 * 86_400])
def test_a_chart_is_plain_svg_within_its_frame(span: int) -> None:
    """Well-formed, named, no style and no script, every coordinate inside, few ticks."""
    line = Line("in", 1, [(ZERO + second, second * 1.0) for second in range(0, span, span // 60)])
    picture = chart('Events <in> "n"', [line], ZERO, ZERO + span, span / 60, count_rate)
    root = ElementTree.fromstring(picture)
    assert root.get("aria-label") == 'Events <in> "n"'
    assert not re.search(r"style|<script|\son", picture)
    (path,) = (each for each in root if each.get("class") == "line line-1")
    numbers = [float(each) for each in re.findall(r"-?[\d.]+", path.get("d", ""))]
    assert all(0 <= x <= 360 for x in numbers[::2])
    assert all(0 <= y <= 120 for y in numbers[1::2])
    assert 3 <= len(ticks(ZERO, ZERO + span)) <= 8


def test_values_are_written_short() -> None:
    """With a unit, three digits at most."""
    assert [size(0), size(1536), size(5 * 1024**3)] == ["0 B", "1.5 KiB", "5 GiB"]
    assert [count_rate(0), count_rate(0.5), count_rate(1234)] == ["0/s", "0.5/s", "1.23k/s"]
    assert [share(0), share(0.05), share(1)] == ["0 %", "5.0 %", "100 %"]
