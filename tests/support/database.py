"""Fresh databases with the schema: migrated once a session through the command, copied for each test."""

import shutil
import sqlite3
import time
from pathlib import Path

import psycopg
from psycopg import sql

from tests.support.once import made_once
from tests.support.postgres_server import PostgresServer
from tests.support.server import fresh_secrets, run_flask

_FILE = "template.db"
_IMPATIENT = "-c statement_timeout=2000 -c lock_timeout=1000"
_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
_MIGRATED_ROWS = "INSERT INTO audit_head (id, sequence, hash) VALUES (1, 0, repeat('0', 64))"
"""Rows that migrations made, and every server counts on."""
_CATALOG = """
SELECT md5(string_agg(line, ' ' ORDER BY line)) FROM (
    SELECT concat('row ', version_num) AS line FROM alembic_version
    UNION ALL SELECT concat('relation ', oid, relname, relkind) FROM pg_class
        WHERE relnamespace = 'public'::regnamespace
    UNION ALL SELECT concat('column ', attrelid, attname, atttypid, atttypmod, attnotnull, atthasdef, attisdropped)
        FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid WHERE relnamespace = 'public'::regnamespace
    UNION ALL SELECT concat('constraint ', oid, conname) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT concat('trigger ', oid, tgname, tgenabled) FROM pg_trigger
    UNION ALL SELECT concat('function ', oid, proname) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION ALL SELECT concat('setting ', setrole, setconfig) FROM pg_db_role_setting
        WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
) AS catalog"""
"""What tells two copies of the template from one whose schema a test has changed; ids are the template's."""


class SqliteDatabases:
    """Copies of one migrated file."""

    def __init__(self, folder: Path) -> None:
        """`folder` exists and may be shared with other processes; the template is made in it at the first copy."""
        self._template = folder / "sqlite-template"

    def create(self, folder: Path) -> str:
        """A migrated database in `folder`; its URL."""
        made_once(self._template, _migrate_sqlite)
        copy = folder / "signalbox.db"
        shutil.copyfile(self._template / _FILE, copy)
        return sqlite_url(copy)


def _migrate_sqlite(folder: Path) -> None:
    migrate(sqlite_url(folder / _FILE))
    # What the migration left in its write-ahead log must be in the file that is copied.
    connection = sqlite3.connect(folder / _FILE)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


class PostgresDatabases:
    """Copies of one migrated database of a server; a copy whose rows can be deleted is handed out again.

    To make a copy and drop it takes a hundred times what it takes to delete the few rows of a test.
    """

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._template: str | None = None
        self._schema = ""
        self._free: list[str] = []

    def create(self) -> tuple[str, str]:
        """A migrated database: its name, to drop it by, and its URL."""
        if self._template is None:
            template = self._server.create_database()
            migrate(self._server.url(template))
            self._template = template
        name = self._free.pop() if self._free else self._server.create_database(self._template)
        return name, self._server.url(name)

    def drop(self, name: str) -> None:
        """Give it back: emptied if nobody is connected any more and the schema is as it was, else dropped."""
        if self._is_empty_again(name):
            self._free.append(name)
        else:
            self._server.drop_database(name)

    def _is_empty_again(self, name: str) -> bool:
        try:
            with psycopg.connect(self._server.url(name), autocommit=True, options=_IMPATIENT) as connection:
                if not _is_alone(connection):
                    return False
                [catalog] = connection.execute(_CATALOG).fetchone() or [""]
                tables = [sql.Identifier(table) for (table,) in connection.execute(_TABLES)]
                # Without foreign keys' triggers, in one transaction.
                with connection.transaction():
                    connection.execute("SET LOCAL session_replication_role = replica")
                    for table in tables:
                        connection.execute(sql.SQL("DELETE FROM {}").format(table))
                    connection.execute(_MIGRATED_ROWS)
        except psycopg.Error:
            return False
        self._schema = self._schema or self._catalog_of_a_copy()
        return bool(catalog == self._schema)

    def _catalog_of_a_copy(self) -> str:
        assert self._template is not None
        with psycopg.connect(self._server.url(self._template)) as connection:
            [catalog] = connection.execute(_CATALOG).fetchone() or [""]
        return str(catalog)


def _is_alone(connection: psycopg.Connection[tuple[object, ...]]) -> bool:
    """Whether nobody else is connected; whoever has just left is given a moment to be gone."""
    query = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    for _ in range(20):
        if connection.execute(query).fetchone() is None:
            return True
        time.sleep(0.005)
    return False


def sqlite_url(file: Path) -> str:
    return f"sqlite:///{file}"


def migrate(database_url: str) -> None:
    """`flask db upgrade`, as an operator runs it."""
    run_flask({**fresh_secrets(), "SIGNALBOX_DATABASE_URL": database_url}, "db", "upgrade")
