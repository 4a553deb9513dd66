"""A live tail as server-sent events, for a page and for a script alike."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

from flask import Response, stream_with_context

from app import taps
from app.database import db
from app.push.taps import Tap

CHECK_SECONDS = 5.0
"""How often a tail makes sure that whoever reads it still may."""


def response(tap: Tap, still_allowed: Callable[[], bool]) -> Response:
    """``event {text}`` with an event's JSON, ``still`` when nothing comes, and last ``stopped {reason}``.

    Ends without that once it is not *still_allowed*. No database connection is held meanwhile.
    """
    db.session.remove()
    lines = _lines(tap.request_id, still_allowed)
    answer = Response(stream_with_context(lines), mimetype="text/event-stream")
    answer.headers["Cache-Control"] = "no-cache, no-transform"
    answer.headers["X-Accel-Buffering"] = "no"
    return answer


def _lines(request_id: str, still_allowed: Callable[[], bool]) -> Iterator[str]:
    checked_at = time.monotonic()
    for line in taps.follow(request_id):
        if time.monotonic() > checked_at + CHECK_SECONDS:
            if not still_allowed():
                return
            checked_at = time.monotonic()
        field = {"event": "text", "stopped": "reason"}.get(line.kind)
        data = json.dumps({field: line.text} if field else {})
        yield f"event: {line.kind}\ndata: {data}\n\n"
