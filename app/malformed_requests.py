"""What is no HTTP, and so reaches no view: gunicorn answers with HTML or a 501, we with a sentence."""

from __future__ import annotations

import json

from gunicorn.http.errors import (
    ConfigurationProblem,
    ExpectationFailed,
    InvalidResponseHeader,
    InvalidResponseHeaderName,
    LimitRequestHeaders,
    LimitRequestLine,
    ParseException,
)

_OURS = (ConfigurationProblem, InvalidResponseHeader, InvalidResponseHeaderName)
"""Not the client's fault, though they are of the same family."""
_STATUSES = {
    LimitRequestLine: (414, "URI Too Long", "The request's first line is too long."),
    LimitRequestHeaders: (
        431,
        "Request Header Fields Too Large",
        "The request has too many or too long headers.",
    ),
    ExpectationFailed: (417, "Expectation Failed", "No expectation but 100-continue can be met."),
}


def answer_to(error: BaseException) -> bytes | None:
    """The whole answer, after which the connection ends; ``None`` if *error* is not the client's."""
    if not isinstance(error, ParseException) or isinstance(error, _OURS):
        return None
    status, reason, sentence = _STATUSES.get(
        type(error),
        (400, "Bad Request", "The request is not HTTP as the server understands it: look at its headers."),
    )
    body = json.dumps({"error": sentence}).encode()
    head = (
        f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\nContent-Type: application/json\r\n"
        f"X-Content-Type-Options: nosniff\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
