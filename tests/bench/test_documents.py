"""The pages that the suite makes: every figure has its meaning, every curve its order."""

from pathlib import Path

import pytest

from bench import meanings, measures, sizing
from bench.figures import FIGURES
from bench.measures import growth
from bench.pictures import PICTURES, write_pictures
from bench.results import Results
from bench.scale import FULL, QUICK


def test_the_document_says_what_every_figure_means() -> None:
    """The table is the declarations; `python -m bench.meanings` writes it."""
    assert meanings.table() in meanings.DOCUMENT.read_text()


def test_the_small_set_is_a_part_of_all() -> None:
    """A module for each name, which it bears itself."""
    names = [each.NAME for each in measures.all_of(FULL)]
    assert names == list(measures.SMALL + measures.REST)
    assert [each.NAME for each in measures.all_of(QUICK)] == list(measures.SMALL)


def test_pictures_show_figures_that_exist(tmp_path: Path) -> None:
    """And none where nothing of a picture was measured."""
    measures.all_of(FULL)
    assert {key for _, keys in PICTURES.values() for key in keys} <= FIGURES.keys()
    results = Results()
    results.record("sockets.memory", 0.3)
    assert write_pictures(results, tmp_path, "full") == ["full-sockets.svg"]
    assert (tmp_path / "full-sockets.svg").read_text().startswith("<svg")


def test_the_order_of_a_curve() -> None:
    """The power with which it grows; none of two points, and none of zeros."""
    assert growth.exponent([(n, 3 * n**1.5) for n in (10.0, 20.0, 40.0)]) == pytest.approx(1.5)
    assert growth.exponent([(n, 7.0) for n in (10.0, 20.0, 40.0)]) == pytest.approx(0)
    assert growth.exponent([(10, 1.0), (20, 2.0)]) is None
    assert growth.exponent([(10, 0.0), (20, 0.0), (40, 1.0)]) is None


def test_the_sizing_page_has_each_curve_with_its_order_and_picture(tmp_path: Path) -> None:
    """What was not measured says so; no marker is left."""
    results = Results(facts={"machine": "two cores"})
    for size in (1000, 2000, 4000):
        results.record(growth.CONNECTIONS_TOLD, size / 10, str(size))
    pictures = tmp_path / "bench"
    pictures.mkdir()

    sizing.write(results, tmp_path / "sizing.md", pictures)

    page = (tmp_path / "sizing.md").read_text()
    assert (
        "1\N{NO-BREAK SPACE}000: 100, 2\N{NO-BREAK SPACE}000: 200, 4\N{NO-BREAK SPACE}000: 400 | 1.00 |"
        in page
    )
    assert "(bench/growth-connections_told.svg)" in page
    assert "power 1.00" in (pictures / "growth-connections_told.svg").read_text()
    assert "not measured yet" in page
    assert "<!--" not in page
    assert "two cores" in page
