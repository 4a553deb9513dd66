"""What an error of the database says: that it is away, that its schema is not this release's, or that we erred."""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import DBAPIError, OperationalError

UNDEFINED = ("42P01", "42703")
"""PostgreSQL's states for a table and for a column that is not there."""

_SQLITE_UNDEFINED = ("no such table", "no such column", "has no column named")
_SQLITE_UNREADABLE = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)


def lacks_schema(error: Exception) -> bool:
    """Whether a table or a column is missing: the schema is not there yet, or of another release."""
    original = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(original, sqlite3.OperationalError):
        return any(words in str(original) for words in _SQLITE_UNDEFINED)
    return getattr(original, "sqlstate", None) in UNDEFINED


def is_away(error: Exception) -> bool:
    """Whether the database could not be used at all, whatever was asked of it; not where what was asked is wrong."""
    original = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(original, sqlite3.Error):
        # SQLite has one class for what is wrong with its file and for what is wrong with a statement.
        code = getattr(original, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        return code in _SQLITE_UNREADABLE or (
            isinstance(original, sqlite3.OperationalError) and code != sqlite3.SQLITE_ERROR
        )
    return isinstance(error, OperationalError)
