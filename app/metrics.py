"""``/metrics`` for Prometheus, summed over the workers of this gunicorn master."""

from __future__ import annotations

import hmac
import os

from flask import Blueprint, Flask, Response, current_app, request
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from app import tokens
from app.config import Settings
from app.errors import UnauthorizedError

blueprint = Blueprint("metrics", __name__)


@blueprint.get("/metrics")
def metrics() -> Response:
    """The metrics as text; asks for ``SIGNALBOX_METRICS_TOKEN`` where that is set."""
    settings: Settings = current_app.extensions["settings"]
    if settings.metrics_token is not None:
        token = tokens.bearer(request.headers.get("Authorization")) or ""
        if not hmac.compare_digest(token.encode(), settings.metrics_token.encode()):
            raise UnauthorizedError("The metrics need the token in SIGNALBOX_METRICS_TOKEN.")
    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def init_app(app: Flask) -> None:
    """Register the route."""
    app.register_blueprint(blueprint)
