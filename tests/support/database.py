"""Fresh databases with the schema: migrated once a session through the command, copied for each test."""

import shutil
import sqlite3
from pathlib import Path

from tests.support.postgres_server import PostgresServer
from tests.support.server import fresh_secrets, run_flask


class SqliteDatabases:
    """Copies of one migrated file."""

    def __init__(self, folder: Path) -> None:
        """`folder` exists; the template is made in it at the first copy."""
        self._template = folder / "template.db"

    def create(self, folder: Path) -> str:
        """A migrated database in `folder`; its URL."""
        if not self._template.exists():
            migrate(sqlite_url(self._template))
            # What the migration left in its write-ahead log must be in the file that is copied.
            connection = sqlite3.connect(self._template)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.close()
        copy = folder / "signalbox.db"
        shutil.copyfile(self._template, copy)
        return sqlite_url(copy)


class PostgresDatabases:
    """Copies of one migrated database of a server."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._template: str | None = None

    def create(self) -> tuple[str, str]:
        """A migrated database: its name, to drop it by, and its URL."""
        if self._template is None:
            template = self._server.create_database()
            migrate(self._server.url(template))
            self._template = template
        name = self._server.create_database(self._template)
        return name, self._server.url(name)

    def drop(self, name: str) -> None:
        self._server.drop_database(name)


def sqlite_url(file: Path) -> str:
    return f"sqlite:///{file}"


def migrate(database_url: str) -> None:
    """`flask db upgrade`, as an operator runs it."""
    run_flask({**fresh_secrets(), "SIGNALBOX_DATABASE_URL": database_url}, "db", "upgrade")
