"""What is printed: tables for people, the API's own objects as JSON or YAML for programs."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import click
import yaml

from signalbox_cli.plain_text import cut, printable, printable_json, width

__all__ = ["printable", "width"]

FORMATS = ("table", "json", "yaml")
GAP = "  "
NARROWEST = 6

Row = Any
Column = tuple[str, Callable[[Row], object]]
"""A title, and what of a row stands below it."""

_COLOURS = {
    "HEALTHY": "green", "RUNNING": "green", "COMPLETED": "green", "yes": "green", "create": "green", "unchanged": "",
    "UNREACHABLE": "red", "FAILED": "red", "CRASHED": "red", "CRASH_LOOP": "red", "ERROR": "red", "prune": "red",
    "behind": "yellow", "no": "yellow", "PENDING": "yellow", "change": "yellow", "deploy": "cyan",
    "FIRING": "red", "critical": "red", "warning": "yellow", "RESOLVED": "green", "broken": "red",
}  # fmt: skip
"""The word itself always stands there too."""


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks."""


def _block(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _block)


def to_yaml(content: object) -> str:
    """Readable YAML with the keys in their order."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def to_json(content: object, indent: int | None = 2) -> str:
    """JSON; with *indent* ``None`` on one line. What could steer a terminal is written out."""
    return printable_json(json.dumps(content, indent=indent, ensure_ascii=False))


def show(content: object, kind: str, table: Callable[[], None]) -> None:
    """Print *content* as *kind* says; *table* prints it for people."""
    if kind == "json":
        click.echo(to_json(content))
    elif kind == "yaml":
        click.echo(to_yaml(content), nl=False)
    else:
        table()


def table(rows: Sequence[Row], columns: Sequence[Column], empty: str) -> None:
    """Print rows below titles, as wide as the terminal; all of it where the output goes elsewhere."""
    if not rows:
        note(empty)
        return
    for line in lines(rows, columns, terminal_width(), colours()):
        click.echo(line)


def lines(
    rows: Sequence[Row], columns: Sequence[Column], wide: int | None, coloured: bool = False
) -> list[str]:
    """The lines of a table that is at most *wide* columns wide (``None``: as wide as it takes).

    Half an id helps nobody: a last column of ids is left out before others are cut.
    """
    cells = [[_text(value(row)) for _, value in columns] for row in rows]
    titles = [title for title, _ in columns]
    widths = [max(width(row[index]) for row in [titles, *cells]) for index in range(len(columns))]
    if wide is not None and _sum(widths) > wide and titles[-1] == "ID":
        return lines(rows, columns[:-1], wide, coloured)
    while wide is not None and _sum(widths) > wide:
        widest = max(widths)
        if widest <= NARROWEST:
            break
        widths[widths.index(widest)] -= 1
    return [
        _line(titles, widths, False),
        *(_line(row, widths, coloured) for row in cells),
    ]


def fields(pairs: Sequence[tuple[str, object]]) -> None:
    """Print names and values, one pair a line."""
    longest = max(width(name) for name, _ in pairs)
    for name, value in pairs:
        click.echo(f"{name}:{' ' * (longest - width(name) + 1)}{_text(value)}")


def note(sentence: str) -> None:
    """Tell people something that is no part of the output: on standard error."""
    click.echo(printable(sentence), err=True)


def labels(values: dict[str, str] | None) -> str:
    """``a=1,b=2``."""
    return ",".join(f"{key}={value}" for key, value in sorted((values or {}).items()))


def ago(moment: str | None, now: datetime | None = None) -> str:
    """How long ago a moment of the API's was, in one unit."""
    if moment is None:
        return "never"
    seconds = ((now or datetime.now(UTC)) - datetime.fromisoformat(moment)).total_seconds()
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit} ago"
    return f"{max(0, int(seconds))} s ago"


def colours() -> bool:
    """Whether colours are seen and wanted."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def terminal_width() -> int | None:
    """The columns of the terminal; ``None`` where the output goes elsewhere."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def paint(text: str, word: str, coloured: bool) -> str:
    """*text* in the colour of *word*, if it has one."""
    colour = _COLOURS.get(word)
    return click.style(text, fg=colour) if coloured and colour else text


def _line(cells: Sequence[str], widths: Sequence[int], coloured: bool) -> str:
    parts = []
    for index, (cell, wide) in enumerate(zip(cells, widths, strict=True)):
        shown = cut(cell, wide)
        padding = "" if index == len(cells) - 1 else " " * (wide - width(shown))
        parts.append(paint(shown, cell, coloured) + padding)
    return GAP.join(parts).rstrip()


def _text(value: object) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return printable(str(value), keep="")


def _sum(widths: Sequence[int]) -> int:
    return sum(widths) + len(GAP) * (len(widths) - 1)
