"""The family of errors, and the response that each becomes.

::

    SignalboxError
      InvalidInputError      400   what was sent cannot be understood
      UnauthorizedError      401   no token, or not a good one
      ForbiddenError         403   the role does not allow it
      NotFoundError          404
      RequestTimeoutError    408   the body did not arrive in time
      ConflictError          409   the name is taken, or the thing is in use
      PreconditionError      412   it is not what the request was made for
      TooLargeError          413
      UnprocessableError     422   understood, and not to be done
      TooManyRequestsError   429   with Retry-After
      UnavailableError       503   with Retry-After
        DatabaseAwayError
        SchemaMissingError
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any, ClassVar
from urllib.parse import quote

from flask import Flask, Response, current_app, g, jsonify, make_response, redirect, render_template, request
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from werkzeug.exceptions import HTTPException

from app.clock import utc_now
from app.database_errors import is_away, lacks_schema

log = logging.getLogger("signalbox.errors")

OPERATOR_API = "/api/v1"
PROBLEM = "application/problem+json"

Detail = dict[str, Any]
"""``{"field", "message"}`` and, for a pipeline's YAML, ``"component"`` and ``"line"``."""


class SignalboxError(Exception):
    """Something that the caller can be told in one sentence."""

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Something went wrong"
    may_send_again: ClassVar[bool] = False
    """Whether the same form can succeed when it is sent a second time, so that its page offers that."""

    def __init__(self, sentence: str, details: list[Detail] | None = None, retry_after: int | None = None):
        super().__init__(sentence)
        self.sentence = sentence
        self.details = details or []
        self.retry_after = retry_after
        """Seconds after which to try again, where that helps."""


class InvalidInputError(SignalboxError):
    """What was sent cannot be understood; ``details`` name the fields."""

    status = 400
    title = "That cannot be understood"


class UnauthorizedError(SignalboxError):
    """No token, or not a good one."""

    status = 401
    title = "Please sign in"


class ForbiddenError(SignalboxError):
    """The role does not allow it."""

    status = 403
    title = "Not allowed"


class NotFoundError(SignalboxError):
    """There is no such thing."""

    status = 404
    title = "Not found"


class RequestTimeoutError(SignalboxError):
    """The body did not arrive in time."""

    status = 408
    title = "Too slow"


class ConflictError(SignalboxError):
    """The name is taken, or the thing is in use."""

    status = 409
    title = "In the way"


class PreconditionError(SignalboxError):
    """It is not, or no longer, what the request was made for; ``etag`` names what it is."""

    status = 412
    title = "Changed meanwhile"

    def __init__(self, sentence: str, etag: str | None = None):
        super().__init__(sentence)
        self.etag = etag


class TooLargeError(SignalboxError):
    """The body is larger than the limit."""

    status = 413
    title = "Too large"


class UnprocessableError(SignalboxError):
    """What was sent is understood, and cannot be done."""

    status = 422
    title = "That cannot be done"


class TooManyRequestsError(SignalboxError):
    """Too fast."""

    status = 429
    title = "Too fast"
    may_send_again = True


class UnavailableError(SignalboxError):
    """Something that this needs is away just now."""

    status = 503
    title = "Not available just now"
    may_send_again = True


class DatabaseAwayError(UnavailableError):
    """The database cannot be reached, or has no connection to spare."""

    title = "The database is away"


class SchemaMissingError(UnavailableError):
    """The database lacks a table or a column that this release needs."""

    title = "The database is not ready for this release"


_SENTENCES = {
    400: "The request cannot be understood.",
    403: "This is not allowed.",
    404: "There is nothing at this address.",
    405: "This address does not take that method.",
    413: "The body is larger than the limit.",
    415: "The body must be JSON.",
    429: "Too many requests came at once.",
    500: "The server failed to handle the request; its log says why.",
    503: "The server cannot do this just now.",
}


def _wants_json() -> bool:
    return request.path.startswith(("/api/", "/agent/")) or request.path in (
        "/healthz",
        "/readyz",
        "/metrics",
    )


def problem_type(status: int) -> str:
    """A relative address that names the kind of problem, and leads to what is said of it."""
    return f"/docs/api#problem-{status}"


def _problem(error: SignalboxError, status: int) -> dict[str, Any]:
    """What RFC 9457 wants beside the sentence that scripts have always read."""
    return {
        "type": problem_type(status),
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": error.sentence,
        "instance": quote(request.path, errors="replace"),
    }


def respond(error: SignalboxError, status: int | None = None) -> Response:
    """The response for *error*: JSON below ``/api``, a page elsewhere; *status* where its family has none of it."""
    if _wants_json():
        body: dict[str, Any] = {"error": error.sentence}
        if error.details:
            body["details"] = error.details
        is_problem = request.path.startswith(OPERATOR_API)
        response = jsonify({**_problem(error, status or error.status), **body} if is_problem else body)
        if is_problem:
            response.mimetype = PROBLEM
    else:
        g.shows_an_error = True
        response = Response(
            render_template("error.html", error=error, status=status or error.status, now=utc_now())
        )
    response.status_code = status or error.status
    if isinstance(error, PreconditionError) and error.etag is not None:
        response.set_etag(error.etag)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    if error.status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="signalbox"'
    return response


def _respond_to_http(error: HTTPException) -> Response:
    page = _page_of_a_form() if error.code == 405 else None
    if page is not None:
        return make_response(redirect(page))
    if error.response is not None:
        return make_response(error.get_response(request.environ))
    code = error.code or 500
    family = {kind.status: kind for kind in SignalboxError.__subclasses__()}
    wrapped = family.get(code, SignalboxError)(_SENTENCES.get(code, error.description or error.name))
    response = respond(wrapped, code)
    for name, value in error.get_headers():
        if name in ("Allow", "Location", "Retry-After"):
            response.headers[name] = value
    return response


def _page_of_a_form() -> str | None:
    """The page whose form is sent to this address, which somebody has reloaded or taken from the address line.

    That is the nearest address above it that answers GET, other than the root.
    """
    if request.method not in ("GET", "HEAD") or _wants_json():
        return None
    addresses = current_app.create_url_adapter(request)
    path = request.path
    while addresses is not None and (path := path.rpartition("/")[0]):
        try:
            addresses.match(path, method="GET")
        except HTTPException:
            continue
        return path
    return None


def _of_database(error: SQLAlchemyError) -> UnavailableError | None:
    """What *error* is to whoever asked, where it passes and says nothing of the input; ``None``: it is our fault."""
    if isinstance(error, DBAPIError) and lacks_schema(error):
        return SchemaMissingError(
            "The database lacks a table or a column that this release needs: flask --app wsgi db upgrade is due on"
            " the server. Nothing was changed.",
            retry_after=30,
        )
    if isinstance(error, PoolTimeoutError) or is_away(error):
        return DatabaseAwayError("The database cannot be used just now; nothing was changed.", retry_after=5)
    return None


def _respond_without_database(error: SQLAlchemyError) -> Response:
    known = _of_database(error)
    if known is None:
        raise error
    g.database_is_away = True  # the page of the error asks it nothing any more
    log.error("%s path=%s: %s", known.title.lower(), request.path, str(error).splitlines()[0])
    return respond(known)


def init_app(app: Flask) -> None:
    """Turn errors into responses; what is not expected is logged with its trace and answered without it."""
    app.register_error_handler(SignalboxError, respond)
    app.register_error_handler(HTTPException, _respond_to_http)
    app.register_error_handler(DBAPIError, _respond_without_database)
    app.register_error_handler(PoolTimeoutError, _respond_without_database)
