"""Log lines that a node sends between its heartbeats: they go where those of heartbeats go."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.database import transaction
from app.heartbeat_body import MAX_LOG_LINES, MAX_PIPELINES
from app.json_body import LogLine, ShortText, Wire
from app.models import Node, NodePipeline
from app.node_identity import AuthenticatedNode
from app.switchboard_process import switchboard


class PipelineLines(Wire):
    """What one pipeline has printed since the last call."""

    pipeline_id: ShortText
    lines: list[LogLine]


Logs = Annotated[list[PipelineLines], Field(max_length=MAX_PIPELINES)]
"""The body of ``POST /api/agent/logs``: a bare list."""


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
