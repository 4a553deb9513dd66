"""API tokens, looked up anew for each request, together with those that come just then (as ``node_identity``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flask import Flask, current_app
from sqlalchemy import Engine, select

from app.database import db
from app.errors import UnavailableError
from app.kept_connection import KeptConnection
from app.many_ids import among, listed
from app.models import ApiToken
from app.push.group_call import GroupCall

_TABLE = ApiToken.__table__
_NAMES = [column.key for column in _TABLE.c]
_BY_ID = select(_TABLE).where(among(_TABLE.c.id, "ids"))


class ApiTokenReads:
    """Reads the tokens of one process's requests."""

    def __init__(self, engine: Engine) -> None:
        self._connection = KeptConnection(engine)
        self.by_id: GroupCall[str, Sequence[Any]] = GroupCall(self._read)

    def _read(self, token_ids: Sequence[str]) -> Mapping[str, Sequence[Any]]:
        at = _NAMES.index("id")
        return {row[at]: row for row in self._connection.rows(_BY_ID, {"ids": listed(token_ids)})}


def init_app(app: Flask) -> None:
    """Make what the requests of this process read tokens with; connects to nothing."""
    with app.app_context():
        app.extensions["api_token_reads"] = ApiTokenReads(db.engine)


def read(token_id: str) -> ApiToken | None:
    """The token as it is in the database; the row belongs to no session.

    :raises UnavailableError: the database does not answer in time.
    """
    reads: ApiTokenReads = current_app.extensions["api_token_reads"]
    try:
        row = reads.by_id.ask(token_id)
    except TimeoutError as error:
        raise UnavailableError("The database does not answer; try again.", retry_after=5) from error
    return None if row is None else ApiToken(**dict(zip(_NAMES, row, strict=True)))
