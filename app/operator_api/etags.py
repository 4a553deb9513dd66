"""``ETag``, and the conditions that come with a request.

A tag has two parts, ``"<revision>.<content>"``: the revision of what people edit (``app/preconditions.py``), which
``If-Match`` compares, and a digest of the whole answer, which ``If-None-Match`` compares at a GET. So a node that
reports something does not stand in the way of who renames it, and whoever polls it sees all the same what is new.
"""

from __future__ import annotations

import hashlib
from typing import Any

from flask import Response, jsonify, request
from werkzeug.datastructures import ETags

from app.errors import PreconditionError
from app.preconditions import ANY, Condition

CONTENT_DIGITS = 16


def tagged(answer: Any, revision: str, status: int = 200) -> Response:
    """*answer* as JSON with its ``ETag``; ``304`` where it is a GET's, and is the one that the caller has."""
    response = jsonify(answer)
    response.status_code = status
    response.set_etag(f"{revision}.{hashlib.sha256(response.get_data()).hexdigest()[:CONTENT_DIGITS]}")
    response.headers["Cache-Control"] = "private, no-cache"
    if request.method in ("GET", "HEAD"):
        response.make_conditional(request)
    return response


def condition(is_guarded: bool) -> Condition | None:
    """What the request asks for before anything is written; ``None`` at a GET, which ``tagged`` answers.

    :raises PreconditionError: a condition for what has no tag.
    """
    if request.method in ("GET", "HEAD"):
        return None
    match = _revisions(request.if_match) if "If-Match" in request.headers else None
    none_match = _revisions(request.if_none_match) if "If-None-Match" in request.headers else None
    if match is None and none_match is None:
        return None
    if not is_guarded:
        raise PreconditionError("This has no ETag, so it cannot be asked for on a condition.")
    return Condition(match, none_match)


def _revisions(tags: ETags) -> frozenset[str]:
    if tags.star_tag:
        return frozenset([ANY])
    # Weak ones as well: something on the way may have compressed the answer, which changes no revision.
    return frozenset(tag.partition(".")[0] for tag in tags.as_set(include_weak=True))
