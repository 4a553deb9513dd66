"""The pages that the suite makes: every figure has its meaning, every curve its order."""

from pathlib import Path

import pytest

from bench import documents, fleets, meanings, measures, report, sizing, targets
from bench.figures import FIGURES
from bench.fit import fit, reaches
from bench.hazards import WITHOUT
from bench.measures import growth, hazards
from bench.pictures import PICTURES, write_pictures
from bench.results import Results
from bench.scale import FULL, MEDIUM, QUICK
from tests.support import PROJECT


def test_the_document_says_what_every_figure_means() -> None:
    """The table is the declarations; `python -m bench.meanings` writes it."""
    assert meanings.table() in meanings.DOCUMENT.read_text()


def test_the_small_set_is_a_part_of_all() -> None:
    """A module for each name, which it bears itself."""
    names = [each.NAME for each in measures.all_of(FULL)]
    assert names == list(measures.SMALL + measures.REST)
    assert [each.NAME for each in measures.all_of(QUICK)] == list(measures.SMALL)
    assert [each.NAME for each in measures.all_of(MEDIUM)] == names[:-1], "all but the large crowd"
    assert [each.NAME for each in measures.named(["hazards", "polls"])] == ["polls", "hazards"]
    with pytest.raises(KeyError, match="nothing"):
        measures.named(["polls", "nothing"])


def test_pictures_show_figures_that_exist(tmp_path: Path) -> None:
    """And none where nothing of a picture was measured."""
    measures.all_of(FULL)
    assert {key for _, _, keys in PICTURES.values() for key in keys} <= FIGURES.keys()
    results = Results()
    results.record("sockets.memory", 0.3)
    assert write_pictures(results, tmp_path, "full") == ["full-sockets.svg"]
    assert (tmp_path / "full-sockets.svg").read_text().startswith("<svg")


def test_the_order_of_a_curve() -> None:
    """The power with which it grows, and its range without any one point; none of two points, and none of zeros."""
    straight = fit([(n, 3 * n**1.5) for n in (10.0, 20.0, 40.0)])
    assert straight is not None
    assert (straight.order, straight.least, straight.most, straight.at_end) == pytest.approx((1.5,) * 4)
    bent = fit([(10, 1.0), (20, 1.0), (40, 1.0), (80, 2.0)])
    assert bent is not None
    assert bent.least == pytest.approx(0), "without the last"
    assert bent.order < bent.at_end == pytest.approx(0.5)
    assert fit([(10, 1.0), (20, 2.0)]) is None
    assert fit([(10, 0.0), (20, 0.0), (40, 1.0)]) is None


def test_where_a_cost_comes_to_its_limit() -> None:
    """Within what was measured, beyond it, or nowhere in sight."""
    linear = [(n, n / 10) for n in (10.0, 20.0, 40.0)]
    assert reaches(linear, 3) == pytest.approx(30)
    assert reaches(linear, 40) == pytest.approx(400)
    assert reaches(linear, 0.5) == 10, "exceeded from the first on"
    assert reaches(linear, 500) is None, "too far away to tell"
    assert reaches([(n, 7.0) for n in (10.0, 20.0, 40.0)], 8) is None
    assert reaches(linear[:2], 3) is None
    assert reaches([(10, 1.0), (20, 1.0), (40, 1.0), (80, 2.0)], 4) == pytest.approx(320), "by its end"


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
        "1\N{NO-BREAK SPACE}000: 100, 2\N{NO-BREAK SPACE}000: 200, 4\N{NO-BREAK SPACE}000: 400"
        " | 1.00 (1.00–1.00) | 1.00 |" in page
    )
    assert "(bench/growth-connections_told.svg)" in page
    assert "power 1.00" in (pictures / "growth-connections_told.svg").read_text()
    assert "not measured yet" in page
    assert "<!--" not in page
    assert "two cores" in page
    assert (
        "At about **15\N{NO-BREAK SPACE}000** connections, foretold: the last node hears of a deploy" in page
    )


def test_fleets_are_reckoned_from_curves_and_settings() -> None:
    """A row for each need, a dash where something was not measured."""
    results = Results()
    rows = fleets.table(results)
    assert len(rows) == 2 + len(fleets.NEEDS)
    assert "| workers in all | 2 | 2 | 2 | 10 |" in rows
    assert "| a node reports every | 60 s | 60 s | 60 s | 240 s |" in rows
    assert "| memory of the workers | – | – | – | – |" in rows
    results.record(growth.EMPTY_MEMORY, 100)
    results.record("sockets.memory", 0.5)
    assert "| memory of the workers | 100 MiB | 100 MiB | 105 MiB | 549 MiB |" in fleets.table(results)


def test_targets_are_reached_or_missed_by_so_much() -> None:
    """Of what was not measured nothing is said; every figure that a target is made of exists."""
    results = Results()
    assert targets.table(results).count("not measured yet") == len(targets.TARGETS)
    for key, ours, peer in (("sockets.all_told", 50, 100), ("sockets.push_p99", 6, 4)):
        results.record(key, ours)
        results.record(key, peer, "node-ws")
    results.record("upgrades.rate", 1600)
    results.record("large_crowd.lost", 0)
    results.record("workers.push_cost", 100, "2 workers")
    results.record("workers.push_cost", 110, "8 workers")
    table = targets.table(results)
    assert "| 2 | all told, beside Node | ≤ 0.65 of Node's | 0.50 | reached |" in table
    assert "| 3 | one push to the agent, p99, beside Node | ≤ 1 of Node's | 1.50 | missed, by 50 % |" in table
    assert "| 1600" not in table
    assert "| missed, by 25 % |" in table
    assert "| 5 | agents lost in ten minutes | ≤ 0 sockets | 0 | reached |" in table
    assert "| 1.10 | reached |" in table
    assert {target.group for target in targets.TARGETS} == set(range(1, 13))
    assert targets.WHY.keys() <= {target.what for target in targets.TARGETS}


def test_each_hazard_says_what_is_in_place_of_its_rule() -> None:
    """And its figures begin with its number, so that both sides stand together."""
    numbers = [experiment.__name__.rpartition(".")[2][1:3] for experiment in hazards.EXPERIMENTS]
    assert numbers == ["09", "10", "20", "25", "28", "29", "33"]
    for number, experiment in zip(numbers, hazards.EXPERIMENTS, strict=True):
        own = [figure for key, figure in FIGURES.items() if key.startswith(f"hazards.h{number}_")]
        assert own
        assert any(f"without the rule: {experiment.RULE}" in figure.what for figure in own)
        assert all(figure.title.startswith(f"hazard {int(number)}: ") for figure in own)


def test_documents_are_made_of_several_runs(tmp_path: Path) -> None:
    """Each measurement as a whole from the last run that has it; the page says from which run that is."""
    first = Results(facts={"date": "monday", "commit": "one", "scale": "full", "machine": "two cores"})
    first.record("sockets.memory", 0.3)
    first.record("sockets.redis", 300)
    first.record("polls.share", 0.7)
    first.facts["failed"] = ["sockets, peer: no", "polls: no"]
    second = Results(facts={"date": "tuesday", "commit": "two", "scale": "medium", "machine": "two cores"})
    second.record("sockets.memory", 0.2)
    second.record("hazards.h25_health", 4)
    second.record("hazards.h25_health", 10_000, WITHOUT)
    report.write_json(first, tmp_path / "first.json")
    merged = documents.merge(report.read_json(tmp_path / "first.json"), second)
    assert merged.of("sockets.memory") == [0.2]
    assert merged.of("sockets.redis") == [], "of another run than the memory"
    assert merged.of("polls.share") == [0.7]
    assert merged.facts["failed"] == ["polls: no"]
    folder = tmp_path / "docs" / "bench"
    folder.parent.mkdir()
    document = folder.parent / "bench.md"
    document.write_text(meanings.DOCUMENT.read_text())

    documents.write(merged, folder)

    page = (folder / "full.md").read_text()
    assert "- polls: monday, commit one, scale full" in page
    assert "- sockets, hazards: tuesday, commit two, scale medium" in page
    text = document.read_text()
    assert "| 1 | workers' memory of an idle socket | ≤ 1 KiB | 0.20 | reached |" in text
    assert "| ms | 4 | 10\N{NO-BREAK SPACE}000 | 2\N{NO-BREAK SPACE}500 × |" in text
    assert "![Hazards, with and without their rules](bench/full-hazards.svg)" in text
    assert "full-workers.svg" not in text, "nothing of it was measured"
    assert (folder / "full-hazards.svg").exists()
    assert (folder.parent / "sizing.md").exists()
    again = documents.merge(documents.latest(folder), second)
    assert again.values == merged.values
    assert [run["measured"] for run in again.facts["runs"]] == [["polls"], ["sockets", "hazards"]]


def test_the_documents_have_a_place_for_every_table() -> None:
    """Between marks, which `python -m bench.documents` fills."""
    text = meanings.DOCUMENT.read_text()
    for name in ("targets", "hazards", "figures"):
        assert f"<!-- {name} -->\n" in text
        assert f"<!-- end of {name} -->" in text
    assert (PROJECT / "bench" / "sizing.template.md").read_text().count("<!-- curve ") == len(growth.CURVES)
