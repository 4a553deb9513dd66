"""Who is still to be told of which request for samples: in a configuration answer, by a push, by the sweep."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, bindparam, literal_column, select, update
from sqlalchemy.orm import Session

from app.clock import utc_now
from app.database import current_engine, transaction
from app.many_ids import is_there
from app.models import Node, Pipeline, SampleFailure, SampleRequest, SampleRequestNode, SampleResult

OFFERED_AT_ONCE = 20

# Written as text: a database uses a partial index only for a condition that it sees.
IS_PENDING: ColumnElement[bool] = SampleRequest.status == literal_column("'PENDING'")


def to_wire(request: Any, keys: list[str]) -> dict[str, Any]:
    """*request* for *keys* of its components, as nodes are told of it."""
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
        IS_PENDING,
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
            offers.append(to_wire(request, keys))
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


def has_untold(now: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether a node, in a query of nodes, is asked for samples and was not told so yet."""
    own = (
        select(SampleRequestNode.node_id)
        .join(SampleRequest, SampleRequest.id == SampleRequestNode.request_id)
        .where(
            SampleRequestNode.node_id == Node.id,
            SampleRequestNode.expires_at > now,
            SampleRequestNode.told_at.is_(None),
            IS_PENDING,
        )
    )
    return is_there(own, Node.__table__)


def untold(session: Session, *where: ColumnElement[bool]) -> set[str]:
    """The nodes of *where* (conditions on ``Node``) that are asked for samples and were not told so yet."""
    query = (
        select(SampleRequestNode.node_id)
        .join(SampleRequest, SampleRequest.id == SampleRequestNode.request_id)
        .join(Node, Node.id == SampleRequestNode.node_id)
        .where(
            SampleRequestNode.expires_at > utc_now(),
            SampleRequestNode.told_at.is_(None),
            IS_PENDING,
            *where,
        )
    )
    return set(session.scalars(query))
