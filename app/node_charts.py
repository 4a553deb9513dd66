"""The charts of a node's page: what its machine and its pipelines did within an hour, a day or a week."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from markupsafe import Markup

from app import metrics_history
from app.metrics_figures import figures
from app.metrics_points import HOST, HOUR, MINUTE, Point, total
from app.svg_charts import Line, chart

SPANS = {"hour": (3600, MINUTE, MINUTE), "day": (86400, MINUTE, 600), "week": (7 * 86400, HOUR, HOUR)}
"""How many seconds a chart is of, the level that it is read at, and how many seconds become one point of it."""
MOST_ROWS = 24
"""Of a chart's table: what more there is, is added up."""
MOST_PIPELINES = 20


@dataclass(frozen=True, slots=True)
class Chart:
    """One picture with its table."""

    key: str
    title: str
    picture: Markup
    lines: list[tuple[int, str, str]]
    """Number of the look, name, and the latest value."""
    rows: list[tuple[datetime, list[str]]]
    """Moment and the value of each line, as text; the latest first."""
    subject: str


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a chart shows of a subject: its lines by name, how a value is written, the top of its scale."""

    key: str
    title: str
    lines: tuple[tuple[str, str], ...]
    say: Callable[[float], str]
    base: int = 10
    top: str | float | None = None


def share(value: float) -> str:
    """``42 %``."""
    return f"{value * 100:.0f} %" if value == 0 or value >= 0.0995 else f"{value * 100:.1f} %"


def size(value: float) -> str:
    """``1.5 GiB``."""
    for limit, unit in ((1024**4, "TiB"), (1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB")):
        if value >= limit:
            return f"{_short(value / limit)} {unit}"
    return f"{value:.0f} B"


def size_rate(value: float) -> str:
    """``1.5 MiB/s``."""
    return f"{size(value)}/s"


def count_rate(value: float) -> str:
    """``1.2k/s``."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{_short(value / limit)}{unit}/s"
    return f"{_short(value)}/s"


def _short(value: float) -> str:
    places = 0 if value >= 99.5 else 1 if value >= 9.95 else 2
    text = f"{value:.{places}f}"
    return text.rstrip("0").rstrip(".") if places else text


HOST_KINDS = (
    _Kind("cpu", "CPU", (("cpuShare", "busy"),), share, top=1.0),
    _Kind("memory", "Memory", (("memoryUsedBytes", "used"),), size, 1024, "memoryTotalBytes"),
    _Kind("disk", "Disk space", (("fsUsedBytes", "used"),), size, 1024, "fsTotalBytes"),
    _Kind(
        "disk-rate",
        "Disk",
        (("diskReadBytesPerSecond", "read"), ("diskWrittenBytesPerSecond", "written")),
        size_rate,
        1024,
    ),
    _Kind(
        "network",
        "Network",
        (("netRxBytesPerSecond", "received"), ("netTxBytesPerSecond", "sent")),
        size_rate,
        1024,
    ),
)
PIPELINE_KINDS = (
    _Kind("events", "Events", (("eventsInPerSecond", "in"), ("eventsOutPerSecond", "out")), count_rate),
    _Kind("bytes", "Bytes", (("bytesInPerSecond", "in"), ("bytesOutPerSecond", "out")), size_rate, 1024),
    _Kind(
        "losses",
        "Errors and discarded",
        (("errorsTotalPerSecond", "errors"), ("eventsDiscardedPerSecond", "discarded")),
        count_rate,
    ),
)


def of_node(node_id: str, span: str, names: Mapping[str, str], now: float) -> list[Chart]:
    """The charts of the last *span* (a key of ``SPANS``) before *now*: the machine's, then each pipeline's.

    *names* are the pipelines' by id; one without a name there is gone from the node, and so are its charts.
    """
    seconds, level, step = SPANS[span]
    until = now // step * step + step
    since = until - seconds
    series = metrics_history.read(node_id, level, since, until)
    shown = [HOST, *sorted(names, key=lambda each: (names[each], each))[:MOST_PIPELINES]]
    if not names:
        shown = [HOST, *sorted(series.keys() - {HOST})]
    charts = []
    for subject in shown:
        points = _thinned(series.get(subject, {}), step)
        if points:
            kinds = HOST_KINDS if subject == HOST else PIPELINE_KINDS
            charts += [_draw(kind, subject, points, since, until, step) for kind in kinds]
    return charts


def _thinned(points: Mapping[int, Point], step: int) -> dict[int, Point]:
    groups: dict[int, list[Point]] = {}
    for start, point in points.items():
        groups.setdefault(start // step * step, []).append(point)
    return {start: total(group) for start, group in sorted(groups.items())}


def _draw(
    kind: _Kind, subject: str, points: Mapping[int, Point], since: float, until: float, step: int
) -> Chart:
    found = {start: figures(subject, point) for start, point in points.items()}
    top = kind.top if not isinstance(kind.top, str) else None
    if isinstance(kind.top, str):
        top = max((each[kind.top] or 0.0 for each in found.values()), default=0.0) or None
    # A point is of the time that begins with it: it is drawn in the middle of that.
    lines = [
        Line(name, number, [(start + step / 2, each[key]) for start, each in found.items()])
        for number, (key, name) in enumerate(kind.lines, start=1)
    ]
    latest = next(reversed(found.values()))
    said = [
        (number, name, kind.say(value) if (value := latest[key]) is not None else "unknown")
        for number, (key, name) in enumerate(kind.lines, start=1)
    ]
    title = f"{kind.title}: " + ", ".join(f"{name} {text} last" for _, name, text in said)
    picture = chart(title, lines, since, until, step, kind.say, top=top, base=kind.base)
    coarse = step * -(-len(points) // MOST_ROWS)
    rows = []
    for start, point in reversed(_thinned(points, coarse).items()):
        each = figures(subject, point)
        cells = [kind.say(value) if (value := each[key]) is not None else "–" for key, _ in kind.lines]
        rows.append((datetime.fromtimestamp(start, UTC), cells))
    return Chart(f"{subject}-{kind.key}", kind.title, picture, said, rows, subject)
