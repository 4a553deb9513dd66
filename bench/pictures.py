"""Which figures are drawn together."""

from __future__ import annotations

from pathlib import Path

from bench import chart
from bench.results import Results

PICTURES = {
    "sockets": (
        "Sockets, ours beside the peers",
        ("sockets.memory", "sockets.upgrades", "sockets.idle", "sockets.all_told", "sockets.push_p50"),
    ),
    "requests": (
        "Requests of agents, as a share of an empty view's",
        ("polls.share", "heartbeats.postgresql_share", "heartbeats.sqlite_share", "fetches.share"),
    ),
    "workers": ("One push with more workers", ("workers.push_cost", "workers.push_p50")),
}


def write_pictures(results: Results, folder: Path, name: str) -> list[str]:
    """`<name>-<picture>.svg` for each picture of which anything was measured; their names."""
    written = []
    for picture, (title, keys) in PICTURES.items():
        if any(results.values.get(key) for key in keys):
            file = folder / f"{name}-{picture}.svg"
            file.write_text(chart.bars(results, keys, title))
            written.append(file.name)
    return written
