"""How the templates print things: moments, rates, versions, and the addresses of static files."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from flask import Flask, current_app, request, url_for

from app import access
from app.clock import rfc3339
from app.pages import bars
from app.switchboard_process import switchboard

_FILES_READ = re.compile(r"\AFailed to load \[[^\]\n]*\][\s:-]*")
_VERSION = re.compile(r"\d+\.\d+[\w.+-]*")


def init_app(app: Flask) -> None:
    """Give the templates their filters."""
    app.add_template_filter(exact)
    app.add_template_filter(rfc3339, "iso")
    app.add_template_filter(rate)
    app.add_template_filter(duration)
    app.add_template_filter(short_version)
    app.add_template_filter(plural)
    app.add_template_filter(reason)
    app.add_template_filter(pretty_json)
    app.add_template_global(asset)
    app.add_template_global(bars.segments, "bar_segments")
    app.add_template_global(access.may)
    app.add_template_global(access.may_overall)
    app.add_template_global(access.may_somewhere)
    app.add_template_global(access.sees_nothing)
    app.add_template_global(section)
    app.add_template_global(unknown_since)


SECTIONS = {
    "account_sessions": "accounts",
    "fleet_batches": "fleet",
    "first_steps": "fleet",
    "nodes": "fleet",
    "samples": "pipelines",
    "tail": "pipelines",
    "actions": "environments",
    "alert_rules": "alerts",
    "approval": "approvals",
}
"""Under which entry of the navigation the pages of a blueprint stand, where that is not its own."""


def section() -> str:
    """The entry of the navigation under which the present page stands."""
    blueprint = (request.blueprint or "").rpartition(".")[2]
    return SECTIONS.get(blueprint, blueprint)


def unknown_since() -> datetime | None:
    """Since when nobody can say who is connected, and nobody can be told at once; ``None`` while Redis answers."""
    return switchboard().unknown_since


def exact(moment: datetime | None) -> str:
    """``2026-01-31 12:00:00 UTC``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if moment else "never"


def rate(events: float | None) -> str:
    """Events a second in at most four characters and a unit: ``0.25``, ``7.5``, ``120``, ``1.2k``."""
    if events is None:
        return "–"
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if events >= size:
            return _digits(events / size) + unit
    return _digits(events)


def _digits(number: float) -> str:
    if number == 0:
        return "0"
    if number < 0.01:
        return "<0.01"
    places = 0 if number >= 99.5 else 1 if number >= 9.95 else 2
    return f"{number:.{places}f}".rstrip("0").rstrip(".") if places else f"{number:.0f}"


def duration(span: timedelta) -> str:
    """``3 d 4 h``, ``5 min``, ``12 s``: the two largest units at most."""
    seconds = max(0, round(span.total_seconds()))
    if seconds < 120:
        return f"{seconds} s"
    for size, unit, less, smaller in ((86400, "d", 3600, "h"), (3600, "h", 60, "min")):
        if seconds >= size:
            rest = seconds % size // less
            return f"{seconds // size} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{seconds // 60} min"


def short_version(text: str | None) -> str | None:
    """The version number in a line such as ``vector 0.57.0 (x86_64 … 2026-01-01)``, or the line itself."""
    match = _VERSION.search(text or "")
    return match[0] if match else text


def reason(error: str) -> str:
    """A pipeline's *error* from where it says something: Vector begins with a list of the files it has read."""
    return _FILES_READ.sub("", error) or error


def pretty_json(value: Any) -> str:
    """A JSON value for people: indented, and in its own letters."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def plural(number: int, one: str, many: str | None = None) -> str:
    """``1 node``, ``2 nodes``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def asset(name: str) -> str:
    """The address of a static file, with a digest of its content so that browsers may keep it for good."""
    static_folder = current_app.static_folder
    assert static_folder is not None
    return url_for("static", filename=name, v=_digest(Path(static_folder) / name))


@cache
def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]
