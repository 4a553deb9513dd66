"""Which node a request is from: its token, looked up anew for each, together with those that come just then.

One indexed read for all of them and one constant-time comparison for each. A request whose token was revoked before
it came is refused: nothing is remembered, see ``group_call``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from flask import Flask, current_app
from sqlalchemy import (
    ColumnElement,
    Engine,
    Select,
    bindparam,
    literal_column,
    select,
)

from app import tokens
from app.action_states import has_open
from app.clock import utc_now
from app.database import db
from app.deployments import has_due
from app.errors import UnauthorizedError, UnavailableError
from app.kept_connection import KeptConnection
from app.many_ids import among, is_there, listed
from app.models import DeploymentNode, Environment, Node, SampleRequestNode, Setting
from app.models.columns import UtcDateTime
from app.push.group_call import GroupCall
from app.server_settings import INTERVALS

NO_NODE_TOKEN = "A node token is needed (Authorization: Bearer sbx_node_…)."
FOREIGN_NODE_TOKEN = "The node token is another system's and not good here; an operator can adopt this agent."
BAD_NODE_TOKEN = "The node token is not valid (it may have been revoked)."


class ForeignTokenError(UnauthorizedError):
    """The token has another system's form, and no node here was made of it."""


@dataclass(frozen=True, slots=True)
class Errands:
    """What there may be for a node that fetches its configuration; nearly always there is nothing."""

    has_action: bool = False
    """Whether an action of its is open."""
    has_samples: bool = False
    """Whether it was asked for samples, and the request has not expired."""
    has_deployment: bool = False
    """Whether a deployment waits for it to fetch."""
    has_due: bool = False
    """Whether one in its environment has yet to make the rows that say for whom it waits."""
    changed_intervals: tuple[int | None, ...] = (None,) * len(INTERVALS)
    """What somebody has changed each of ``INTERVALS`` to."""


@dataclass(frozen=True, slots=True)
class AuthenticatedNode:
    """The node behind a request, with its environment's nonce as of the same query."""

    id: str
    environment_id: str
    nonce: str
    operator_labels: Mapping[str, str]
    agent_labels: Mapping[str, str]
    selectable_agent_labels: list[str]
    maintenance_mode: bool
    running_revision: str | None
    tried_revision: str | None
    authenticated_at: datetime | None
    last_seen_at: datetime | None
    errands: Errands = Errands()
    """As of the same query, for a request that fetches the configuration."""


_NODE, _ENVIRONMENT, _SETTING = Node.__table__.c, Environment.__table__.c, Setting.__table__.c
_IDENTITY = (
    _NODE.token_digest,
    _NODE.revoked_at,
    _NODE.id,
    _NODE.environment_id,
    _ENVIRONMENT.nonce,
    _NODE.operator_labels,
    _NODE.agent_labels,
    _ENVIRONMENT.selectable_agent_labels,
    _NODE.maintenance_mode,
    _NODE.running_revision,
    _NODE.tried_revision,
    _NODE.authenticated_at,
    _NODE.last_seen_at,
)
_BRIEF_IDENTITY = _IDENTITY[:4]
_NOW = bindparam("now", type_=UtcDateTime())
_ERRANDS: tuple[ColumnElement[Any], ...] = (
    has_open(_NOW),
    is_there(
        select(SampleRequestNode.node_id).where(
            SampleRequestNode.node_id == _NODE.id, SampleRequestNode.expires_at > _NOW
        ),
        Node.__table__,
    ),
    is_there(
        select(DeploymentNode.node_id).where(
            DeploymentNode.node_id == _NODE.id,
            DeploymentNode.status == literal_column("'PENDING'"),
            DeploymentNode.fetched_at.is_(None),
        ),
        Node.__table__,
    ),
    has_due(_NODE.environment_id, Node.__table__),
    *(
        select(_SETTING.value).where(_SETTING.name == literal_column(f"'{name}'")).scalar_subquery()
        for name in INTERVALS
    ),
)


class NodeReads:
    """Reads the nodes of one process's requests."""

    def __init__(self, engine: Engine) -> None:
        by_id, by_digest = _NODE.id, _NODE.token_digest
        self.by_id = self._group(engine, by_id, 2, ())
        self.by_id_with_errands = self._group(engine, by_id, 2, _ERRANDS)
        # Of adopted tokens, which have no node's id in them; the digest of 256 random bits gives nothing away.
        self.by_digest = self._group(engine, by_digest, 0, ())
        self.by_digest_with_errands = self._group(engine, by_digest, 0, _ERRANDS)
        # Of thousands that dial at once, of whom no more is asked.
        brief = select(*_BRIEF_IDENTITY)
        self.briefly_by_id = GroupCall(
            partial(self._read, KeptConnection(engine), brief.where(among(by_id, "keys")), 2, False)
        )
        self.briefly_by_digest = GroupCall(
            partial(self._read, KeptConnection(engine), brief.where(among(by_digest, "keys")), 0, False)
        )

    def _group(
        self, engine: Engine, key: ColumnElement[Any], place: int, more: tuple[ColumnElement[Any], ...]
    ) -> GroupCall[str, Sequence[Any]]:
        join = Node.__table__.join(Environment.__table__, _ENVIRONMENT.id == _NODE.environment_id)
        query = select(*_IDENTITY, *more).select_from(join).where(among(key, "keys"))
        return GroupCall(partial(self._read, KeptConnection(engine), query, place, bool(more)))

    def _read(
        self,
        connection: KeptConnection,
        query: Select[Any],
        place: int,
        with_errands: bool,
        keys: Sequence[str],
    ) -> Mapping[str, Sequence[Any]]:
        parameters: dict[str, Any] = {"keys": listed(keys)}
        if with_errands:
            parameters["now"] = utc_now()
        return {row[place]: row for row in connection.rows(query, parameters)}


def init_app(app: Flask) -> None:
    """Make what the requests of this process read nodes with; connects to nothing."""
    with app.app_context():
        app.extensions["node_reads"] = NodeReads(db.engine)


def _asked(group: GroupCall[str, Sequence[Any]], keys: Sequence[str]) -> Mapping[str, Sequence[Any]]:
    try:
        return group.ask_all(keys) if keys else {}
    except TimeoutError as error:
        raise UnavailableError("The database does not answer; try again.", retry_after=5) from error


def authenticate(token: str | None, *, with_errands: bool = False) -> AuthenticatedNode:
    """The node whose *token* it is.

    :raises UnauthorizedError: no token, a malformed, unknown or revoked one.
    :raises ForeignTokenError: another system's, which nobody has adopted.
    :raises UnavailableError: the database does not answer in time.
    """
    reads: NodeReads = current_app.extensions["node_reads"]
    key = _key_of(token)
    if token is None or key is None:
        raise UnauthorizedError(NO_NODE_TOKEN)
    if tokens.is_foreign(token):
        group = reads.by_digest_with_errands if with_errands else reads.by_digest
    else:
        group = reads.by_id_with_errands if with_errands else reads.by_id
    return _authenticated(_checked(token, _asked(group, [key]).get(key)))


def authenticate_all(presented: Sequence[str]) -> list[tuple[str, str] | UnauthorizedError]:
    """Of each token in *presented* the node's and its environment's id, or what ``authenticate`` would raise.

    :raises UnavailableError: the database does not answer in time.
    """
    reads: NodeReads = current_app.extensions["node_reads"]
    keys = [_key_of(token) for token in presented]
    foreign = [key for key, token in zip(keys, presented, strict=True) if key and tokens.is_foreign(token)]
    ours = [key for key, token in zip(keys, presented, strict=True) if key and not tokens.is_foreign(token)]
    rows = {**_asked(reads.briefly_by_id, ours), **_asked(reads.briefly_by_digest, foreign)}
    found: list[tuple[str, str] | UnauthorizedError] = []
    for token, key in zip(presented, keys, strict=True):
        try:
            if key is None:
                raise UnauthorizedError(NO_NODE_TOKEN)
            _, _, node_id, environment_id = _checked(token, rows.get(key))
            found.append((node_id, environment_id))
        except UnauthorizedError as error:
            found.append(error)
    return found


def _key_of(token: str | None) -> str | None:
    """What the token's node is looked up by: an id, or the digest of a foreign one; ``None``: it is no token."""
    if tokens.is_foreign(token):
        return tokens.digest(token or "")
    return tokens.owner_of(token, "node") if token else None


def _checked(token: str, row: Sequence[Any] | None) -> Sequence[Any]:
    """*row*, which was found for the token.

    :raises UnauthorizedError: it is none, the token is not its node's, or revoked.
    """
    if tokens.is_foreign(token):
        if row is None:
            raise ForeignTokenError(FOREIGN_NODE_TOKEN)
        if row[1] is not None:
            raise UnauthorizedError(FOREIGN_NODE_TOKEN)
        return row
    if not tokens.matches(token, row[0] if row else None) or row is None or row[1] is not None:
        raise UnauthorizedError(BAD_NODE_TOKEN)
    return row


def _authenticated(row: Sequence[Any]) -> AuthenticatedNode:
    said, rest = row[2 : len(_IDENTITY)], row[len(_IDENTITY) :]
    if not rest:
        return AuthenticatedNode(*said)
    action, samples, deployment, due, *intervals = rest
    errands = Errands(bool(action), bool(samples), bool(deployment), bool(due), tuple(intervals))
    return AuthenticatedNode(*(*said, errands))
