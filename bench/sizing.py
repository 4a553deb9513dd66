"""The sizing page: each growth curve with its order, put into the text that says what breaks next and what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bench import chart, fleets
from bench.figures import FIGURES
from bench.fit import fit, reaches
from bench.measures import growth
from bench.report import number
from bench.results import Results

TEMPLATE = Path(__file__).parent / "sizing.template.md"
NOT_MEASURED = "not measured yet"


def page(results: Results, write_picture: Callable[[str, str], str]) -> str:
    """The page; `write_picture` keeps a picture under a name and answers how it is linked to."""
    text = TEMPLATE.read_text()
    text = text.replace("<!-- machine -->", f"{results.facts.get('machine', NOT_MEASURED)}.")
    for what, keys in growth.CURVES.items():
        text = text.replace(f"<!-- curve {what} -->", "\n".join(_curves(results, what, keys, write_picture)))
        text = text.replace(f"<!-- limits {what} -->", "\n".join(_limits(results, what, keys)))
    text = text.replace("<!-- fleets -->", "\n".join(fleets.table(results)))
    return text.replace("<!-- large crowd -->", "\n".join(_large(results)))


def _curves(
    results: Results, what: str, keys: tuple[str, ...], write_picture: Callable[[str, str], str]
) -> list[str]:
    table = ["| cost | unit | measured | order | at the end |", "|---|---|---|---|---|"]
    pictures = []
    for key in keys:
        curve, figure = growth.points(results, key), FIGURES[key]
        found = fit(curve)
        shown = ", ".join(f"{number(size)}: {number(cost)}" for size, cost in curve) or NOT_MEASURED
        order, end = "–", "–"
        if found is not None:
            order = f"{found.order:.2f} ({found.least:.2f}–{found.most:.2f})"
            end = f"{found.at_end:.2f}"
            usable = [(size, cost) for size, cost in curve if cost > 0]
            picture = chart.curve(usable, found.order, figure.title, growth.SIZES[what], figure.unit)
            pictures.append(f"![{figure.title}]({write_picture(key.replace('.', '-'), picture)})")
        table.append(f"| {figure.title} ({figure.what}) | {figure.unit} | {shown} | {order} | {end} |")
    return [*table, "", *pictures] if pictures else table


def _limits(results: Results, what: str, keys: tuple[str, ...]) -> list[str]:
    """Where each cost comes to what it must not come to."""
    lines = []
    for key in keys:
        if (limit := growth.LIMITS.get(key)) is not None:
            curve = growth.points(results, key)
            where = _where(curve, limit.cost, growth.SIZES[what])
            lines.append(f"- {where}: {limit.means} ({number(limit.cost)} {FIGURES[key].unit}).")
    return lines


def _where(curve: list[tuple[float, float]], limit: float, what: str) -> str:
    if fit(curve) is None:
        return NOT_MEASURED.capitalize()
    size = reaches(curve, limit)
    if size is None:
        return f"Not in sight within a hundred times what was measured ({number(curve[-1][0])} {what})"
    rounded = float(f"{size:.2g}")
    if size <= curve[0][0]:
        return f"Already at the smallest that was measured (**{number(size)}** {what})"
    if size > curve[-1][0]:
        return f"At about **{number(rounded)}** {what}, foretold"
    return f"At about **{number(rounded)}** {what}, measured"


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
