"""Hazard 20: whom the kernel wakes first accepts, and each worker sheds all that it holds above the average."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from flask import Flask
from gevent.server import StreamServer

from app import gunicorn_worker
from app.push import loads, shedding
from app.push.balance import Load
from bench.without import replace


def remove(app: Flask) -> None:
    """Replace the acceptor by gevent's own, and the bounds of shedding by none."""
    replace(gunicorn_worker.Acceptor, "_do_read", StreamServer._do_read)

    def to_shed(own_id: str, all_loads: Collection[Load], seconds: float) -> int:
        own = next((load for load in all_loads if load.worker_id == own_id), None)
        if own is None:
            return 0
        return max(0, own.sockets - sum(load.sockets for load in all_loads) // len(all_loads))

    def mark_shed(self: Any, node_ids: Sequence[str]) -> list[str]:
        return list(node_ids)

    replace(shedding, "to_shed", to_shed)
    replace(shedding, "OLD_ENOUGH_MS", 0)
    replace(loads.Loads, "mark_shed", mark_shed)
