"""The table of figures in `docs/bench.md`, made from their declarations: `python -m bench.meanings` writes it."""

from __future__ import annotations

from bench import measures
from bench.documents import FOLDER, fill, meanings

DOCUMENT = FOLDER.parent / "bench.md"


def table() -> str:
    """A row for each figure of a full run."""
    measures.named(measures.SMALL + measures.REST)
    return meanings()


def main() -> None:
    """Write the table into the document."""
    DOCUMENT.write_text(fill(DOCUMENT.read_text(), "figures", table()))


if __name__ == "__main__":
    main()
