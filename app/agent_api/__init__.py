"""The agent API: parse, call a use, answer. See ``docs/protocol.md``, section 1."""

from __future__ import annotations

from flask import Flask

from app import switchboard_process
from app.agent_api import views
from app.agent_api.push_channel import ReaderThread
from app.config import Settings
from app.extensions import csrf, sock
from app.failure_limits import FailureLimits, GoodTokensInRedis
from app.refused_tokens import RefusedTokens
from app.upgrade_rate import ReconnectSpread, UpgradeRate


def sock_server_options() -> dict[str, object]:
    """What flask-sock makes its WebSockets with; one set for the whole application."""
    return {"thread_class": ReaderThread, "max_message_size": 64 * 1024}


def init_app(app: Flask) -> None:
    """Register the routes. Tokens travel in a header, so there is nothing for CSRF protection to do."""
    settings: Settings = app.extensions["settings"]
    gate = switchboard_process.of(app).gate
    app.extensions["failure_limits"] = FailureLimits(GoodTokensInRedis(gate, settings.redis_prefix))
    app.extensions["refused_tokens"] = RefusedTokens(gate, settings.redis_prefix)
    app.extensions["upgrade_rate"] = UpgradeRate(settings.upgrade_rate)
    app.extensions["reconnect_spread"] = ReconnectSpread(settings)
    csrf.exempt(views.blueprint)
    app.register_blueprint(views.blueprint)
    sock.init_app(app)
