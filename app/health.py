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
    """503 if the database is away or the worker drains; Redis is only shown, since polling goes on without it.

    A database without tables is of no use either. That the schema is this release's, ``doctor`` says: during a
    rolling upgrade it is newer.
    """
    parts = {
        "database": _database_state(),
        "redis": "ok",
        "worker": "draining" if switchboard().draining else "ok",
    }
    try:
        switchboard().gate.run(lambda client: client.ping())
    except RedisAwayError:
        parts["redis"] = "away"
    is_ready = parts["database"] == "ok" and parts["worker"] == "ok"
    return jsonify(status="ok" if is_ready else "not ready", **parts), 200 if is_ready else 503


def _database_state() -> str:
    state = "away"
    try:
        db.session.execute(text("SELECT 1"))
        state = "without tables; run: flask --app wsgi db upgrade"
        db.session.execute(text("SELECT version_num FROM alembic_version"))
        state = "ok"
    except SQLAlchemyError:
        pass  # what has been reached so far is the answer
    finally:
        db.session.remove()
    return state


def init_app(app: Flask) -> None:
    """Register the two routes."""
    app.register_blueprint(blueprint)
