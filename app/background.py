"""What a worker does beside its requests and sockets: send to webhooks; watch and evaluate, if it is its turn."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import gevent
from flask import Flask

from app import alert_evaluation, watch, webhook_delivery
from app.clock import utc_now
from app.database import db, engine_of_its_own, using
from app.errors import UnavailableError
from app.kept_connection import KeptConnection
from app.push.deadlines import deadline

DELIVERY_SECONDS = 1.0
WATCH_SECONDS = 5.0
STOP_SECONDS = 2.0

log = logging.getLogger("signalbox.background")


class Background:
    """Three greenlets that no error ends; whatever one has not done the next turn, or another worker, does."""

    def __init__(self, app: Flask, worker_id: str) -> None:
        self._app = app
        self._worker_id = worker_id
        # Requests that hold every connection of theirs stop neither.
        self._engine = engine_of_its_own(app.config["SQLALCHEMY_DATABASE_URI"], "signalbox background", 5)
        self._alert_seconds = app.extensions["settings"].alert_interval_seconds
        with app.app_context():
            self._looks = KeptConnection(self._engine or db.engine)
        self._greenlets: list[Any] = []

    def start(self) -> None:
        """In the worker, after the fork."""
        self._greenlets = [gevent.spawn(each) for each in (self._deliver, self._watch, self._evaluate)]

    def stop(self) -> None:
        """End all, and let another worker go on at once. What is being sent is sent again by somebody."""
        gevent.killall(self._greenlets, block=True, timeout=1.0)
        try:
            with deadline(STOP_SECONDS), self._asking():
                watch.stop(self._worker_id)
                alert_evaluation.stop(self._worker_id, self._alert_seconds)
        except Exception as error:
            log.warning("the watch was not given up: %s", error)

    def _deliver(self) -> None:
        while True:
            gevent.sleep(DELIVERY_SECONDS * random.uniform(0.7, 1.3))
            self._turn(self._deliver_due, "deliver to webhooks")

    def _watch(self) -> None:
        while True:
            gevent.sleep(WATCH_SECONDS * random.uniform(0.8, 1.2))
            self._turn(lambda: watch.watch(self._worker_id), "watch the fleet")

    def _evaluate(self) -> None:
        while True:
            gevent.sleep(self._alert_seconds * random.uniform(0.8, 1.2))
            self._turn(
                lambda: alert_evaluation.evaluate(self._worker_id, self._alert_seconds),
                "evaluate the alert rules",
            )

    def _deliver_due(self) -> None:
        while webhook_delivery.has_due(self._looks, utc_now()) and webhook_delivery.deliver_due():
            pass

    @contextmanager
    def _asking(self) -> Iterator[None]:
        own = using(self._engine) if self._engine is not None else nullcontext()
        with self._app.app_context(), own:
            yield

    def _turn(self, work: Any, name: str) -> None:
        try:
            with self._asking():
                work()
        except UnavailableError as error:
            log.warning("cannot %s now: %s", name, error)
        except Exception:
            log.exception("cannot %s", name)


_background: Background | None = None


def start(app: Flask, worker_id: str) -> None:
    """Start this worker's."""
    global _background
    _background = Background(app, worker_id)
    _background.start()


def stop() -> None:
    """Stop this worker's, if it has begun."""
    if _background is not None:
        _background.stop()
