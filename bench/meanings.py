"""The table of figures in `docs/bench.md`, made from their declarations: `python -m bench.meanings` writes it."""

from __future__ import annotations

import re
from pathlib import Path

from bench import measures
from bench.figures import ordered
from bench.scale import FULL

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "bench.md"
BETWEEN = re.compile(r"(?<=<!-- figures -->\n).*(?=<!-- end of figures -->)", re.DOTALL)


def table() -> str:
    """A row for each figure of a full run."""
    measures.all_of(FULL)
    rows = ["| figure | unit | better | what it is |", "|---|---|---|---|"]
    rows += [
        f"| {figure.title} (`{figure.key}`) | {figure.unit} | {figure.better} | {figure.what} |"
        for figure in ordered()
    ]
    return "\n".join(rows) + "\n"


def main() -> None:
    """Write the table into the document."""
    DOCUMENT.write_text(BETWEEN.sub(lambda _: table(), DOCUMENT.read_text()))


if __name__ == "__main__":
    main()
