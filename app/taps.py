"""Live tails: watching what a component of a running pipeline puts out, on one node, for a while."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from app import audit, masking, pipeline_yaml, pipelines
from app.audit import Actor
from app.database import snapshot, transaction
from app.errors import ConflictError, ForbiddenError, InvalidInputError, NotFoundError, UnavailableError
from app.ids import is_id, new_id
from app.json_body import HostName, LongText, ShortText, Wire, clean
from app.models import Node, NodePipeline
from app.node_identity import AuthenticatedNode
from app.push import messages
from app.push.redis_gate import RedisAwayError
from app.push.taps import MAX_EVENT_CHARACTERS, MAX_EVENTS, MAX_OPEN, WATCH_SECONDS, Tap, Taps
from app.switchboard_process import switchboard

MAX_CANDIDATES = 200
LIFE_SECONDS = 300.0
"""A tail ends after this, however many watch it; agents end theirs as late."""
LOOK_SECONDS = 0.5
STILL_SECONDS = 5.0


class TapEvents(Wire):
    """The body of ``POST /api/agent/tap-events``."""

    request_id: ShortText
    pipeline_id: ShortText
    component_id: HostName
    events: list[Any] = Field(default_factory=list)
    status: ShortText | None = None
    reason: LongText | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a tail: an event's JSON, why it has ended, or that nothing has come for a while."""

    kind: Literal["event", "stopped", "still"]
    text: str = ""


def components(pipeline_id: str) -> list[str]:
    """What of the deployed version can be tapped, as written: sources and transforms, which put something out."""
    pipeline = pipelines.get(pipeline_id)
    if pipeline.wanted_version is None:
        return []
    parsed = pipeline_yaml.parse(pipelines.version(pipeline_id, pipeline.wanted_version).config_yaml)
    return [name for name, each in parsed.components.items() if each.kind != "sink"]


def start(pipeline_id: str, component_id: str, actor: Actor, node_id: str | None = None) -> Tap:
    """Ask a connected node that runs the pipeline (*node_id*, or the one heard of last) for a component's events.

    :raises NotFoundError: there is no such pipeline.
    :raises InvalidInputError: its deployed version has no such source or transform.
    :raises ConflictError: it runs on no connected node, or not on this one.
    :raises UnavailableError: too many tails are open, or Redis is away.
    """
    pipeline = pipelines.get(pipeline_id)
    if component_id not in components(pipeline_id):
        message = "the deployed version has no source or transform of this name"
        raise InvalidInputError(
            f"The component cannot be tapped: {message}.", [{"field": "componentId", "message": message}]
        )
    tap = Tap(
        new_id(), pipeline.environment_id, _connected_node(pipeline_id, node_id), pipeline_id, component_id
    )
    try:
        if not _taps().open(tap):
            raise UnavailableError(f"{MAX_OPEN} live tails are open already; stop one.", retry_after=10)
    except RedisAwayError as error:
        raise UnavailableError(f"{error} Nothing can be tailed without it.", retry_after=2) from error
    transaction(
        lambda session: audit.record(
            session,
            actor,
            "pipeline.tap",
            environment_id=tap.environment_id,
            subject_id=pipeline_id,
            component=component_id,
            node=tap.node_id,
        )
    )
    outcome = switchboard().nudge([tap.node_id], messages.tap_start(tap))
    if not outcome.pushed:
        _end(tap.request_id, "the node could not be told")
        raise ConflictError(outcome.error or "The node is not connected any more; try again.")
    return tap


def get(request_id: str) -> Tap:
    """A tail that is open, or has ended not long ago.

    :raises NotFoundError: there is none.
    :raises UnavailableError: Redis is away.
    """
    try:
        tap = _taps().get(request_id) if is_id(request_id) else None
    except RedisAwayError as error:
        raise UnavailableError(str(error), retry_after=2) from error
    if tap is None:
        raise NotFoundError("There is no such live tail (any more).")
    return tap


def stop(request_id: str) -> None:
    """End it, and tell the node; again and again, if asked.

    :raises NotFoundError: there is none.
    """
    tap = get(request_id)
    _end(request_id, "stopped")
    switchboard().nudge([tap.node_id], messages.tap_stop(request_id))


def follow(request_id: str) -> Iterator[Line]:
    """What comes, as it comes, until the tail ends; whoever iterates watches.

    Ends without ``stopped`` when this worker leaves or Redis is away: follow it again.
    """
    taps, last = _taps(), "0"
    ends = time.monotonic() + LIFE_SECONDS
    watched_at = said_at = 0.0
    try:
        while not switchboard().draining:
            now = time.monotonic()
            is_open = taps.is_open(request_id)
            if is_open and now > watched_at + WATCH_SECONDS / 6:
                taps.watch(request_id)
                watched_at = now
            for name, text in taps.since(request_id, last):
                yield Line("event", text)
                last, said_at = name, now
            if not is_open:
                yield Line("stopped", taps.reason(request_id))
                return
            if now > ends:
                stop(request_id)
                continue
            if now > said_at + STILL_SECONDS:
                yield Line("still")
                said_at = now
            time.sleep(LOOK_SECONDS)
    except (RedisAwayError, NotFoundError, UnavailableError):
        return


def record(node: AuthenticatedNode, body: TapEvents) -> None:
    """Take what the node was asked for; over-long events are cut, of many the last are kept, secrets are masked.

    :raises ForbiddenError: the node was not asked for this.
    :raises UnavailableError: Redis is away.
    """
    taps = _taps()
    try:
        tap = taps.get(body.request_id) if is_id(body.request_id) else None
        asked = (body.pipeline_id, body.component_id)
        if tap is None or tap.node_id != node.id or asked != (tap.pipeline_id, tap.component_id):
            raise ForbiddenError("This node was not asked for these events.")
        is_open = taps.is_open(tap.request_id)
        try:
            mask = masking.Mask(masking.values_of(node.environment_id) if is_open else ())
        except masking.UnmaskableError as problem:
            taps.end(tap.request_id, str(problem).rstrip("."))
            switchboard().nudge([node.id], messages.tap_stop(tap.request_id))
            return
        if is_open:
            taps.add(tap.request_id, [_text(mask.json(event)) for event in body.events[-MAX_EVENTS:]])
        if body.status == "stopped":
            taps.end(tap.request_id, mask.text(body.reason or "the agent has stopped"))
        elif not is_open:
            switchboard().nudge(
                [node.id], messages.tap_stop(tap.request_id)
            )  # it has not heard the first one
    except RedisAwayError as error:
        raise UnavailableError(str(error), retry_after=2) from error


def _text(event: Any) -> str:
    text = clean(json.dumps(event, ensure_ascii=False, separators=(",", ":")))
    return text if len(text) <= MAX_EVENT_CHARACTERS else text[: MAX_EVENT_CHARACTERS - 1] + "…"


def _end(request_id: str, reason: str) -> None:
    try:
        _taps().end(request_id, reason)
    except RedisAwayError:
        pass  # it ends by itself


def _connected_node(pipeline_id: str, node_id: str | None) -> str:
    query = (
        select(Node.id)
        .join(NodePipeline, NodePipeline.node_id == Node.id)
        .where(
            NodePipeline.pipeline_id == pipeline_id,
            NodePipeline.status == "RUNNING",
            Node.revoked_at.is_(None),
        )
        .order_by(Node.last_seen_at.desc())
        .limit(MAX_CANDIDATES)
    )
    if node_id is not None:
        query = query.where(Node.id == node_id)

    def read(session: Session) -> list[str]:
        return list(session.scalars(query))

    candidates = snapshot(read)
    presence = switchboard().presence(candidates)
    for each in candidates:
        if presence[each].connected:
            return each
    if any(each.connected is None for each in presence.values()):
        raise UnavailableError(
            "Redis is away, so nobody knows which nodes are connected. Nothing can be tailed without it.",
            retry_after=2,
        )
    if node_id is not None:
        raise ConflictError("The pipeline does not run on this node, or the node is not connected.")
    raise ConflictError("The pipeline runs on no connected node, so there is nothing to tail.")


def _taps() -> Taps:
    return switchboard().taps
