"""Pictures of what was measured, as SVG that fits light and dark pages and needs no script."""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

from bench.figures import FIGURES, OURS
from bench.report import number
from bench.results import Results

WIDTH = 760
LABEL = 130
VALUE = 90
ROW = 22
BAR = 14
HEAD = 34
GAP = 14
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600 }
.ours { fill: #0b6bcb } .peer { fill: #9aa4af } .range { stroke: #57606a; stroke-width: 1.5 }
.axis { stroke: #9aa4af } .line { stroke: #0b6bcb; stroke-width: 2; fill: none }
.fit { stroke-dasharray: 4 4; stroke: #9aa4af; fill: none }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .ours { fill: #4aa3ff } .peer { fill: #5b6672 } .range { stroke: #adb7c2 }
  .line { stroke: #4aa3ff }
}
"""


def bars(results: Results, keys: Sequence[str], title: str) -> str:
    """For each figure a bar for each contender, as long as its median, with its range."""
    shown = [key for key in keys if results.values.get(key)]
    parts: list[str] = []
    top = 10.0
    for key in shown:
        figure = FIGURES[key]
        better = {"less": ", less is better", "more": ", more is better", "-": ""}[figure.better]
        heading = f"{figure.title} ({figure.unit}{better})"
        parts.append(f'<text class="title" x="8" y="{top + 18}">{escape(heading)}</text>')
        top += HEAD
        names = sorted(results.values[key], key=lambda name: (name != OURS, name))
        most = max(max(results.of(key, name)) for name in names) or 1.0
        room = WIDTH - LABEL - VALUE
        for name in names:
            values, median = results.of(key, name), results.median(key, name) or 0.0
            kind = "ours" if name == OURS else "peer"
            parts.append(f'<text x="{LABEL - 8}" y="{top + 12}" text-anchor="end">{escape(name)}</text>')
            length = max(1.0, room * median / most)
            parts.append(f'<rect class="{kind}" x="{LABEL}" y="{top}" width="{length:.1f}" height="{BAR}"/>')
            low, high = (LABEL + room * each / most for each in (min(values), max(values)))
            parts.append(
                f'<line class="range" x1="{low:.1f}" x2="{high:.1f}" y1="{top + BAR / 2}" y2="{top + BAR / 2}"/>'
            )
            parts.append(f'<text x="{high + 8:.1f}" y="{top + 12}">{number(median)}</text>')
            top += ROW
        top += GAP
    return _svg(parts, top, title)


def curve(points: Sequence[tuple[float, float]], exponent: float, title: str, across: str, up: str) -> str:
    """Measured points on logarithmic axes, and the power law that fits them.

    Both axes span as many doublings, so that what grows with the size rises from corner to corner, and what does not
    is flat.
    """
    left, right, top, bottom = 70, WIDTH - 20, 40, 300
    xs, ys = [math.log(x) for x, _ in points], [math.log(y) for _, y in points]
    x_low, x_high = min(xs), max(xs)
    span = max(max(ys) - min(ys), x_high - x_low)
    y_low = (max(ys) + min(ys) - span) / 2

    def at(x: float, y: float) -> str:
        across_share = (x - x_low) / ((x_high - x_low) or 1)
        up_share = (y - y_low) / (span or 1)
        return f"{left + across_share * (right - left):.1f},{bottom - up_share * (bottom - top):.1f}"

    middle_x, middle_y = sum(xs) / len(xs), sum(ys) / len(ys)
    fit = [(x, middle_y + exponent * (x - middle_x)) for x in (x_low, x_high)]
    parts = [
        f'<text class="title" x="8" y="22">{escape(title)}</text>',
        f'<line class="axis" x1="{left}" x2="{right}" y1="{bottom}" y2="{bottom}"/>',
        f'<line class="axis" x1="{left}" x2="{left}" y1="{top}" y2="{bottom}"/>',
        f'<polyline class="fit" points="{" ".join(at(x, y) for x, y in fit)}"/>',
        f'<polyline class="line" points="{" ".join(at(x, y) for x, y in zip(xs, ys, strict=True))}"/>',
    ]
    for x, y in points:
        place_x, place_y = at(math.log(x), math.log(y)).split(",")
        parts.append(f'<circle class="ours" cx="{place_x}" cy="{place_y}" r="4"/>')
        parts.append(f'<text x="{place_x}" y="{bottom + 18}" text-anchor="middle">{number(x)}</text>')
        parts.append(
            f'<text x="{place_x}" y="{float(place_y) - 8:.1f}" text-anchor="middle">{number(y)}</text>'
        )
    parts.append(
        f'<text x="{(left + right) / 2}" y="{bottom + 38}" text-anchor="middle">{escape(across)}</text>'
    )
    parts.append(
        f'<text x="{left + 6}" y="{top - 2}">{escape(up)}, grows with the power {exponent:.2f}</text>'
    )
    return _svg(parts, bottom + 50, title)


def line(results: Results, keys: Sequence[str], title: str) -> str:
    """For each figure a line over its contenders in the order in which they came, from zero on, with their ranges."""
    left, right, height = 70, WIDTH - 60, 150
    parts: list[str] = []
    top = 10.0
    for key in (key for key in keys if results.values.get(key)):
        figure, names = FIGURES[key], list(results.values[key])
        parts.append(
            f'<text class="title" x="8" y="{top + 18}">{escape(f"{figure.title} ({figure.unit})")}</text>'
        )
        top += HEAD + GAP
        bottom = top + height
        most = max(max(results.of(key, name)) for name in names) or 1.0
        spots = []
        for place, name in enumerate(names):
            x = left + (right - left) * (place + 0.5) / len(names)
            low, median, high = (
                bottom - height * each / most
                for each in (
                    min(results.of(key, name)),
                    results.median(key, name) or 0.0,
                    max(results.of(key, name)),
                )
            )
            spots.append(f"{x:.1f},{median:.1f}")
            parts.append(f'<line class="range" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>')
            parts.append(f'<circle class="ours" cx="{x:.1f}" cy="{median:.1f}" r="4"/>')
            parts.append(
                f'<text x="{x + 8:.1f}" y="{median - 8:.1f}">{number(results.median(key, name))}</text>'
            )
            parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{escape(name)}</text>')
        parts.append(f'<polyline class="line" points="{" ".join(spots)}"/>')
        parts.append(f'<line class="axis" x1="{left}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
        parts.append(f'<line class="axis" x1="{left}" x2="{left}" y1="{top}" y2="{bottom}"/>')
        top = bottom + HEAD + GAP
    return _svg(parts, top, title)


def _svg(parts: Sequence[str], height: float, title: str) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n{body}\n</svg>\n"
    )
