"""Requests to deploy in protected environments: as rows to look at, and how they end without being approved.

Asking and approving is ``app/approvals.py``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from sqlalchemy import ColumnElement, and_, func, not_, select
from sqlalchemy.orm import Session

from app import audit, leases
from app.audit import SERVER, Actor
from app.database import snapshot, transaction
from app.errors import NotFoundError
from app.ids import is_id
from app.leases import Held
from app.models import Deployment, DeployRequest, Environment, Pipeline
from app.paging import DEFAULT_LIMIT, Page, decode_cursor, first_of
from app.principal import Within

State = Literal["open", "approved", "rejected", "cancelled", "expired", "overtaken"]
STATES: tuple[State, ...] = get_args(State)
EXPIRED_A_STEP = 200


@dataclass(frozen=True, slots=True)
class RequestRow:
    """A request as lists show it."""

    request: DeployRequest
    pipeline_name: str
    environment_name: str
    state: State
    """As it is now: one whose time is over has expired, whether or not that was written down already."""


def checksum(request: DeployRequest) -> str:
    """SHA-256 (64 hex) over what is asked for: what was reviewed and what is deployed have the same."""
    asked = [
        request.kind,
        request.pipeline_id,
        request.config_yaml,
        request.node_selector,
        request.log_level,
        request.changelog,
        request.from_version,
    ]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


def targets_checksum(node_ids: Iterable[str]) -> str:
    """SHA-256 (64 hex) over a set of nodes."""
    return hashlib.sha256(" ".join(sorted(node_ids)).encode()).hexdigest()


def get(request_id: str) -> RequestRow:
    """One of them.

    :raises NotFoundError: there is no such request.
    """
    rows = _rows([DeployRequest.id == request_id], 1) if is_id(request_id) else []
    if not rows:
        raise unknown()
    return rows[0]


def listing(
    within: Within = None,
    *,
    environment_id: str | None = None,
    pipeline_id: str | None = None,
    state: State | None = None,
    is_open: bool | None = None,
    limit: int = DEFAULT_LIMIT,
    cursor: str | None = None,
) -> Page[RequestRow]:
    """A page of the requests of the environments *within* (``None``: of all), newest first.

    *is_open* leaves out those that have ended, or those that have not.

    :raises InvalidInputError: the cursor is not one of this list.
    """
    where: list[ColumnElement[bool]] = []
    if within is not None:
        where.append(DeployRequest.environment_id.in_(within))
    if environment_id is not None:
        where.append(DeployRequest.environment_id == environment_id)
    if pipeline_id is not None:
        where.append(DeployRequest.pipeline_id == pipeline_id)
    if cursor is not None:
        where.append(DeployRequest.id < decode_cursor(cursor, 1)[0])
    rows = _rows(where, limit + 1, state, is_open)
    return first_of(rows, limit, lambda row: [row.request.id])


def open_counts() -> dict[str, int]:
    """How many are open, by environment; those that have none are left out. Reads an index of open ones alone."""

    def read(session: Session) -> dict[str, int]:
        query = (
            select(DeployRequest.environment_id, func.count())
            .where(_is_open(leases.database_now(session)))
            .group_by(DeployRequest.environment_id)
        )
        return dict(iter(session.execute(query)))

    return snapshot(read)


def has_open() -> ColumnElement[bool]:
    """Whether requests are open for the pipeline of a query of pipelines; see ``overtake``."""
    query = select(DeployRequest.id).where(
        DeployRequest.environment_id == Pipeline.environment_id,
        DeployRequest.pipeline_id == Pipeline.id,
        DeployRequest.state == "open",
    )
    return query.correlate(Pipeline).exists()


def overtake(
    session: Session, pipeline: Pipeline, deployment: Deployment, actor: Actor, but: str | None = None
) -> None:
    """The pipeline's open requests, other than *but*, end with *deployment*: what they were compared with is gone.

    In the deployment's transaction, under the environment's lock.
    """
    query = (
        select(DeployRequest)
        .where(
            DeployRequest.environment_id == pipeline.environment_id,
            DeployRequest.pipeline_id == pipeline.id,
            DeployRequest.state == "open",
        )
        .order_by(DeployRequest.id)
        .with_for_update()
    )
    requests = [request for request in session.scalars(query).all() if request.id != but]
    if requests:
        now = leases.database_now(session)
        for request in requests:
            request.deployment_id = deployment.id
            end(session, request, "overtaken" if request.expires_at > now else "expired", actor, now)


def end(
    session: Session,
    request: DeployRequest,
    state: State,
    actor: Actor,
    now: datetime,
    comment: str | None = None,
) -> None:
    """Let an open request end as *state*; it was locked before."""
    request.state, request.decided_by, request.decided_at, request.comment = state, actor.name, now, comment
    audit.record(
        session,
        actor,
        f"deploy-request.{state}",
        environment_id=request.environment_id,
        subject_id=request.id,
        pipelineId=request.pipeline_id,
        kind=request.kind,
        askedBy=request.asked_by,
        checksum=request.checksum,
        before={"state": "open"},
        after={"state": state},
        **({"comment": comment} if comment else {}),
        **({"deploymentId": request.deployment_id} if request.deployment_id else {}),
    )


def expire(held: Held) -> int:
    """Write down which have expired: a step of the watch (``app/watch.py``). No event is told of it: always 0."""
    query = (
        select(DeployRequest.id)
        .where(DeployRequest.state == "open", DeployRequest.expires_at <= held.now)
        .order_by(DeployRequest.id)
        .limit(EXPIRED_A_STEP)
    )
    ids = snapshot(lambda session: session.scalars(query).all())

    def work(session: Session) -> None:
        leases.check(session, held)
        locked = select(DeployRequest).where(DeployRequest.id.in_(ids), DeployRequest.state == "open")
        for request in session.scalars(locked.order_by(DeployRequest.id).with_for_update()).all():
            end(session, request, "expired", SERVER, held.now)

    if ids:
        transaction(work)
    return 0


def unknown() -> NotFoundError:
    """What whoever asks for one that is not there is told."""
    return NotFoundError("There is no such deploy request.")


def _is_open(now: datetime) -> ColumnElement[bool]:
    return and_(DeployRequest.state == "open", DeployRequest.expires_at > now)


def _rows(
    where: Sequence[ColumnElement[bool]],
    limit: int,
    state: State | None = None,
    is_open: bool | None = None,
) -> list[RequestRow]:
    def read(session: Session) -> list[RequestRow]:
        now = leases.database_now(session)
        conditions = [*where]
        if is_open is not None:
            conditions.append(_is_open(now) if is_open else not_(_is_open(now)))
        if state == "open":
            conditions.append(_is_open(now))
        elif state == "expired":
            conditions.append(DeployRequest.state.in_(("open", "expired")))
            conditions.append(not_(_is_open(now)))
        elif state is not None:
            conditions.append(DeployRequest.state == state)
        query = (
            select(DeployRequest, Pipeline.name, Environment.name)
            .join(Pipeline, Pipeline.id == DeployRequest.pipeline_id)
            .join(Environment, Environment.id == DeployRequest.environment_id)
            .where(*conditions)
            .order_by(DeployRequest.id.desc())
            .limit(limit)
        )
        return [
            RequestRow(request, pipeline, environment, _state_at(request, now))
            for request, pipeline, environment in session.execute(query)
        ]

    return snapshot(read)


def _state_at(request: DeployRequest, now: datetime) -> State:
    is_over = request.state == "open" and request.expires_at <= now
    return next(state for state in STATES if state == ("expired" if is_over else request.state))
