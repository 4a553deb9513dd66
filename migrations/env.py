"""How Alembic reaches the database: through the application, ``flask --app wsgi db upgrade``."""

from typing import Any

from alembic import context
from flask import current_app
from sqlalchemy import JSON

from app import models  # noqa: F401  (makes every table known)
from app.database import db
from app.models.columns import UtcDateTime


def render_item(kind: str, item: Any, autogen_context: Any) -> str | bool:
    """Write our own column types as plain ones, so that a migration never depends on today's code."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    if kind == "type" and isinstance(item, JSON):
        autogen_context.imports.add("from sqlalchemy.dialects import postgresql")
        return "sa.JSON().with_variant(postgresql.JSONB(), 'postgresql')"
    return False


def compare_type(
    _context: Any, _inspected: Any, _metadata: Any, inspected_type: Any, ours: Any
) -> bool | None:
    """SQLite knows no zones and no JSONB; there the difference means nothing."""
    return None if db.engine.dialect.name != "sqlite" else False


with current_app.app_context(), db.engine.connect() as connection:
    context.configure(
        connection=connection,
        target_metadata=db.metadata,
        render_as_batch=True,
        render_item=render_item,
        compare_type=compare_type,
    )
    with context.begin_transaction():
        context.run_migrations()
