"""The sizing page: each growth curve with its order, put into the text that says what breaks next and what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bench import chart
from bench.figures import FIGURES
from bench.measures import growth
from bench.report import number
from bench.results import Results

TEMPLATE = Path(__file__).parent / "sizing.template.md"


def page(results: Results, write_picture: Callable[[str, str], str]) -> str:
    """The page; `write_picture` keeps a picture under a name and answers how it is linked to."""
    text = TEMPLATE.read_text()
    text = text.replace("<!-- machine -->", f"{results.facts.get('machine', 'unknown')}.")
    for what, keys in growth.CURVES.items():
        text = text.replace(f"<!-- curve {what} -->", "\n".join(_curves(results, what, keys, write_picture)))
    return text.replace("<!-- large crowd -->", "\n".join(_large(results)))


def _curves(
    results: Results, what: str, keys: tuple[str, ...], write_picture: Callable[[str, str], str]
) -> list[str]:
    table = ["| cost | unit | measured | order |", "|---|---|---|---|"]
    pictures = []
    for key in keys:
        curve, figure = growth.points(results, key), FIGURES[key]
        order = growth.exponent(curve)
        shown = ", ".join(f"{number(size)}: {number(cost)}" for size, cost in curve) or "not measured yet"
        order_text = "–" if order is None else f"{order:.2f}"
        table.append(f"| {figure.title} ({figure.what}) | {figure.unit} | {shown} | {order_text} |")
        if order is not None:
            usable = [(size, cost) for size, cost in curve if cost > 0]
            picture = chart.curve(usable, order, figure.title, what, figure.unit)
            pictures.append(f"![{figure.title}]({write_picture(key.replace('.', '-'), picture)})")
    return [*table, "", *pictures] if pictures else table


def _large(results: Results) -> list[str]:
    return [
        "| figure | unit | measured |",
        "|---|---|---|",
        *(
            f"| {figure.title} | {figure.unit} | {number(results.median(key))} |"
            for key, figure in FIGURES.items()
            if key.startswith("large_crowd.")
        ),
    ]


def write(results: Results, file: Path, pictures: Path) -> None:
    """The page as *file*, its pictures in *pictures*, which is beside or below it."""

    def keep(name: str, picture: str) -> str:
        target = pictures / f"{name}.svg"
        target.write_text(picture)
        return target.resolve().relative_to(file.parent.resolve()).as_posix()

    file.write_text(page(results, keep))
