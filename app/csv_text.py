"""Comma-separated values (RFC 4180) that a spreadsheet reads as text and never runs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

BEGINS_A_FORMULA = tuple("=+-@＝＋－＠\t\r\n")
"""What a cell must not begin with, behind spaces too: a spreadsheet may take the rest for a formula."""


def lines(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """One line for each row, made as it is asked for."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    for row in rows:
        writer.writerow([harmless(cell) for cell in row])
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()


def harmless(cell: str) -> str:
    """The cell with an apostrophe before it where it could be a formula: then it is text."""
    begins = cell.startswith(BEGINS_A_FORMULA) or cell.lstrip().startswith(BEGINS_A_FORMULA)
    return f"'{cell}" if begins else cell
