"""The server: ``create_app`` is its table of contents."""

from __future__ import annotations

from flask import Flask

from app import (
    access,
    agent_api,
    agent_file,
    api_token_reads,
    database,
    encryption,
    errors,
    extensions,
    fetch_notes,
    health,
    heartbeats,
    metrics,
    node_identity,
    operator_api,
    pages,
    request_limits,
    switchboard_process,
    token_rates,
)
from app.agent_api import short_way
from app.command_line import register_commands
from app.config import ROOT, Settings
from app.database import db
from app.migration_commands import MigrationCommands
from app.url_rules import LateRule

__all__ = ["create_app", "settings_of"]


def create_app(settings: Settings) -> Flask:
    """Build the application from *settings*; connects to nothing."""
    app = Flask("app", root_path=str(ROOT / "app"))
    app.url_rule_class = LateRule
    app.extensions["settings"] = settings
    app.config.update(
        SECRET_KEY=settings.secret_key,
        SQLALCHEMY_DATABASE_URI=settings.database_url,
        SQLALCHEMY_ENGINE_OPTIONS=database.engine_options(settings.database_url),
        SESSION_COOKIE_NAME="signalbox_session",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SOCK_SERVER_OPTIONS=agent_api.sock_server_options(),
        WTF_CSRF_TIME_LIMIT=None,
    )

    # extensions
    if settings.is_sqlite:
        database.make_folder(settings.database_url)
    db.init_app(app)
    with app.app_context():
        database.prepare(db.engine)
    extensions.login_manager.init_app(app)
    access.init_app(app, pages.sign_in.account_of, pages.sign_in.send_to_form)
    extensions.csrf.init_app(app)
    encryption.init_app(app, settings)

    # around every request
    errors.init_app(app)
    short_way.init_app(app)
    request_limits.init_app(app, settings)
    metrics.init_app(app)

    # between processes
    switchboard_process.init_app(app, settings)
    token_rates.init_app(app, settings)

    # reads and writes that meet
    node_identity.init_app(app)
    api_token_reads.init_app(app)
    fetch_notes.init_app(app)
    heartbeats.init_app(app)

    # views
    health.init_app(app)
    agent_api.init_app(app)
    agent_file.init_app(app)
    operator_api.init_app(app)
    pages.init_app(app)
    access.refuse_unlisted(app)

    # commands
    register_commands(app)
    app.cli.add_command(MigrationCommands(app))
    return app


def settings_of(app: Flask) -> Settings:
    """The settings that *app* was built from."""
    settings: Settings = app.extensions["settings"]
    return settings
