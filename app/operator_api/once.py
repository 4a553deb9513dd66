"""``Idempotency-Key``: a POST that is sent again is answered again, and done once; see ``app/idempotency.py``."""

from __future__ import annotations

import re
from collections.abc import Callable
from io import BytesIO
from typing import Any

from flask import Response, current_app, request

from agent.protocol import MAX_BODY_BYTES
from app import access, idempotency
from app.database import beginning_with
from app.errors import ConflictError, InvalidInputError, SignalboxError, respond
from app.idempotency import Answer
from app.json_body import read_bytes

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"

_KEY = re.compile(rf"[!-~]{{1,{idempotency.MAX_KEY_CHARACTERS}}}")


def answer(view: Callable[[], Any], *, shows_once: bool) -> Any:
    """What *view* answers, or has answered to the same request before.

    :raises InvalidInputError: a key that is none.
    :raises UnprocessableError: the key came with another request before.
    :raises ConflictError: what was answered is not known, or not shown again.
    """
    key = request.headers.get(HEADER)
    if key is None or request.method != "POST":
        return view()
    asked = idempotency.Request(access.principal().id, _checked(key), _fingerprint())
    known = idempotency.answered(asked)
    if known is not None:
        return _again(known)
    with beginning_with(lambda session: idempotency.reserve(session, asked)) as is_done:
        try:
            response = current_app.make_response(view())
        except idempotency.TakenError:
            return _of_somebody_else(asked)
        except SignalboxError as error:
            if not is_done():
                raise
            response = respond(error)  # something of it was done all the same
    body = None if shows_once and response.status_code < 400 else response.get_data(as_text=True)
    etag = response.headers.get("ETag")
    idempotency.complete(asked, Answer(response.status_code, response.mimetype or "", etag, body))
    return response


def _of_somebody_else(asked: idempotency.Request) -> Response:
    known = idempotency.answered(asked)
    if known is None:
        raise ConflictError("The same request is being done just now.", retry_after=1)
    return _again(known)


def _again(known: Answer) -> Response:
    response = Response(known.body, known.status, mimetype=known.media_type)
    response.headers[REPLAYED] = "true"
    if known.etag is not None:
        response.headers["ETag"] = known.etag
    return response


def _checked(key: str) -> str:
    if not _KEY.fullmatch(key):
        message = f"it has 1 to {idempotency.MAX_KEY_CHARACTERS} printable ASCII characters and no space"
        raise InvalidInputError(
            f"The idempotency key cannot be used: {message}.", [{"field": HEADER, "message": message}]
        )
    return key


def _fingerprint() -> str:
    """Of the request; its body can be read again afterwards."""
    data = read_bytes(request, MAX_BODY_BYTES)
    request.environ["wsgi.input"] = BytesIO(data)
    request.__dict__.pop("stream", None)
    condition = request.headers.get("If-Match", "")
    return idempotency.fingerprint(request.method, request.full_path, condition, data)
