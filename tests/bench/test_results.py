"""Ratios, and what is said where one is worse than the baseline."""

import pytest

from bench import baseline, chart, report
from bench.figures import FIGURES, OURS, figure
from bench.results import Results, percentile


@pytest.fixture(autouse=True)
def figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three figures and no others."""
    for key in list(FIGURES):
        monkeypatch.delitem(FIGURES, key)
    monkeypatch.setattr("bench.figures.FIGURES", FIGURES)
    for key, title, unit, better in (
        ("s.told", "all told", "ms", "less"),
        ("s.rate", "upgrades", "/s", "more"),
        ("p.share", "unchanged polls", "share", "more"),
    ):
        monkeypatch.setitem(FIGURES, key, None)
        monkeypatch.delitem(FIGURES, key)
        figure(key, title, unit, better, "what it means")


def measured(told: float = 100, share: float = 0.8) -> Results:
    results = Results(facts={"date": "today"})
    for drift in (1.0, 3.0):  # the machine is three times slower in the second round
        results.record("s.told", told * drift)
        results.record("s.told", 400 * drift, "peer")
        results.record("s.rate", 1000 / drift)
        results.record("s.rate", 2000 / drift, "peer")
    results.record("p.share", share)
    return results


def test_a_ratio_is_how_many_times_better_ours_is_whatever_the_machine_does() -> None:
    """Of one round each, so that drift between rounds is in none of them."""
    assert measured().ratios() == {"s.told/peer": 4.0, "s.rate/peer": 0.5, "p.share": 0.8}


def test_rounds_are_compared_with_themselves() -> None:
    """Ratios of medians would mix rounds: here they would say 9."""
    results = Results()
    for ours, peer in ((100, 400), (300, 1200), (100, 900)):
        results.record("s.told", ours)
        results.record("s.told", peer, "peer")
    assert results.ratio("s.told", "peer") == 4.0


def test_what_a_peer_did_not_finish_has_no_ratio() -> None:
    """Nothing is made up where nothing was measured, or where ours is nothing."""
    results = Results()
    results.record("s.told", 0.0)
    results.record("s.told", 5.0, "peer")
    assert results.ratios() == {}
    assert results.median("s.rate") is None


def test_a_figure_that_nobody_explains_cannot_be_recorded() -> None:
    """The documents have a sentence for each."""
    with pytest.raises(KeyError):
        Results().record("s.other", 1.0)


def test_the_baseline_passes_what_it_was_made_from_and_names_what_is_worse() -> None:
    """Within the tolerance nothing is said to be worse; beyond it one sentence names figure, peer and both ratios."""
    kept = baseline.made_from(measured())
    assert not any(finding.is_worse for finding in baseline.compare(measured(), kept))
    assert not any(finding.is_worse for finding in baseline.compare(measured(told=140), kept))

    worse = [finding for finding in baseline.compare(measured(told=200), kept) if finding.is_worse]

    assert [finding.sentence for finding in worse] == [
        "all told beside peer is 2, worse than the baseline 4 less 30% (at least 2.8)."
    ]
    (share,) = [each for each in baseline.compare(measured(share=0.4), kept) if each.is_worse]
    assert share.sentence.startswith("unchanged polls, as a share of the empty view's is 0.4, worse than")


def test_what_took_part_must_have_been_measured_and_what_did_not_is_left_alone() -> None:
    """A figure that vanished fails; a peer or a measurement that was not asked for does not."""
    kept = baseline.made_from(measured())
    partly = Results()
    partly.record("s.told", 100)
    partly.record("s.told", 400, "peer")

    findings = {finding.key: finding for finding in baseline.compare(partly, kept)}

    assert set(findings) == {"s.told/peer", "s.rate/peer"}
    assert findings["s.rate/peer"].is_worse
    assert "was not measured" in findings["s.rate/peer"].sentence
    alone = Results()
    alone.record("s.told", 100)
    assert baseline.compare(alone, kept) == []


def test_tables_and_pictures_show_medians_ranges_and_ratios() -> None:
    """For people: what stands in the file for machines."""
    results = measured()
    text = report.text(results)
    assert "200 (100–300)" in text
    assert "4 ×" in text
    page = report.markdown(results, ["full-sockets.svg"])
    assert "| all told | ms | signalbox | 200 (100–300) | 2 |  |" in page
    picture = chart.bars(results, ["s.told", "absent"], "Sockets & more")
    assert picture.startswith("<svg")
    assert "Sockets &amp; more" in picture
    assert Results.from_json(results.to_json()).ratios() == results.ratios()
    assert OURS in picture


def test_percentiles() -> None:
    """The value below which so many lie; none of nothing."""
    assert percentile([float(each) for each in range(100)], 0.99) == 99.0
    with pytest.raises(ValueError, match="no value"):
        percentile([], 0.5)
