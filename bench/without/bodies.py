"""Hazard 25: a body may take as long as it likes, and an address may have as many unfinished ones as it likes.

The places for requests are gunicorn's own thousand, by its option `--worker-connections`.
"""

from __future__ import annotations

from flask import Flask

from app import request_limits
from bench.without import replace


def remove(app: Flask) -> None:
    """Raise both constants beyond reach."""
    replace(request_limits, "BODY_SECONDS", 3600.0)
    replace(request_limits, "UNKNOWN_SENDERS_AT_ONCE", 1_000_000)
