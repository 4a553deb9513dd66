"""A connection that is kept for one statement after the other: no pool, no ping, no transaction around each.

What SQLAlchemy does around a query costs three times what the query does. On PostgreSQL a statement is compiled once
and given to the driver as it is; on SQLite there is nothing to be saved but what its own types need.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Engine, Select, Update, event
from sqlalchemy.exc import DBAPIError, OperationalError

Statement = Select[Any] | Update


class KeptConnection:
    """A connection of *engine*'s, opened when it is first needed. One caller at a time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None
        self._texts: dict[int, tuple[Statement, str]] = {}
        event.listen(engine, "engine_disposed", lambda _engine: self._close())

    def rows(self, query: Statement, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """The rows of *query*, which has no parameters of its own beside *parameters*.

        A connection that has ended meanwhile is made anew, and the query asked again.

        :raises OperationalError: the database cannot be reached, or does not answer.
        """
        try:
            return self._execute(query, parameters)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
        return self._execute(query, parameters)

    def run(self, change: Update, parameters: Mapping[str, Any]) -> None:
        """As ``rows``, for *change*, which is a transaction by itself and must be one that can come twice."""
        self.rows(change, parameters)

    def _execute(self, statement: Statement, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        # Taken out meanwhile: one on which a query was interrupted is no good to anybody.
        connection, self._connection = self._connection or self._open(), None
        try:
            if connection.dialect.name == "sqlite":
                found: Sequence[Sequence[Any]] = connection.execute(statement, parameters).all()
                connection.rollback()  # lest a read that has no end keeps the log from being folded in
            else:
                found = self._ask_driver(connection, statement, parameters)
        except BaseException:
            connection.invalidate()
            connection.close()
            raise
        self._connection = connection
        return found

    def _ask_driver(
        self, connection: Connection, statement: Statement, parameters: Mapping[str, Any]
    ) -> Sequence[Sequence[Any]]:
        _, text = self._texts.get(id(statement)) or self._texts.setdefault(
            id(statement), (statement, str(statement.compile(dialect=connection.dialect)))
        )
        driver: Any = connection.connection.driver_connection
        try:
            with driver.cursor() as cursor:
                cursor.execute(text, parameters)
                found: Sequence[Sequence[Any]] = cursor.fetchall() if cursor.description else ()
        except connection.dialect.loaded_dbapi.Error as error:
            raise OperationalError(text, None, error, connection_invalidated=bool(driver.closed)) from error
        return found

    def _open(self) -> Connection:
        connection = self._engine.connect()
        if connection.dialect.name == "sqlite":
            return connection
        return connection.execution_options(isolation_level="AUTOCOMMIT")

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()  # its pool is no more
            connection.close()
