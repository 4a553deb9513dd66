"""Which figures are drawn together, and how."""

from __future__ import annotations

from pathlib import Path

from bench import chart
from bench.results import Results

PICTURES = {
    "sockets": (
        chart.bars,
        "Sockets, ours beside the peers",
        ("sockets.memory", "sockets.upgrades", "sockets.idle", "sockets.all_told", "sockets.push_p50"),
    ),
    "requests": (
        chart.bars,
        "Requests of agents, as a share of an empty view's",
        ("polls.share", "heartbeats.postgresql_share", "heartbeats.sqlite_share", "fetches.share"),
    ),
    "workers": (
        chart.line,
        "One push with more workers and with a second master",
        ("workers.push_cost", "workers.push_p50"),
    ),
    "hazards": (
        chart.bars,
        "Hazards, with and without their rules",
        (
            "hazards.h09_fetches", "hazards.h09_page", "hazards.h10_lag", "hazards.h10_cost", "hazards.h10_reader",
            "hazards.h20_fullest", "hazards.h25_health", "hazards.h28_answered", "hazards.h28_p99",
            "hazards.h29_page_p95", "hazards.h29_slowest", "hazards.h33_connected", "hazards.h33_bytes",
        ),
    ),
}  # fmt: skip


def is_drawn(results: Results, picture: str) -> bool:
    """Whether anything of that picture was measured."""
    return any(results.values.get(key) for key in PICTURES[picture][2])


def write_pictures(results: Results, folder: Path, name: str) -> list[str]:
    """`<name>-<picture>.svg` for each picture of which anything was measured; their names."""
    written = []
    for picture, (draw, title, keys) in PICTURES.items():
        if is_drawn(results, picture):
            file = folder / f"{name}-{picture}.svg"
            file.write_text(draw(results, keys, title))
            written.append(file.name)
    return written
