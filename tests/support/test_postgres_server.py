"""A private PostgreSQL, also when the tests run as root."""

import psycopg

from tests.support.postgres_server import PostgresServer


def test_a_database_is_a_copy_that_nobody_else_sees(postgres_server: PostgresServer) -> None:
    """What one test writes is neither in the template nor in another test's database."""
    template = postgres_server.create_database()
    with psycopg.connect(postgres_server.url(template)) as connection:
        connection.execute("CREATE TABLE things (name text)")
    first, second = postgres_server.create_database(template), postgres_server.create_database(template)

    with psycopg.connect(postgres_server.url(first)) as connection:
        connection.execute("INSERT INTO things VALUES ('mine')")
    with psycopg.connect(postgres_server.url(second)) as connection:
        assert connection.execute("SELECT * FROM things").fetchall() == []

    for name in (first, second, template):
        postgres_server.drop_database(name)


def test_a_database_is_dropped_although_someone_is_connected(postgres_server: PostgresServer) -> None:
    """A server that was killed in a test leaves connections; they keep nothing alive."""
    name = postgres_server.create_database()
    with psycopg.connect(postgres_server.url(name), autocommit=True):
        postgres_server.drop_database(name)

    with psycopg.connect(postgres_server.url("postgres")) as connection:
        names = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchall()
    assert names == []


def test_it_recovers_from_a_kill() -> None:
    """A test can take the database away and give it back, with what was committed."""
    own = PostgresServer()
    try:
        own.start()
        with psycopg.connect(own.url("postgres"), autocommit=True) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1")
        own.kill()
        own.start()
        with psycopg.connect(own.url("postgres")) as connection:
            assert connection.execute("SELECT * FROM kept").fetchall() == [(1,)]
    finally:
        own.close()
    assert not own.folder.exists()
