"""Log lines: those that a node sends between its heartbeats go where those of heartbeats go, and are read there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from pydantic import Field
from sqlalchemy import literal, select, tuple_
from sqlalchemy.orm import Session

from app.database import snapshot, transaction
from app.heartbeat_body import MAX_LOG_LINES, MAX_PIPELINES
from app.json_body import LogLine, ShortText, Wire
from app.models import Node, NodePipeline, Pipeline
from app.node_identity import AuthenticatedNode
from app.paging import Page, decode_cursor, encode_cursor
from app.switchboard_process import switchboard


class PipelineLines(Wire):
    """What one pipeline has printed since the last call."""

    pipeline_id: ShortText
    lines: list[LogLine]


Logs = Annotated[list[PipelineLines], Field(max_length=MAX_PIPELINES)]
"""The body of ``POST /api/agent/logs``: a bare list."""


@dataclass(frozen=True, slots=True)
class PipelineLogs:
    """The last lines that one pipeline's process printed on a node."""

    pipeline_id: str
    name: str
    reported_at: datetime
    lines: list[str]


def kept(node_id: str, pipeline_id: str | None, limit: int, cursor: str | None) -> Page[PipelineLogs]:
    """A page of what is kept of a node's pipelines, by their names; with *pipeline_id* of that one.

    :raises InvalidInputError: the cursor is not one of this list.
    """
    keys = tuple_(Pipeline.name, Pipeline.id)
    query = (
        select(Pipeline.id, Pipeline.name, NodePipeline.reported_at, NodePipeline.recent_logs)
        .join(Pipeline, Pipeline.id == NodePipeline.pipeline_id)
        .where(NodePipeline.node_id == node_id)
        .order_by(Pipeline.name, Pipeline.id)
        .limit(limit + 1)
    )
    if pipeline_id is not None:
        query = query.where(Pipeline.id == pipeline_id)
    if cursor is not None:
        name, last_id = decode_cursor(cursor, 2)
        query = query.where(keys > tuple_(literal(name), literal(last_id)))
    rows = [
        PipelineLogs(found_id, name, reported_at, lines or [])
        for found_id, name, reported_at, lines in snapshot(lambda session: session.execute(query).all())
    ]
    last = rows[limit - 1] if len(rows) > limit else None
    return Page(rows[:limit], encode_cursor(last.name, last.pipeline_id) if last is not None else None)


def record(node: AuthenticatedNode, logs: list[PipelineLines]) -> None:
    """Append the lines to what is kept, the last two hundred of each pipeline, then tell the pages.

    Lines of a pipeline that the node has not reported are skipped.
    """
    lines: dict[str, list[str]] = {}
    for each in logs:
        kept = lines.get(each.pipeline_id, []) + each.lines[-MAX_LOG_LINES:]
        lines[each.pipeline_id] = kept[-MAX_LOG_LINES:]
    if any(lines.values()) and transaction(lambda session: _write(session, node, lines)):
        switchboard().publish_fleet_changed(node.environment_id, [node.id])


def _write(session: Session, node: AuthenticatedNode, lines: dict[str, list[str]]) -> bool:
    # The node first, as a heartbeat does it: two of one node wait for each other, and never in a ring.
    if session.get(Node, node.id, with_for_update={"key_share": True}) is None:
        return False
    # A node has rows of its own environment's pipelines only: they go when it is moved.
    query = select(NodePipeline).where(NodePipeline.node_id == node.id, NodePipeline.pipeline_id.in_(lines))
    rows = session.scalars(query).all()
    for row in rows:
        row.recent_logs = ((row.recent_logs or []) + lines[row.pipeline_id])[-MAX_LOG_LINES:]
    return bool(rows)
