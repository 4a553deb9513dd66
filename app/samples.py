"""Samples: an operator asks to see events of a deployed pipeline, and the nodes that run it show some.

A request is a row, pushed and polled alike. Commit, then tell: what is not told is in the node's next
configuration answer, and the sweep nudges it there. What comes back is in ``sample_results``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, delete, func, literal_column, or_, select, update
from sqlalchemy.orm import Session

from app import audit, pipeline_yaml, pipelines
from app.audit import Actor
from app.clock import utc_now
from app.database import current_engine, snapshot, transaction
from app.errors import ConflictError, InvalidInputError, NotFoundError
from app.ids import new_id
from app.models import (
    Node,
    NodePipeline,
    Pipeline,
    SampleFailure,
    SampleRequest,
    SampleRequestNode,
    SampleResult,
)
from app.pipeline_yaml import Component
from app.push import messages
from app.push.messages import SAMPLE_SUBJECT
from app.switchboard_process import switchboard, worker_label

PENDING = "PENDING"
LIFETIME = timedelta(minutes=2)
MAX_COMPONENTS = 16
MAX_EVENTS = 100
DEFAULT_EVENTS = 10
MAX_NODES = 5
"""So many nodes are asked at most: one that shows events is enough, and the first one counts."""
MAX_OPEN = 20
"""Of one pipeline: more would only wait for each other on its nodes."""
MAX_KEPT = 50
"""Of one pipeline; events are somebody's data, and are kept for no longer than anybody looks at them."""
OFFERED_AT_ONCE = 20

# Written as text: a database uses a partial index only for a condition that it sees.
_PENDING: ColumnElement[str] = literal_column("'PENDING'")

log = logging.getLogger("signalbox.samples")


@dataclass(frozen=True, slots=True)
class Asked:
    """What became of a wish: ``pushed`` of the ``nodes`` that were asked are told already."""

    request_id: str
    nodes: int
    pushed: int
    push_error: str | None


def components(pipeline_id: str) -> dict[str, Component]:
    """What can be sampled: the components of what is deployed, by their keys; none where nothing is.

    :raises NotFoundError: there is no such pipeline.
    """
    wanted = pipelines.get(pipeline_id).wanted_version
    if wanted is None:
        return {}
    return pipeline_yaml.parse(pipelines.version(pipeline_id, wanted).config_yaml).components


def ask(pipeline_id: str, component_keys: Sequence[str], event_limit: int, actor: Actor) -> Asked:
    """Ask the nodes that run the pipeline for up to *event_limit* events of each component.

    :raises NotFoundError: there is no such pipeline.
    :raises InvalidInputError: no component, too many, or one that the deployed version does not have.
    :raises ConflictError: it is not deployed, nobody runs it, or too many requests are open.
    """
    found = components(pipeline_id)
    if not found:
        raise _not_deployed(pipelines.get(pipeline_id).name)
    keys = _checked(component_keys, event_limit, found)
    sinks = [key for key in keys if found[key].kind == "sink"]

    def work(session: Session) -> tuple[SampleRequest, list[str], str]:
        now = utc_now()
        pipeline = session.get(Pipeline, pipeline_id)
        if pipeline is None:
            raise NotFoundError("There is no such pipeline.")
        if pipeline.wanted_version is None:
            raise _not_deployed(pipeline.name)
        own = SampleRequest.pipeline_id == pipeline_id
        under_way = (own, SampleRequest.status == _PENDING, SampleRequest.expires_at > now)
        if (session.scalar(select(func.count()).where(*under_way)) or 0) >= MAX_OPEN:
            raise ConflictError(
                f"{MAX_OPEN} requests for samples of the pipeline are open; wait for one to end."
            )
        asked = list(session.scalars(_runners(pipeline)))
        if not asked:
            raise ConflictError(
                f'No node runs the pipeline "{pipeline.name}" now, so there is nothing to sample.'
            )
        request = SampleRequest(
            id=new_id(),
            pipeline_id=pipeline_id,
            component_keys=keys,
            sink_keys=sinks,
            event_limit=event_limit,
            status=PENDING,
            created_by=actor.name,
            created_at=now,
            expires_at=now + LIFETIME,
        )
        session.add(request)
        session.flush()
        session.add_all(
            SampleRequestNode(request_id=request.id, node_id=node_id, expires_at=request.expires_at)
            for node_id in asked
        )
        _prune(session, own, now)
        audit.record(
            session,
            actor,
            "pipeline.sample",
            environment_id=pipeline.environment_id,
            subject_id=pipeline_id,
            pipeline=pipeline.name,
            request_id=request.id,
            components=keys,
            limit=event_limit,
            nodes=len(asked),
        )
        return request, asked, pipeline.environment_id

    request, asked, environment_id = transaction(work)
    message = messages.sample_request(_to_wire(request, keys))
    outcome = switchboard().nudge(asked, message, SAMPLE_SUBJECT + request.id)
    switchboard().publish_fleet_changed(environment_id, asked)
    log.info(
        "samples asked pipeline=%s nodes=%d pushed=%d id=%s worker=%s",
        pipeline_id,
        len(asked),
        outcome.pushed,
        request.id,
        worker_label(),
    )
    return Asked(request.id, len(asked), outcome.pushed, outcome.error)


_NODE, _REQUEST = SampleRequestNode.__table__.c, SampleRequest.__table__.c
# Made once and without the ORM: this is part of every agent's every fetch, and there is nearly always none.
_OPEN_OF_NODE = (
    select(
        _REQUEST.id,
        _REQUEST.pipeline_id,
        _REQUEST.component_keys,
        _REQUEST.sink_keys,
        _REQUEST.event_limit,
        _NODE.told_at,
    )
    .join_from(SampleRequestNode.__table__, SampleRequest.__table__, _REQUEST.id == _NODE.request_id)
    .join(Pipeline.__table__, Pipeline.__table__.c.id == _REQUEST.pipeline_id)
    .where(
        _NODE.node_id == bindparam("node_id"),
        _NODE.expires_at > bindparam("now"),
        _REQUEST.status == _PENDING,
        Pipeline.__table__.c.environment_id == bindparam("environment_id"),
    )
    .order_by(_REQUEST.id)
    .limit(OFFERED_AT_ONCE)
)


def offered(node_id: str, environment_id: str) -> list[dict[str, Any]]:
    """``sampleRequests`` for the node's configuration answer: what is still wanted from it.

    Components that it has failed at, or that have their result, are left out. That it was told is noted here.
    """
    now = utc_now()
    wanted = {"node_id": node_id, "environment_id": environment_id, "now": now}
    with current_engine().connect() as connection:
        waiting = connection.execute(_OPEN_OF_NODE, wanted).all()
        if not waiting:
            return []
        ids = [request.id for request in waiting]
        done = {
            (row.request_id, row.component_key)
            for query in (
                select(SampleResult.request_id, SampleResult.component_key).where(
                    SampleResult.request_id.in_(ids)
                ),
                select(SampleFailure.request_id, SampleFailure.component_key).where(
                    SampleFailure.request_id.in_(ids), SampleFailure.node_id == node_id
                ),
            )
            for row in connection.execute(query)
        }
    untold = [request.id for request in waiting if request.told_at is None]
    if untold:
        record_told([(request_id, node_id, now) for request_id in untold])
    offers = []
    for request in waiting:
        keys = [key for key in request.component_keys if (request.id, key) not in done]
        if keys:
            offers.append(_to_wire(request, keys))
    return offers


def record_told(told: Iterable[tuple[str, str, datetime]]) -> None:
    """Note that requests were handed over; *told* holds (request id, node id, when)."""

    def work(session: Session) -> None:
        for request_id, node_id, when in sorted(told):
            session.execute(
                update(SampleRequestNode)
                .where(
                    SampleRequestNode.request_id == request_id,
                    SampleRequestNode.node_id == node_id,
                    SampleRequestNode.told_at.is_(None),
                )
                .values(told_at=when)
                .execution_options(synchronize_session=False)
            )

    transaction(work)


def untold(session: Session, *where: ColumnElement[bool]) -> set[str]:
    """The nodes of *where* (conditions on ``Node``) that are asked for samples and were not told so yet."""
    query = (
        select(SampleRequestNode.node_id)
        .join(SampleRequest, SampleRequest.id == SampleRequestNode.request_id)
        .join(Node, Node.id == SampleRequestNode.node_id)
        .where(
            SampleRequestNode.expires_at > utc_now(),
            SampleRequestNode.told_at.is_(None),
            SampleRequest.status == _PENDING,
            *where,
        )
    )
    return set(session.scalars(query))


def latest(pipeline_id: str, limit: int = 10) -> list[SampleRequest]:
    """The newest requests for samples of a pipeline."""
    query = (
        select(SampleRequest)
        .where(SampleRequest.pipeline_id == pipeline_id)
        .order_by(SampleRequest.id.desc())
        .limit(limit)
    )
    return snapshot(lambda session: list(session.scalars(query)))


def _checked(component_keys: Sequence[str], event_limit: int, found: dict[str, Component]) -> list[str]:
    keys = list(dict.fromkeys(component_keys))
    if not 1 <= len(keys) <= MAX_COMPONENTS:
        raise _refused("componentKeys", f"name 1 to {MAX_COMPONENTS} components")
    if not 1 <= event_limit <= MAX_EVENTS:
        raise _refused("limit", f"it is a whole number from 1 to {MAX_EVENTS}")
    missing = [key for key in keys if key not in found]
    if missing:
        raise _refused("componentKeys", f'the deployed version has no component "{missing[0][:128]}"')
    return keys


def _refused(field: str, message: str) -> InvalidInputError:
    return InvalidInputError(
        f"No samples can be asked for: {message}.", [{"field": field, "message": message}]
    )


def _not_deployed(name: str) -> ConflictError:
    return ConflictError(f'The pipeline "{name}" is not deployed, so there is nothing to sample.')


def _runners(pipeline: Pipeline) -> Any:
    """The nodes to ask: those that run it, last seen most recently."""
    return (
        select(Node.id)
        .join(NodePipeline, NodePipeline.node_id == Node.id)
        .where(
            NodePipeline.pipeline_id == pipeline.id,
            NodePipeline.status == "RUNNING",
            Node.environment_id == pipeline.environment_id,
            Node.revoked_at.is_(None),
        )
        .order_by(Node.last_seen_at.is_(None), Node.last_seen_at.desc(), Node.id)
        .limit(MAX_NODES)
    )


def _prune(session: Session, own: ColumnElement[bool], now: datetime) -> None:
    """Forget the oldest ended requests of the pipeline beyond ``MAX_KEPT``."""
    ended = or_(SampleRequest.status != _PENDING, SampleRequest.expires_at <= now)
    newest = select(SampleRequest.id).where(own).order_by(SampleRequest.id.desc())
    oldest_kept = session.scalar(newest.offset(MAX_KEPT - 1).limit(1))
    if oldest_kept is not None:
        session.execute(
            delete(SampleRequest)
            .where(and_(own, ended, SampleRequest.id < oldest_kept))
            .execution_options(synchronize_session=False)
        )


def _to_wire(request: Any, keys: list[str]) -> dict[str, Any]:
    wire: dict[str, Any] = {
        "requestId": request.id,
        "pipelineId": request.pipeline_id,
        "componentKeys": keys,
        "limit": request.event_limit,
    }
    sinks = [key for key in keys if key in request.sink_keys]
    if sinks:
        wire["sinkKeys"] = sinks
    return wire
