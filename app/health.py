"""``/healthz``: the process is up. ``/readyz``: it can do its work."""

from __future__ import annotations

from flask import Blueprint, Flask, jsonify
from flask.typing import ResponseReturnValue
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app.database import db
from app.push.redis_gate import RedisAwayError
from app.switchboard_process import switchboard

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def healthz() -> ResponseReturnValue:
    """Always 200 with ``{"status": "ok"}`` while the process answers at all."""
    return jsonify(status="ok")


@blueprint.get("/readyz")
def readyz() -> ResponseReturnValue:
    """503 if the database is away or the worker drains; Redis is only shown, since polling goes on without it."""
    parts = {"database": "ok", "redis": "ok", "worker": "draining" if switchboard().draining else "ok"}
    try:
        db.session.execute(text("SELECT 1"))
    except SQLAlchemyError:
        parts["database"] = "away"
    finally:
        db.session.remove()
    try:
        switchboard().gate.run(lambda client: client.ping())
    except RedisAwayError:
        parts["redis"] = "away"
    is_ready = parts["database"] == "ok" and parts["worker"] == "ok"
    return jsonify(status="ok" if is_ready else "not ready", **parts), 200 if is_ready else 503


def init_app(app: Flask) -> None:
    """Register the two routes."""
    app.register_blueprint(blueprint)
