"""Conditions that name many rows at once, in the same text for any number: a database keeps it prepared."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Boolean, ColumnElement, FromClause, Select, String, bindparam, exists, literal_column
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


class _Among(FunctionElement[bool]):
    """Whether the first is in the list that the second holds, see ``listed``."""

    inherit_cache = True
    name = "among"
    type = Boolean()


@compiles(_Among, "postgresql")
def _on_postgresql(element: _Among, compiler: Any, **more: Any) -> str:
    column, ids = (compiler.process(clause, **more) for clause in element.clauses)
    return on_postgresql(column, ids)


@compiles(_Among, "sqlite")
def _on_sqlite(element: _Among, compiler: Any, **more: Any) -> str:
    column, ids = (compiler.process(clause, **more) for clause in element.clauses)
    return f"""{column} IN (SELECT value FROM json_each('["' || replace({ids}, ',', '","') || '"]'))"""


def on_postgresql(column: str, ids: str) -> str:
    """The condition as text, of two that are text.

    By a SELECT of its own PostgreSQL does not see how many ids there are. It would believe that a plan for one id
    costs a tenth of one for any number, and plan anew each time, which takes longer than the query.
    """
    return f"{column} = ANY (ARRAY(SELECT unnest(string_to_array({ids}, ','))))"


def among(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """That *column* holds one of those ids that the parameter *name* has, as ``listed`` makes it."""
    return _Among(column, bindparam(name, type_=String()))


def is_there(query: Select[Any], around: FromClause) -> ColumnElement[bool]:
    """Whether *query*, which names columns of the table *around* it, finds anything: looked up for each of its rows.

    Without the OFFSET PostgreSQL may choose to read all of a table, and keeps that plan when the table has grown.
    """
    return exists(query.offset(literal_column("0")).correlate(around))


def listed(ids: Iterable[str]) -> str:
    """*ids*, none of which can hold a comma or a quote (see ``ids.is_id``), as ``among`` takes them."""
    return ",".join(ids)
