"""A live tail as server-sent events, for a page and for a script alike."""

from __future__ import annotations

import json
from collections.abc import Iterator

from flask import Response, stream_with_context

from app import taps
from app.database import db
from app.push.taps import Tap


def response(tap: Tap) -> Response:
    """``event {text}`` with an event's JSON, ``still`` when nothing comes, and last ``stopped {reason}``.

    No database connection is held meanwhile.
    """
    db.session.remove()
    answer = Response(stream_with_context(_lines(tap.request_id)), mimetype="text/event-stream")
    answer.headers["Cache-Control"] = "no-cache, no-transform"
    answer.headers["X-Accel-Buffering"] = "no"
    return answer


def _lines(request_id: str) -> Iterator[str]:
    for line in taps.follow(request_id):
        field = {"event": "text", "stopped": "reason"}.get(line.kind)
        data = json.dumps({field: line.text} if field else {})
        yield f"event: {line.kind}\ndata: {data}\n\n"
