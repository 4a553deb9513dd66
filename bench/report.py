"""What a run says: a table for terminals, one for documents, and a file for machines."""

from __future__ import annotations

import json
from pathlib import Path

from bench.figures import OURS
from bench.results import Results


def number(value: float | None) -> str:
    """Three digits that matter; whole from a thousand on."""
    if value is None:
        return "–"
    if abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", "\N{NO-BREAK SPACE}")
    if value == int(value):
        return f"{value:.0f}"
    digits = 3 if abs(value) < 0.1 else 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:.{digits}f}"


def spread(results: Results, key: str, contender: str) -> str:
    """The median, and from where to where it went."""
    values = results.of(key, contender)
    if not values:
        return "–"
    median = number(results.median(key, contender))
    if len(values) == 1:
        return median
    return f"{median} ({number(min(values))}–{number(max(values))})"


def rows(results: Results) -> list[list[str]]:
    """Figure, unit, contender, median and range, how many values, how many times better ours is."""
    table = []
    for figure, names in results.figures():
        for name in names:
            ratio = results.ratio(figure.key, name) if name != OURS and figure.better != "-" else None
            table.append(
                [
                    figure.title if name == names[0] else "",
                    figure.unit if name == names[0] else "",
                    name,
                    spread(results, figure.key, name),
                    str(len(results.of(figure.key, name))),
                    f"{number(ratio)} ×" if ratio is not None else "",
                ]
            )
    return table


HEAD = ["figure", "unit", "of", "median (range)", "n", "ours is better by"]


def text(results: Results) -> str:
    """A table for a terminal."""
    table = [HEAD, *rows(results)]
    widths = [max(len(row[column]) for row in table) for column in range(len(HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in table]
    return "\n".join([*_facts(results), "", *(line.rstrip() for line in lines)]) + "\n"


def markdown(results: Results, pictures: list[str]) -> str:
    """A page for the documents; `pictures` are files beside it."""
    lines = [
        "# What was measured",
        "",
        "Made by `python -m bench`; what each figure means stands in [bench.md](../bench.md).",
        "",
        *(f"- {fact}" for fact in _facts(results)),
        "",
        *(f"![{Path(picture).stem}]({picture})" for picture in pictures),
        "",
        f"| {' | '.join(HEAD)} |",
        f"|{'---|' * len(HEAD)}",
        *(f"| {' | '.join(row)} |" for row in rows(results)),
    ]
    return "\n".join(lines) + "\n"


def _facts(results: Results) -> list[str]:
    facts = results.facts
    lines = [
        f"{name}: {facts[name]}" for name in ("date", "commit", "scale", "machine", "took") if name in facts
    ]
    lines += [
        f"{', '.join(run['measured'])}: {run.get('date', 'no date')}, commit {run.get('commit', 'unknown')},"
        f" scale {run.get('scale', 'unknown')}, {run.get('took', 'no time')}"
        for run in facts.get("runs", [])
    ]
    lines += [f"left out: {each}" for each in facts.get("leftOut", [])]
    lines += [f"failed: {each}" for each in facts.get("failed", [])]
    return lines


def write_json(results: Results, file: Path) -> None:
    """As `read_json` reads it."""
    file.write_text(json.dumps(results.to_json(), indent=1, ensure_ascii=False) + "\n")


def read_json(file: Path) -> Results:
    """What an earlier run has written."""
    return Results.from_json(json.loads(file.read_text()))
