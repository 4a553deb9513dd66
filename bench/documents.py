"""The documents, made from what runs have measured: `python -m bench.documents RESULTS … [--folder docs/bench]`.

RESULTS are files or folders of `python -m bench`. A run need not hold everything: each measurement is taken as a
whole from the last that has it, so a later file stands in for an earlier one. Writes `full.json`, `full.md` and
pictures into the folder, `sizing.md` beside it, and the tables of targets, hazards and figures into `bench.md`.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import measures, report, sizing, targets
from bench.figures import FIGURES, OURS, ordered
from bench.hazards import WITHOUT
from bench.pictures import PICTURES, is_drawn, write_pictures
from bench.report import number
from bench.results import Results
from tests.support import PROJECT

FOLDER = PROJECT / "docs" / "bench"
NAME = "full"


def main() -> int:
    """Read, merge, write."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.documents", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    arguments = parser.parse_args()
    files = [file for each in arguments.results for file in _files(each)]
    if not files:
        print("bench.documents: there is no results file", file=sys.stderr)
        return 2
    measures.named(measures.SMALL + measures.REST)  # so that every figure is known
    merged = Results()
    for file in files:
        merged = merge(merged, report.read_json(file))
        print(f"{file}: {', '.join(_measured(report.read_json(file))) or 'nothing'}")
    write(merged, arguments.folder)
    return 0


def _files(path: Path) -> list[Path]:
    """A folder's in the order in which they were written."""
    return sorted(path.glob("*.json"), key=lambda file: file.stat().st_mtime) if path.is_dir() else [path]


def _measured(results: Results) -> list[str]:
    """The measurements that it has something of, in their order."""
    names = {key.partition(".")[0] for key in results.values}
    return [name for name in measures.SMALL + measures.REST if name in names]


def merge(earlier: Results, later: Results) -> Results:
    """What *later* has measured, and the rest of *earlier*; `facts["runs"]` says which is from where."""
    renewed = set(_measured(later))
    values = {key: each for key, each in earlier.values.items() if key.partition(".")[0] not in renewed}
    runs = [
        {**run, "measured": left}
        for run in _runs(earlier)
        if (left := [name for name in run["measured"] if name not in renewed])
    ]
    facts = {"machine": later.facts.get("machine") or earlier.facts.get("machine", "")}
    for kind in ("leftOut", "failed"):
        old = [each for each in earlier.facts.get(kind, []) if re.split(r"[:,]", each)[0] not in renewed]
        if both := [*old, *later.facts.get(kind, [])]:
            facts[kind] = both
    return Results({**values, **later.values}, {**facts, "runs": [*runs, *_runs(later)]})


def _runs(results: Results) -> list[dict[str, Any]]:
    if "runs" in results.facts:
        return list(results.facts["runs"])
    facts = {
        name: results.facts[name]
        for name in ("date", "commit", "scale", "took", "machine")
        if name in results.facts
    }
    return [{**facts, "measured": _measured(results)}] if results.values else []


def write(results: Results, folder: Path) -> None:
    """All documents; *folder* is made where it does not exist."""
    folder.mkdir(parents=True, exist_ok=True)
    report.write_json(results, folder / f"{NAME}.json")
    pictures = write_pictures(results, folder, NAME)
    (folder / f"{NAME}.md").write_text(report.markdown(results, pictures))
    sizing.write(results, folder.parent / "sizing.md", folder)
    document = folder.parent / "bench.md"
    if document.exists():
        text = document.read_text()
        for name, table in tables(results).items():
            text = fill(text, name, table)
        document.write_text(text)


def tables(results: Results) -> dict[str, str]:
    """What stands between the marks of `bench.md`, by name."""
    return {
        "targets": targets.table(results) + _pictures(results, ("sockets", "requests", "workers")),
        "hazards": hazards(results) + _pictures(results, ("hazards",)),
        "figures": meanings(),
    }


def _pictures(results: Results, names: Sequence[str]) -> str:
    """Links to those of which anything was measured."""
    drawn = [name for name in names if is_drawn(results, name)]
    return "".join(f"\n![{PICTURES[name][1]}](bench/{NAME}-{name}.svg)" for name in drawn) + "\n" * bool(
        drawn
    )


def fill(text: str, name: str, table: str) -> str:
    """*text* with *table* between its marks of that name."""
    between = re.compile(rf"(?<=<!-- {name} -->\n).*(?=<!-- end of {name} -->)", re.DOTALL)
    return between.sub(lambda _: table, text)


def hazards(results: Results) -> str:
    """A row for each figure of a hazard: as it is, without the rule, and how many times better it is with it."""
    rows = ["| hazard | unit | as it is | without the rule | better by |", "|---|---|---|---|---|"]
    for key, figure in FIGURES.items():
        if key.startswith("hazards."):
            ratio = results.ratio(key, WITHOUT) if results.of(key, WITHOUT) else None
            rows.append(
                f"| {figure.title} | {figure.unit} | {report.spread(results, key, OURS)} |"
                f" {report.spread(results, key, WITHOUT)} | {f'{number(ratio)} ×' if ratio is not None else '–'} |"
            )
    return "\n".join(rows) + "\n"


def meanings() -> str:
    """A row for each figure that can be measured."""
    rows = ["| figure | unit | better | what it is |", "|---|---|---|---|"]
    rows += [
        f"| {figure.title} (`{figure.key}`) | {figure.unit} | {figure.better} | {figure.what} |"
        for figure in ordered()
    ]
    return "\n".join(rows) + "\n"


def latest(folder: Path = FOLDER) -> Results:
    """What the documents are made of at present."""
    file = folder / f"{NAME}.json"
    return report.read_json(file) if file.exists() else Results()


if __name__ == "__main__":
    sys.exit(main())
