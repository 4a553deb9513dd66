"""``/readyz`` says what is missing."""

from pathlib import Path

from app import create_app
from app.config import Settings
from app.database import db
from tests.support.server import fresh_secrets
from tools.redis_server import RedisServer


def test_a_database_without_tables_is_not_ready(
    tmp_path: Path, redis_server: RedisServer, unique_prefix: str
) -> None:
    """503, and the command that makes them: a server that was started before `db upgrade` serves nobody."""
    environ = {
        **fresh_secrets(),
        "SIGNALBOX_DATABASE_URL": f"sqlite:///{tmp_path}/empty.db",
        "SIGNALBOX_REDIS_URL": redis_server.url,
        "SIGNALBOX_REDIS_PREFIX": unique_prefix,
    }
    app = create_app(Settings.from_environ(environ))
    answer = app.test_client().get("/readyz")
    assert answer.status_code == 503
    assert "flask --app wsgi db upgrade" in answer.json["database"]
    with app.app_context():
        db.engine.dispose()
        app.extensions["switchboard"].gate.client.close()
