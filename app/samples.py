"""Samples: an operator asks to see events of a deployed pipeline, and the nodes that run it show some.

A request is a row, pushed and polled alike. Commit, then tell: what is not told is in the node's next
configuration answer, and the sweep nudges it there. What comes back is in ``sample_results``.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app import audit, pipeline_yaml, pipelines
from app.audit import Actor
from app.clock import utc_now
from app.database import snapshot, transaction
from app.errors import ConflictError, InvalidInputError, NotFoundError
from app.ids import new_id
from app.models import Node, NodePipeline, Pipeline, SampleRequest, SampleRequestNode
from app.pipeline_yaml import Component
from app.push import messages
from app.push.messages import SAMPLE_SUBJECT
from app.sample_offers import IS_PENDING, to_wire
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
        under_way = (own, IS_PENDING, SampleRequest.expires_at > now)
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

    try:
        request, asked, environment_id = transaction(work)
    except IntegrityError:
        raise ConflictError(
            "The pipeline, or a node of it, was deleted just now; nobody was asked."
        ) from None
    message = messages.sample_request(to_wire(request, keys))
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
    ended = or_(~IS_PENDING, SampleRequest.expires_at <= now)
    newest = select(SampleRequest.id).where(own).order_by(SampleRequest.id.desc())
    oldest_kept = session.scalar(newest.offset(MAX_KEPT - 1).limit(1))
    if oldest_kept is not None:
        session.execute(
            delete(SampleRequest)
            .where(and_(own, ended, SampleRequest.id < oldest_kept))
            .execution_options(synchronize_session=False)
        )
