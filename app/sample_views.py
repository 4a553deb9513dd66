"""A request for samples and what has come of it, as pages and the operator API show it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import sample_results
from app.clock import utc_now
from app.database import snapshot, transaction
from app.errors import NotFoundError
from app.ids import is_id
from app.models import Node, Pipeline, SampleFailure, SampleRequest, SampleRequestNode, SampleResult
from app.samples import PENDING

GRPC_SINCE = (0, 55)
"""The Vector that answers ``tap`` in another way than agents A and B ask."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What counts for a component, or what one node has failed at."""

    component_key: str
    node_id: str
    node_name: str | None
    """``None``: the node is gone."""
    needs_old_vector: bool
    """Its agent is not ours and asks Vector over GraphQL, which this node's Vector no longer serves."""
    events: list[Any] | None
    schema: list[dict[str, str]] | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Samples:
    """A request and all that has come of it."""

    request: SampleRequest
    environment_id: str
    pipeline_name: str
    asked: dict[str, str]
    """The names of the nodes that were asked, by id."""
    samples: list[Sample]
    failures: list[Sample]
    """Errors of nodes that do not count, or do not count yet."""


def get(request_id: str) -> Samples:
    """A request and what has come of it; one that is overdue ends here.

    :raises NotFoundError: there is none of that id.
    """
    found = snapshot(lambda session: _read(session, request_id)) if is_id(request_id) else None
    if found is None:
        raise NotFoundError("There is no such request for samples.")
    now = utc_now()
    if found.request.status != PENDING or found.request.expires_at > now:
        return found
    transaction(lambda session: sample_results.expire(session, now, SampleRequest.id == request_id))
    return snapshot(lambda session: _read(session, request_id)) or found


def _read(session: Session, request_id: str) -> Samples | None:
    request = session.get(SampleRequest, request_id)
    if request is None:
        return None
    pipeline = session.get_one(Pipeline, request.pipeline_id)
    asked = session.execute(
        select(SampleRequestNode.node_id, Node.name)
        .join(Node, Node.id == SampleRequestNode.node_id)
        .where(SampleRequestNode.request_id == request_id)
        .order_by(Node.name, Node.id)
    )
    results = session.execute(
        select(SampleResult, Node.name)
        .outerjoin(Node, Node.id == SampleResult.node_id)
        .where(SampleResult.request_id == request_id)
    )
    by_key = {
        row.component_key: Sample(
            row.component_key, row.node_id, name, False, row.events, row.schema, row.error
        )
        for row, name in results
    }
    failures = session.execute(
        select(SampleFailure, Node.name, Node.vector_version, Node.boot_id)
        .outerjoin(Node, Node.id == SampleFailure.node_id)
        .where(SampleFailure.request_id == request_id)
        .order_by(SampleFailure.component_key, SampleFailure.at, SampleFailure.node_id)
    )
    return Samples(
        request=request,
        environment_id=pipeline.environment_id,
        pipeline_name=pipeline.name,
        asked={row.node_id: row.name for row in asked},
        samples=[by_key[key] for key in request.component_keys if key in by_key],
        failures=[
            Sample(row.component_key, row.node_id, name, _needs_old(version, boot_id), None, None, row.error)
            for row, name, version, boot_id in failures
        ],
    )


def _needs_old(vector_version: str | None, boot_id: str | None) -> bool:
    # Agents that we did not write send no boot id.
    number = re.search(r"\b(\d+)\.(\d+)\.\d+", vector_version or "")
    return boot_id is None and number is not None and (int(number[1]), int(number[2])) >= GRPC_SINCE
