"""This process's switchboard, bound to the application."""

from __future__ import annotations

import os
import socket
import threading
import uuid

from flask import Flask, current_app

from app.config import Settings
from app.push.switchboard import Switchboard
from app.push.worker import Worker


def init_app(app: Flask, settings: Settings) -> None:
    """Make the switchboard; it connects to Redis when it is first asked something."""
    from app.standings import DatabaseQuestions  # the models; nothing before this line needs them

    app.extensions["switchboard"] = Switchboard(
        settings.redis_url,
        settings.redis_prefix,
        DatabaseQuestions(app, settings.database_url),
        settings.sweep_interval_seconds,
        settings.max_sockets,
    )


def switchboard() -> Switchboard:
    """The current application's switchboard."""
    return of(current_app)


def worker_of_this_process() -> Worker:
    """The part of the push channel that holds this process's sockets."""
    worker = switchboard().worker
    assert worker is not None, "asked for a socket's worker in a process that holds none"
    return worker


_becoming = threading.Lock()


def become_worker() -> None:
    """Hold sockets in this process too, in a thread of its own: for servers without gunicorn's hooks."""
    with _becoming:
        if switchboard().worker is None:
            switchboard().start_in_thread(new_worker_id(), worker_label())


def of(app: Flask) -> Switchboard:
    """The switchboard of *app*."""
    board: Switchboard = app.extensions["switchboard"]
    return board


def new_worker_id() -> str:
    """An id for one process's life: presence under it dies with its lease."""
    return uuid.uuid4().hex


def worker_label() -> str:
    """``host:pid`` of this process."""
    return f"{socket.gethostname().replace(' ', '-')}:{os.getpid()}"
