"""Whether an answer of the operator API is as its OpenAPI document says."""

from functools import cache
from typing import Any

import jsonschema_rs
from flask import Flask
from werkzeug.exceptions import HTTPException
from werkzeug.test import TestResponse

from app.operator_api import openapi

EVENT_STREAM = "text/event-stream"
Json = dict[str, Any]


def undescribed(app: Flask, method: str, answer: TestResponse) -> str:
    """What of an answer the document does not say; empty if it says all of it.

    Fields that it does not name count as well, although readers have to ignore them.
    """
    endpoint = _endpoint(app, method, answer.request.path)
    body = None if answer.mimetype == EVENT_STREAM else answer.get_json(silent=True)
    return undescribed_of(app, method, endpoint, answer.status_code, answer.mimetype, body)


def undescribed_of(
    app: Flask, method: str, endpoint: str | None, status: int, media_type: str, body: Any
) -> str:
    """As ``undescribed``, of an answer in its parts."""
    route = _routes(app).get((endpoint or "", method))
    if route is None:
        return ""  # refused before there was a route
    response = _document(app)["paths"][route.path][method.lower()]["responses"].get(str(status))
    if response is None:
        return f"{method} {route.path} answers {status}, which is not described"
    content = _resolved(app, response).get("content", {})
    if not content:
        return "" if not body else f"{method} {route.path}, {status}: a body that is not described"
    if media_type not in content:
        return f"{method} {route.path}, {status}: {media_type}, not {', '.join(content)}"
    if media_type == EVENT_STREAM:
        return ""
    return "; ".join(error.message for error in _validator(app, route.path, method, status).iter_errors(body))


def _endpoint(app: Flask, method: str, path: str) -> str | None:
    try:
        endpoint, _ = app.url_map.bind("localhost").match(path, method=method)
    except HTTPException:
        return None
    return str(endpoint)


@cache
def _routes(app: Flask) -> dict[tuple[str, str], openapi.Route]:
    return {(f"operator_api.{route.endpoint}", route.method): route for route in openapi.routes(app)}


@cache
def _document(_app: Flask) -> Json:
    # The same for every application, and made anew for none: it takes a while.
    if not _made:
        _made.append(openapi.document(_app))
    return _made[0]


_made: list[Json] = []
_validators: dict[tuple[str, str, int], Any] = {}


def _resolved(app: Flask, response: Json) -> Json:
    if "$ref" in response:
        name = response["$ref"].removeprefix("#/components/responses/")
        found: Json = _document(app)["components"]["responses"][name]
        return found
    return response


def _validator(app: Flask, path: str, method: str, status: int) -> Any:
    key = (path, method, status)
    if key not in _validators:
        document = _document(app)
        response = _resolved(app, document["paths"][path][method.lower()]["responses"][str(status)])
        (content,) = response["content"].values()
        schema = {**content["schema"], "components": {"schemas": document["components"]["schemas"]}}
        _validators[key] = jsonschema_rs.validator_for(_closed(schema), validate_formats=True)
    return _validators[key]


def _closed(schema: Any) -> Any:
    """With nothing allowed in an object that it does not name."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    if schema.get("type") == "object" and isinstance(schema.get("properties"), dict):
        closed.setdefault("additionalProperties", False)
    return closed
