"""How nodes come and go: enrollment tokens, new nodes, revocation; see ``node_identity`` for what lies between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, delete, func, select
from sqlalchemy.orm import Session

from app import audit, revisions, tokens
from app.audit import SERVER, Actor
from app.clock import utc_now
from app.database import snapshot, transaction
from app.errors import ConflictError, NotFoundError, TooManyRequestsError, UnauthorizedError
from app.ids import first_id_at, new_id
from app.models import AuditEntry, DeploymentNode, Environment, Node, NodePipeline
from app.switchboard_process import switchboard

BAD_ENROLLMENT_TOKEN = "The enrollment token is not valid (it may have been rotated)."


ENROLLED = "node.enroll"
TOKEN_ROTATED = "environment.enrollment-token"
CAP_TIME = timedelta(hours=1)
MAX_ENROLLED = 10_000
"""Nodes that one enrollment token may make within ``CAP_TIME``: a token that has leaked makes no unlimited fleet."""
GHOSTS_KEPT = timedelta(hours=24)
GHOSTS_A_STEP = 500


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A node that has just been made; ``token`` is shown this once."""

    node_id: str
    token: str
    environment_id: str
    environment_name: str


def rotate_token(environment_id: str, actor: Actor, *, instead_of: str | None = None) -> tokens.MintedToken:
    """Make the environment's enrollment token; the one before it ends at once.

    *instead_of* is the hint of the one that it is to replace (empty: there is none yet).

    :raises NotFoundError: there is no such environment.
    :raises ConflictError: the present token is not that one.
    """
    minted = tokens.mint("enroll", environment_id)

    def work(session: Session) -> None:
        environment = session.get(Environment, environment_id, with_for_update=True)
        if environment is None:
            raise NotFoundError("There is no such environment.")
        if instead_of not in (None, environment.enrollment_hint or ""):
            raise ConflictError("The environment's token is another one by now; nothing was changed.")
        before = environment.enrollment_hint
        environment.enrollment_digest, environment.enrollment_hint = minted.digest, minted.hint
        audit.record(
            session,
            actor,
            TOKEN_ROTATED,
            environment_id=environment_id,
            subject_id=environment_id,
            before={"hint": before},
            after={"hint": minted.hint},
        )

    transaction(work)
    return minted


def end_token(environment_id: str, actor: Actor) -> None:
    """End the environment's enrollment token: no node can join until another is made. Without one nothing happens.

    :raises NotFoundError: there is no such environment.
    """

    def work(session: Session) -> None:
        environment = session.get(Environment, environment_id, with_for_update=True)
        if environment is None:
            raise NotFoundError("There is no such environment.")
        if environment.enrollment_digest is None:
            return
        audit.record(
            session,
            actor,
            "environment.enrollment-token.end",
            environment_id=environment_id,
            subject_id=environment_id,
            before={"hint": environment.enrollment_hint},
            after={"hint": None},
        )
        environment.enrollment_digest = environment.enrollment_hint = None

    transaction(work)


def joined_since(environment_id: str, after_id: str, most: int) -> list[str]:
    """The ids of the environment's nodes that were made later than the id *after_id*: the first *most* of them."""
    query = select(Node.id).where(Node.id > after_id, Node.environment_id == environment_id)
    return list(snapshot(lambda session: session.scalars(query.order_by(Node.id).limit(most)).all()))


def enroll(
    token: str,
    hostname: str,
    *,
    os: str | None = None,
    agent_version: str | None = None,
    vector_version: str | None = None,
    labels: Mapping[str, str] | None = None,
    install_id: str | None = None,
    address: str | None = None,
) -> Enrolled:
    """Make a node of whoever holds the environment's enrollment *token*.

    The same *install_id* replaces a node that never used its token: that is what a lost answer leaves behind
    (hazard 31). A host name says nothing about who somebody is.

    :raises UnauthorizedError: the token is not an environment's current one.
    :raises TooManyRequestsError: it has made ``MAX_ENROLLED`` nodes within the hour.
    """
    environment_id = tokens.owner_of(token, "enroll")
    node_id = new_id()
    minted = tokens.mint("node", node_id)
    now = utc_now()

    def work(session: Session) -> Enrolled:
        # Locked, so that the environment cannot be deleted before its new node is in.
        environment = (
            session.get(Environment, environment_id, with_for_update=True) if environment_id else None
        )
        if not tokens.matches(token, environment.enrollment_digest if environment else None):
            raise UnauthorizedError(BAD_ENROLLMENT_TOKEN)
        assert environment is not None
        _check_cap(session, environment.id, now)
        if install_id:
            ghosts = select(Node.id).where(
                Node.environment_id == environment.id,
                Node.install_id == install_id,
                Node.authenticated_at.is_(None),
            )
            delete_nodes(session, list(session.scalars(ghosts)))
        session.add(
            Node(
                id=node_id,
                environment_id=environment.id,
                name=hostname,
                host=hostname,
                os=os,
                install_id=install_id,
                token_digest=minted.digest,
                enrolled_at=now,
                agent_version=agent_version,
                vector_version=vector_version,
                agent_labels=dict(labels or {}),
                operator_labels={},
                maintenance_mode=False,
            )
        )
        audit.record(
            session,
            Actor(f"node {node_id}", address),
            ENROLLED,
            environment_id=environment.id,
            subject_id=node_id,
            host=hostname,
        )
        return Enrolled(node_id, minted.text, environment.id, environment.name)

    enrolled = transaction(work)
    switchboard().publish_fleet_changed(enrolled.environment_id, [enrolled.node_id])
    return enrolled


def _check_cap(session: Session, environment_id: str, now: datetime) -> None:
    """Count in the audit log, which also knows of nodes that are gone; the environment is locked."""
    since = first_id_at(now - CAP_TIME)

    def of(action: str) -> ColumnElement[bool]:
        return and_(
            AuditEntry.environment_id == environment_id, AuditEntry.action == action, AuditEntry.id > since
        )

    # A new token begins anew.
    since = session.scalar(select(func.max(AuditEntry.id)).where(of(TOKEN_ROTATED))) or since
    made = session.scalar(
        select(func.count()).select_from(select(AuditEntry.id).where(of(ENROLLED)).subquery())
    )
    if (made or 0) >= MAX_ENROLLED:
        raise TooManyRequestsError(
            f"This enrollment token has made {MAX_ENROLLED} nodes within an hour; rotate it, or wait.",
            retry_after=600,
        )


def remove_ghosts() -> int:
    """Delete some nodes that did not use their token within a day (hazard 31); how many."""
    now = utc_now()
    ghosts = (
        select(Node)
        .where(Node.id < first_id_at(now - GHOSTS_KEPT), Node.authenticated_at.is_(None))
        .order_by(Node.id)
        .limit(GHOSTS_A_STEP)
    )

    def work(session: Session) -> int:
        found = session.scalars(ghosts.with_for_update(skip_locked=True)).all()
        for node in found:
            audit.record(
                session,
                SERVER,
                "node.ghost",
                environment_id=node.environment_id,
                subject_id=node.id,
                name=node.name,
            )
        delete_nodes(session, [node.id for node in found])
        return len(found)

    # Nearly always there is none, and finding that out writes nothing.
    has_some = snapshot(lambda session: session.scalar(ghosts.with_only_columns(Node.id).limit(1)))
    return transaction(work) if has_some is not None else 0


def revoke(node_id: str, actor: Actor) -> None:
    """End the node's token at once and close its socket, whichever worker holds it.

    :raises NotFoundError: there is no such node.
    """

    def work(session: Session) -> None:
        environment_id = session.scalar(select(Node.environment_id).where(Node.id == node_id))
        if environment_id is None:
            raise NotFoundError("There is no such node.")
        revisions.touch(
            session, environment_id
        )  # so that the sweep looks, should the socket not be reached now
        node = session.get(Node, node_id, with_for_update=True, populate_existing=True)
        if node is None:
            raise NotFoundError("There is no such node.")
        node.revoked_at = node.revoked_at or utc_now()
        audit.record(
            session,
            actor,
            "node.revoke",
            environment_id=node.environment_id,
            subject_id=node_id,
            name=node.name,
        )

    transaction(work)
    switchboard().close([node_id], 1008, "revoked")


def delete_nodes(session: Session, node_ids: list[str]) -> None:
    """Delete nodes and all that hangs on them, in the caller's transaction."""
    if node_ids:
        session.execute(delete(NodePipeline).where(NodePipeline.node_id.in_(node_ids)))
        session.execute(delete(DeploymentNode).where(DeploymentNode.node_id.in_(node_ids)))
        session.execute(delete(Node).where(Node.id.in_(node_ids)))
