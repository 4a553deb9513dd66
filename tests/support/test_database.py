"""A PostgreSQL database that is handed out again is as fresh as a new one."""

import psycopg
import pytest

from tests.support.database import PostgresDatabases


def test_rows_of_one_test_are_not_in_the_next(postgres_databases: PostgresDatabases) -> None:
    """The database is the same one, emptied; its schema's version is kept."""
    name, url = postgres_databases.create()
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO setting (name, value, updated_at) VALUES ('a', '1', now())")
    postgres_databases.drop(name)

    again, url = postgres_databases.create()
    assert again == name
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT * FROM setting").fetchall() == []
        assert connection.execute("SELECT count(*) FROM alembic_version").fetchall() == [(1,)]
    postgres_databases.drop(again)


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE account RENAME TO gone",
        "ALTER TABLE account ADD COLUMN more text",
        "CREATE TABLE another ()",
        "UPDATE alembic_version SET version_num = '0001'",
        "DROP INDEX ix_node_action_node_id_id",
    ],
)
def test_a_changed_schema_is_not_handed_out_again(postgres_databases: PostgresDatabases, change: str) -> None:
    """The next test gets a copy of the template."""
    name, url = postgres_databases.create()
    with psycopg.connect(url) as connection:
        connection.execute(change.encode())
    postgres_databases.drop(name)

    other, url = postgres_databases.create()
    assert other != name
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT * FROM account").fetchall() == []
    postgres_databases.drop(other)


def test_a_database_that_somebody_uses_is_dropped(postgres_databases: PostgresDatabases) -> None:
    """A server that still runs must not write into the next test's database."""
    name, url = postgres_databases.create()
    with psycopg.connect(url):
        postgres_databases.drop(name)
        other, _ = postgres_databases.create()
    assert other != name
    postgres_databases.drop(other)
