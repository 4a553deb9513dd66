"""What nodes show of a pipeline's events: the first success for a component counts, and a request ends once.

Everything that may end a request first locks its row, so that of results that come at once each sees the ones
before it; keys of the tables and a conditional UPDATE hold the same rules once more.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import Field, ValidationError
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app import event_schema, masking, sample_events, sample_offers
from app.clock import utc_now
from app.database import snapshot, transaction
from app.ids import is_id
from app.json_body import HostName, LongText, ShortText, Wire
from app.models import Pipeline, SampleFailure, SampleRequest, SampleRequestNode, SampleResult
from app.sample_offers import IS_PENDING
from app.samples import PENDING
from app.switchboard_process import switchboard

COMPLETED, ERROR, EXPIRED = "COMPLETED", "ERROR", "EXPIRED"

MAX_RESULTS = 512
"""Read of one body; a node has at most ``OFFERED_AT_ONCE`` requests of 16 components."""
ROWS_A_STEP = 200
TOO_LARGE = "What the node sent is too large: ask for fewer events, or for fewer components at once."

log = logging.getLogger("signalbox.samples")


class ReportedResult(Wire):
    """What a node says of one component of a request."""

    request_id: ShortText
    component_key: HostName
    events: list[Any] | None = None
    fields: Any = Field(default=None, alias="schema")
    error: LongText | None = None


class ReportedResults(Wire):
    """The body of ``POST /api/agent/samples``."""

    results: list[ReportedResult] = Field(default_factory=list)


def readable(values: Sequence[Any]) -> list[ReportedResult]:
    """Those of a heartbeat's ``sampleResults`` that can be read: one that cannot must not cost the heartbeat."""
    found = []
    for value in values[:MAX_RESULTS]:
        try:
            found.append(ReportedResult.model_validate(value))
        except ValidationError:
            log.debug("a sample result that cannot be read is skipped")
    return found


def record(node_id: str, environment_id: str, reported: Sequence[ReportedResult]) -> None:
    """Take in what a node says. What it was not asked for, or what comes too late, is skipped silently."""
    by_request: dict[str, dict[str, ReportedResult]] = {}
    for result in reported[:MAX_RESULTS]:
        if is_id(result.request_id):
            own = by_request.setdefault(result.request_id, {})
            # The first success of a body counts, as among bodies.
            if result.component_key not in own or (own[result.component_key].error and not result.error):
                own[result.component_key] = result
    if not by_request:
        return
    is_open = _open_for(node_id, environment_id, list(by_request), utc_now())
    wanted = snapshot(lambda session: list(session.scalars(is_open)))
    if not wanted:
        return
    withheld = None
    try:
        mask = masking.Mask(masking.values_of(environment_id))
    except masking.UnmaskableError as problem:
        mask, withheld = masking.Mask(()), str(problem)
    for request in wanted:
        results = []
        for key, result in by_request[request.id].items():
            if key in request.component_keys:
                results.append(_row(request, node_id, result, mask, withheld))
                time.sleep(0)  # a large body is a lot of work: let others have their turn
        if results:
            _store(request.id, node_id, environment_id, results)


def fail_all(node_id: str, environment_id: str, error: str) -> None:
    """Let everything that the node is still asked for fail."""
    record(
        node_id,
        environment_id,
        [
            ReportedResult(request_id=offer["requestId"], component_key=key, error=error)
            for offer in sample_offers.offered(node_id, environment_id)
            for key in offer["componentKeys"]
        ],
    )


def _open_for(node_id: str, environment_id: str, ids: Sequence[str], now: datetime) -> Any:
    return (
        select(SampleRequest)
        .join(SampleRequestNode, SampleRequestNode.request_id == SampleRequest.id)
        .join(Pipeline, Pipeline.id == SampleRequest.pipeline_id)
        .where(
            SampleRequest.id.in_(ids),
            SampleRequest.status == PENDING,
            SampleRequest.expires_at > now,
            SampleRequestNode.node_id == node_id,
            Pipeline.environment_id == environment_id,
        )
        .order_by(SampleRequest.id)
    )


def _row(
    request: SampleRequest, node_id: str, result: ReportedResult, mask: masking.Mask, withheld: str | None
) -> SampleResult | SampleFailure:
    own = {"request_id": request.id, "component_key": result.component_key, "node_id": node_id}
    error, events = withheld or result.error, []
    if not error:
        events = sample_events.bounded(result.events or [], request.event_limit, mask)
        if result.events and not events:
            error = sample_events.NONE_FITS
    if error:
        return SampleFailure(**own, error=mask.text(error), at=utc_now())
    schema = sample_events.bounded_schema(result.fields, mask) or event_schema.infer(events)
    return SampleResult(**own, events=events, schema=schema, error=None, at=utc_now())


def _store(
    request_id: str, node_id: str, environment_id: str, rows: list[SampleResult | SampleFailure]
) -> None:
    def work(session: Session) -> list[str]:
        now = utc_now()
        query = _open_for(node_id, environment_id, [request_id], now)
        request = session.scalar(query.with_for_update(of=SampleRequest, key_share=True))
        if request is None:
            return []
        done = set(
            session.scalars(select(SampleResult.component_key).where(SampleResult.request_id == request_id))
        )
        failed = set(
            session.scalars(
                select(SampleFailure.component_key).where(
                    SampleFailure.request_id == request_id, SampleFailure.node_id == node_id
                )
            )
        )
        for row in rows:
            if row.component_key not in (done if isinstance(row, SampleResult) else done | failed):
                # A copy: the work may be done again after a deadlock.
                columns = row.__table__.columns.keys()
                session.add(type(row)(**{name: getattr(row, name) for name in columns}))
        session.flush()
        return _settle(session, request, now)

    asked = transaction(work)
    if asked:
        switchboard().publish_fleet_changed(environment_id, asked)


def _settle(session: Session, request: SampleRequest, now: datetime) -> list[str]:
    """See what counts by now, and end the request if it can end; the row is locked. The nodes that were asked."""
    own_nodes = select(SampleRequestNode.node_id).where(SampleRequestNode.request_id == request.id)
    asked = list(session.scalars(own_nodes))
    is_over = request.expires_at <= now
    results = {
        row.component_key: row.error
        for row in session.execute(
            select(SampleResult.component_key, SampleResult.error).where(
                SampleResult.request_id == request.id
            )
        )
    }
    failures: dict[str, list[SampleFailure]] = {}
    for failure in session.scalars(
        select(SampleFailure)
        .where(SampleFailure.request_id == request.id)
        .order_by(SampleFailure.at, SampleFailure.node_id)
    ):
        failures.setdefault(failure.component_key, []).append(failure)
    for key in request.component_keys:
        failed = failures.get(key, [])
        if key not in results and failed and (is_over or {each.node_id for each in failed} >= set(asked)):
            first = failed[0]
            results[key] = first.error
            session.add(
                SampleResult(
                    request_id=request.id,
                    component_key=key,
                    node_id=first.node_id,
                    error=first.error,
                    at=first.at,
                )
            )
    if all(key in results for key in request.component_keys):
        _end(session, request, ERROR if any(results.values()) else COMPLETED, now)
    elif is_over:
        _end(session, request, EXPIRED, now)
    return asked


def _end(session: Session, request: SampleRequest, status: str, now: datetime) -> None:
    session.flush()
    ended = session.execute(
        update(SampleRequest)
        .where(SampleRequest.id == request.id, SampleRequest.status == PENDING)
        .values(status=status, finished_at=now)
    )
    if ended.rowcount:  # type: ignore[attr-defined]
        log.info("samples ended id=%s status=%s", request.id, status)


def expire(session: Session, now: datetime, *where: Any) -> int:
    """End the overdue requests of *where*, some at once; how many."""
    overdue = session.scalars(
        select(SampleRequest)
        .where(IS_PENDING, SampleRequest.expires_at <= now, *where)
        .order_by(SampleRequest.id)
        .limit(ROWS_A_STEP)
        .with_for_update(skip_locked=True, key_share=True)
    ).all()
    for request in overdue:
        _settle(session, request, now)
    return len(overdue)


def tidy_up() -> None:
    """End what is overdue; what is old goes by ``app/retention.py``."""
    now = utc_now()
    overdue = select(SampleRequest.id).where(IS_PENDING, SampleRequest.expires_at <= now).limit(1)
    if snapshot(lambda session: session.scalar(overdue)) is not None:
        transaction(lambda session: expire(session, now))
