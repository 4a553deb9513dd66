"""Hazard 25, half-sent bodies: two thousand POSTs of which one byte comes, and what others notice."""

from __future__ import annotations

import socket
import statistics
import time
from contextlib import ExitStack

import requests

from bench import ours
from bench.hazards import compared, without
from bench.place import Place, say
from bench.scale import Scale

BODIES = 2000
ADDRESSES = 40
"""A worker waits for no more than 64 of one address."""
TRIES = 40
PATIENCE_SECONDS = 10.0
MOST_SECONDS = 15.0
RULE = (
    "a body may take as long as it likes, an address may have as many of them as it likes, and the places for "
    "requests are gunicorn's own thousand"
)

HEALTH = compared(
    "h25_health", f"`/healthz` with {BODIES} half-sent bodies", "ms", "less",
    f"median, asked for a few seconds while one worker waits for them; no answer within {PATIENCE_SECONDS:.0f} s "
    "counts as that long", RULE,
)  # fmt: skip
WORST = compared("h25_worst", "the slowest of them", "ms", "less", "the same")


def run(place: Place, scale: Scale, *, kept: bool) -> dict[str, float]:
    """One worker: with two it would take twice as many."""
    settings = without("bodies", kept)
    if not kept:
        settings["GUNICORN_CMD_ARGS"] = f"{ours.SETTINGS['GUNICORN_CMD_ARGS']} --worker-connections=1000"
    with ours.running(place, workers=1, settings=settings) as server, ExitStack() as stalled:
        for number in range(BODIES):
            stalled.enter_context(_half_sent(server.port, f"127.0.1.{1 + number % ADDRESSES}"))
        spans = _ask(server.server.url)
    say(f"hazard 25: {len(spans)} asked, median {statistics.median(spans):.0f} ms")
    return {HEALTH: statistics.median(spans), WORST: max(spans)}


def _half_sent(port: int, source: str) -> socket.socket:
    """An enrollment that announces a thousand bytes and sends one."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(source, 0))
    head = "POST /api/agent/enroll HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
    connection.sendall(f"{head}Content-Length: 1000\r\n\r\n{{".encode())
    return connection


def _ask(url: str) -> list[float]:
    """Milliseconds of each request, one after the other."""
    spans: list[float] = []
    until = time.monotonic() + MOST_SECONDS
    while len(spans) < TRIES and time.monotonic() < until:
        began = time.monotonic()
        try:
            requests.get(f"{url}/healthz", timeout=PATIENCE_SECONDS)
            spans.append(1000 * (time.monotonic() - began))
        except requests.RequestException:
            spans.append(1000 * PATIENCE_SECONDS)
        time.sleep(0.05)
    return spans
