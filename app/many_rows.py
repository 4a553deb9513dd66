"""Many rows of one table in one statement, as long as all of them have the same columns.

PostgreSQL gets them as one JSON document: a statement for each row costs, in the driver and in the server, several
times what the row does. SQLite, which is in the process, gets them one after the other.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Connection, Executable, Table, TextClause, bindparam, delete, insert, text, update
from sqlalchemy.dialects import postgresql

from app.many_ids import listed, on_postgresql

Values = dict[str, Any]

_POSTGRESQL = postgresql.dialect()  # type: ignore[no-untyped-call]
_KEY = "key_"
"""Before a key's name where SQLAlchemy wants the column's own for its new value."""


def update_rows(connection: Connection, table: Table, keys: tuple[str, ...], rows: Sequence[Values]) -> None:
    """Write *rows*, each of which has the columns *keys*, which say where, and new values for others.

    The first key is an id.
    """
    for names, alike in _alike(rows).items():
        if connection.dialect.name == "postgresql":
            first = listed({row[keys[0]]: None for row in alike})
            connection.execute(_update_text(table, keys, names), {"rows": _document(alike), "first": first})
        else:
            renamed = [{_KEY + name if name in keys else name: row[name] for name in names} for row in alike]
            connection.execute(_update(table, keys, names), renamed)


def insert_rows(connection: Connection, table: Table, rows: Sequence[Values]) -> None:
    """Add *rows*."""
    for names, alike in _alike(rows).items():
        if connection.dialect.name == "postgresql":
            connection.execute(_insert_text(table, names), {"rows": _document(alike)})
        else:
            connection.execute(_insert(table), alike)


def delete_rows(connection: Connection, table: Table, keys: tuple[str, ...], rows: Sequence[Values]) -> None:
    """Delete the rows that *rows* name by the columns *keys*."""
    if rows:
        condition = [table.c[name] == bindparam(_KEY + name) for name in keys]
        connection.execute(
            delete(table).where(*condition), [{_KEY + name: row[name] for name in keys} for row in rows]
        )


def _alike(rows: Sequence[Values]) -> Mapping[tuple[str, ...], list[Values]]:
    """The rows by their columns."""
    found: dict[tuple[str, ...], list[Values]] = defaultdict(list)
    for row in rows:
        found[tuple(sorted(row))].append(row)
    return found


def _document(rows: Sequence[Values]) -> str:
    return json.dumps(rows, separators=(",", ":"), default=datetime.isoformat)


@cache
def _update_text(table: Table, keys: tuple[str, ...], names: tuple[str, ...]) -> TextClause:
    new = ", ".join(f"{name} = new.{name}" for name in names if name not in keys)
    same = " AND ".join(f"{table.name}.{name} = new.{name}" for name in keys)
    # Of a document PostgreSQL believes that it has a hundred rows, for which it would read the whole table.
    few = on_postgresql(f"{table.name}.{keys[0]}", ":first")
    return text(f"UPDATE {table.name} SET {new} FROM {_source(table, names)} WHERE {few} AND {same}")


@cache
def _insert_text(table: Table, names: tuple[str, ...]) -> TextClause:
    columns = ", ".join(names)
    return text(f"INSERT INTO {table.name} ({columns}) SELECT {columns} FROM {_source(table, names)}")


def _source(table: Table, names: tuple[str, ...]) -> str:
    types = ", ".join(f"{name} {table.c[name].type.compile(_POSTGRESQL)}" for name in names)
    return f"json_to_recordset(CAST(:rows AS json)) AS new ({types})"


@cache
def _update(table: Table, keys: tuple[str, ...], names: tuple[str, ...]) -> Executable:
    return (
        update(table)
        .values({name: bindparam(name) for name in names if name not in keys})
        .where(*(table.c[name] == bindparam(_KEY + name) for name in keys))
    )


@cache
def _insert(table: Table) -> Executable:
    return insert(table)
