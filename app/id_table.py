"""Whether ids are among those that only Redis or the plans know, for a query: however many, they are one value."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import CTE, ColumnElement, Select, String, func, literal, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from app.database import current_engine


class IdTable:
    """Some ids, as a table that queries on the current engine can ask."""

    def __init__(self, ids: Iterable[str], name: str) -> None:
        """No id holds a comma; *name* is that of the table in the query."""
        self._table: CTE | None = None
        self._each: Any = None
        if current_engine().dialect.name == "sqlite":
            each = func.json_each(literal(json.dumps(list(ids)))).table_valued("value")
            # SQLite makes an index of what stands behind IN, but walks a joined table for every row.
            self._each = select(each.c.value)
        else:
            # One text is sent for less than the driver's array, and the planner still learns how many they are.
            unnested = func.unnest(func.string_to_array(literal(",".join(ids)), ",", type_=ARRAY(String)))
            # PostgreSQL hashes what is joined, but behind IN only what fits into its memory for that.
            self._table = select(unnested.label("id")).cte(name)

    def has(self, column: ColumnElement[str]) -> ColumnElement[bool]:
        """Whether *column* is among them; the query has to be ``joined`` on the same column."""
        return column.in_(self._each) if self._table is None else self._table.c.id.is_not(None)

    def joined(self, query: Select[*tuple[Any, ...]], column: ColumnElement[str]) -> Select[*tuple[Any, ...]]:
        """*query* with what ``has`` needs. It runs inside of ``planned_joins``."""
        return query if self._table is None else query.outerjoin(self._table, self._table.c.id == column)


@contextmanager
def planned_joins(session: Session) -> Iterator[None]:
    """Let PostgreSQL hash such tables in the queries inside.

    A plan that was made for any number of ids, and one that hopes to stop early, both walk the whole table once
    for each row of the other.
    """
    if session.get_bind().dialect.name != "postgresql":
        yield
        return
    setting = text(
        "SELECT set_config('plan_cache_mode', :mode, true), set_config('enable_nestloop', :loops, true)"
    )
    session.execute(setting, {"mode": "force_custom_plan", "loops": "off"})
    yield
    session.execute(setting, {"mode": "auto", "loops": "on"})
