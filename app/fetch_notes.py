"""What is written down of a node that fetches its configuration: that it lives, and that it knows of a deployment.

Many in one statement, those of one worker together; each request is answered once its own is committed.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from flask import Flask, current_app
from sqlalchemy import Engine, Update, bindparam, func, literal_column, select, update
from sqlalchemy.exc import SQLAlchemyError

from app import deployments
from app.clock import utc_now
from app.database import db, transaction, until_not_busy
from app.errors import UnavailableError
from app.kept_connection import KeptConnection
from app.many_ids import among, listed
from app.models import Deployment, DeploymentNode, Node
from app.models.columns import UtcDateTime
from app.node_identity import AuthenticatedNode
from app.push.group_call import GroupCall

log = logging.getLogger("signalbox.deploys")

SEEN_AT_MOST_EVERY = timedelta(minutes=1)


class _Note(NamedTuple):
    node_id: str
    is_seen: bool
    has_fetched: bool
    due_in: str | None
    """The environment in which rows are due that may be this node's."""


_NODE, _WAITING = Node.__table__.c, DeploymentNode.__table__.c
_NOW = bindparam("now", type_=UtcDateTime())
# Locked in the order in which everybody locks them, see ``heartbeat_rows`` and ``deployments.lock_in_order``.
_LIVING = (
    select(_NODE.id)
    .where(among(_NODE.id, "ids"))
    .order_by(_NODE.id)
    .with_for_update(key_share=True)
    .cte("living")
)
_SEEN = (
    update(Node)
    .where(_NODE.id == _LIVING.c.id)
    .values(last_seen_at=_NOW, authenticated_at=func.coalesce(_NODE.authenticated_at, _NOW))
)
_FETCHING = (
    select(_WAITING.deployment_id, _WAITING.node_id)
    .where(
        among(_WAITING.node_id, "ids"),
        _WAITING.status == literal_column("'PENDING'"),
        _WAITING.fetched_at.is_(None),
    )
    .order_by(_WAITING.node_id, _WAITING.deployment_id)
    .with_for_update(key_share=True)
    .cte("fetching")
)
_FETCHED = (
    update(DeploymentNode)
    .where(_WAITING.deployment_id == _FETCHING.c.deployment_id, _WAITING.node_id == _FETCHING.c.node_id)
    .values(fetched_at=_NOW)
)


class FetchNotes:
    """The notes of one process's requests."""

    def __init__(self, engine: Engine) -> None:
        self._connection = KeptConnection(engine)
        self._is_sqlite = engine.dialect.name == "sqlite"
        self._group = GroupCall(self._write)

    def take(self, node_id: str, *, is_seen: bool, has_fetched: bool, due_in: str | None = None) -> None:
        """Write down that the node *is_seen*, and that it *has_fetched* what deployments wait for.

        *due_in* is the environment in which there is a deployment that has yet to make its rows.

        :raises UnavailableError: the database is busy or does not answer.
        """
        if not is_seen and not has_fetched and due_in is None:
            return
        try:
            self._group.ask(_Note(node_id, is_seen, has_fetched, due_in))
        except TimeoutError as error:
            raise UnavailableError("The database does not answer; try again.", retry_after=5) from error

    def _write(self, notes: Sequence[_Note]) -> Mapping[_Note, None]:
        seen = [note.node_id for note in notes if note.is_seen]
        fetched = [note.node_id for note in notes if note.has_fetched or note.due_in]
        due_in = {note.due_in for note in notes if note.due_in}
        if due_in:
            try:
                deployments.ensure_made(Deployment.environment_id.in_(due_in))
            except (SQLAlchemyError, UnavailableError) as error:
                # A moment that is noted later or not at all is better than a node without its configuration.
                log.warning("rows not made environments=%s: %s", ",".join(sorted(due_in)), error)
        now = utc_now()
        for statement, ids in ((_SEEN, seen), (_FETCHED, fetched)):
            if ids:
                self._run(statement, {"ids": listed(ids), "now": now})
        return {}

    def _run(self, statement: Update, parameters: Mapping[str, Any]) -> None:
        """A transaction of its own, which on PostgreSQL a statement is by itself."""
        if self._is_sqlite:
            transaction(lambda session: session.connection().execute(statement, parameters) and None)
        else:
            until_not_busy(lambda: self._connection.run(statement, parameters))


def init_app(app: Flask) -> None:
    """Make what the requests of this process write with; connects to nothing."""
    with app.app_context():
        app.extensions["fetch_notes"] = FetchNotes(db.engine)


def take(node: AuthenticatedNode) -> None:
    """Note that *node* lives, at most once a minute, and where a deployment waits for it, that it has fetched.

    :raises UnavailableError: the database is busy or does not answer.
    """
    notes: FetchNotes = current_app.extensions["fetch_notes"]
    is_known = node.authenticated_at is not None and node.last_seen_at is not None
    is_fresh = is_known and utc_now() - node.last_seen_at < SEEN_AT_MOST_EVERY  # type: ignore[operator]
    notes.take(
        node.id,
        is_seen=not is_fresh,
        has_fetched=node.errands.has_deployment,
        due_in=node.environment_id if node.errands.has_due else None,
    )
