"""The OpenAPI 3.1 document of the operator API, made of what its routes declare; see ``contract.py``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, request
from pydantic import BaseModel, TypeAdapter
from werkzeug.routing import Rule

from app.access_rules import RULES
from app.errors import PROBLEM, problem_type
from app.operator_api import answers, contract, examples, words_of_the_api
from app.operator_api.contract import JSON, Contract
from app.operator_api.schemas import Changes

ROOT = "/api/v1"
SCHEMAS = "#/components/schemas/"
VERSION = "1"
"""Of the contract: what is added leaves it as it is."""

Json = dict[str, Any]


@dataclass(frozen=True)
class Route:
    """One method of one address."""

    method: str
    path: str
    """As OpenAPI writes it, behind ``ROOT``."""
    endpoint: str
    """Behind the API's own name: ``pipelines.deploy``."""
    view: Callable[..., Any]
    contract: Contract
    arguments: tuple[str, ...]
    """The names of the path's parameters as they are in the document."""

    @property
    def writes(self) -> bool:
        """Whether it changes something."""
        return self.method != "GET"


def routes(app: Flask) -> list[Route]:
    """Every declared route, by its path and then as a reader wants them."""
    order = ("GET", "POST", "PUT", "PATCH", "DELETE")
    found = []
    for rule in app.url_map.iter_rules():
        declared = contract.of(app, rule.endpoint)
        if not rule.rule.startswith(f"{ROOT}/") or declared is None:
            continue
        path, arguments = _path(rule)
        endpoint = rule.endpoint.removeprefix("operator_api.")
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            view = app.view_functions[rule.endpoint]
            found.append(Route(method, path, endpoint, view, declared, arguments))
    return sorted(found, key=lambda route: (route.path, order.index(route.method)))


def init_app(app: Flask) -> None:
    """Serve the document, to whoever asks: there is nothing in it that the source has not."""
    made: list[str] = []

    def view() -> Response:
        if not made:
            made.append(json.dumps(document(app), ensure_ascii=False))
        response = Response(made[0], mimetype=JSON)
        response.headers["Cache-Control"] = "no-cache"
        response.add_etag()
        response.make_conditional(request)
        return response

    app.add_url_rule(f"{ROOT}/openapi.json", "openapi", view)


def document(app: Flask) -> Json:
    """The whole document."""
    all_routes = routes(app)
    schema_of, schemas = _schemas(all_routes)
    paths: dict[str, Json] = {}
    for route in all_routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schema_of, schemas)
    tags = {operation["tags"][0] for path in paths.values() for operation in path.values()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Signalbox operator API",
            "version": VERSION,
            "description": words_of_the_api.ABOUT,
        },
        "servers": [{"url": ROOT}],
        "security": [{"token": []}],
        "tags": [{"name": tag} for tag in sorted(tags)],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": words_of_the_api.TOKEN}
            },
            "schemas": schemas,
            "responses": {
                name: _refusal(status, sentence)
                for status, (name, sentence) in words_of_the_api.REFUSALS.items()
            },
            "parameters": words_of_the_api.PARAMETERS,
            "headers": words_of_the_api.HEADERS,
        },
    }


def _path(rule: Rule) -> tuple[str, tuple[str, ...]]:
    """The rule's path, and the names of its parameters."""
    names: list[str] = []

    def named(match: re.Match[str]) -> str:
        names.append(_camel(match[1]))
        return f"{{{names[-1]}}}"

    return re.sub(r"<(?:\w+:)?(\w+)>", named, rule.rule.removeprefix(ROOT)), tuple(names)


def _operation(route: Route, schema_of: Callable[[Any], Json], schemas: Json) -> Json:
    summary, description = _told(route.view)
    rule = RULES[f"operator_api.{route.endpoint}"]
    description = f"{description}\n\nRole: `{rule.role}`, {words_of_the_api.where(rule.scope)}.".strip()
    declared = route.contract
    operation: Json = {
        "operationId": route.endpoint.replace(".", "_"),
        "tags": [words_of_the_api.tag(route.endpoint)],
        "summary": summary,
        "description": description,
        "parameters": [
            *_path_parameters(route),
            *_query_parameters(declared.query),
            *_header_parameters(route),
        ],
        "responses": _responses(route, schema_of, schemas),
    }
    if declared.body is not None:
        operation["requestBody"] = {
            "required": bool(declared.body.model_json_schema(by_alias=True).get("required")),
            "content": {JSON: {"schema": schema_of(declared.body)}},
        }
    return {key: value for key, value in operation.items() if value not in ("", [])}


def _told(view: Callable[..., Any]) -> tuple[str, str]:
    """The first sentence of the view's docstring, and the rest."""
    text = _markdown(view.__doc__ or "")
    first, _, rest = text.partition(". ") if ". " in text else text.partition("\n\n")
    return first.rstrip("."), rest.strip()


def _path_parameters(route: Route) -> Iterator[Json]:
    for name in route.arguments:
        yield {"name": name, "in": "path", "required": True, "schema": words_of_the_api.path_schema(name)}


def _query_parameters(model: type[BaseModel] | None) -> Iterator[Json]:
    if model is None:
        return
    schema = _clean(model.model_json_schema(by_alias=True))
    for name, own in schema["properties"].items():
        given = next((each for each in own.get("anyOf", ()) if each != {"type": "null"}), own)
        # An empty one counts as absent.
        parameter: Json = {"name": name, "in": "query", "allowEmptyValue": True, "schema": dict(given)}
        if "description" in given:
            parameter["description"] = parameter["schema"].pop("description")
        yield parameter


def _header_parameters(route: Route) -> Iterator[Json]:
    if route.method == "POST":
        yield {"$ref": "#/components/parameters/IdempotencyKey"}
    if route.contract.is_guarded:
        yield from ({"$ref": f"#/components/parameters/{name}"} for name in ("IfMatch", "IfNoneMatch"))
    elif route.contract.is_tagged and not route.writes:
        yield {"$ref": "#/components/parameters/IfNoneMatch"}


def _responses(route: Route, schema_of: Callable[[Any], Json], schemas: Json) -> Json:
    declared = route.contract
    headers: Json = _headers("RateLimit", "RateLimit-Policy")
    if declared.is_tagged:
        headers |= _headers("ETag")
    if route.method == "POST" and not declared.shows_once:
        headers |= _headers("Idempotency-Replayed")
    success: Json = {"description": words_of_the_api.SUCCESSES[declared.status], "headers": headers}
    if declared.answer is not None:
        schema = schema_of(declared.answer)
        success["content"] = {declared.media_type: {"schema": schema}}
        if declared.media_type == JSON:
            success["content"][JSON]["example"] = examples.of(schema, schemas)
    responses = {str(declared.status): success}
    if declared.asked is not None:
        schema = schema_of(declared.asked)
        content = {JSON: {"schema": schema, "example": examples.of(schema, schemas)}}
        responses["202"] = {
            "description": words_of_the_api.WAITS,
            "headers": headers,
            "content": content,
        }
    if declared.is_tagged and not route.writes:
        responses["304"] = {"description": "It is what the caller has.", "headers": headers}
    for status in sorted(refusals(route)):
        responses[str(status)] = {"$ref": f"#/components/responses/{words_of_the_api.REFUSALS[status][0]}"}
    return responses


def refusals(route: Route) -> set[int]:
    """Every status that the route can refuse with."""
    declared = route.contract
    found = {401, 403, 429, 503, *declared.refusals}
    if declared.body is not None:
        found |= {400, 408, 413}
    if declared.query is not None:
        found.add(400)
    if declared.is_guarded:
        found.add(412)
    if route.method == "POST":
        found |= {400, 408, 409, 413, 422}
    if route.arguments:
        found.add(404)
    return found


def _headers(*names: str) -> Json:
    return {name: {"$ref": f"#/components/headers/{name.replace('-', '')}"} for name in names}


def _refusal(status: int, sentence: str) -> Json:
    problem = {
        "type": problem_type(status),
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": sentence,
        "instance": f"{ROOT}/…",
        "error": sentence,
    }
    named = ["RateLimit", "RateLimit-Policy"] if status not in (401, 403) else []
    named += {429: ["Retry-After"], 503: ["Retry-After"]}.get(status, [])
    headers = _headers(*named)
    if status == 412:
        headers["ETag"] = {"$ref": "#/components/headers/PresentETag"}
    response: Json = {
        "description": sentence,
        "headers": headers,
        "content": {PROBLEM: {"schema": {"$ref": f"{SCHEMAS}Problem"}, "example": problem}},
    }
    return response


def _schemas(all_routes: list[Route]) -> tuple[Callable[[Any], Json], Json]:
    """A function that names the schema of a declared shape, and all schemas."""
    wanted: dict[Any, tuple[str, TypeAdapter[Any]]] = {}
    for route in all_routes:
        for each in (route.contract.answer, route.contract.asked, route.contract.body):
            if each is not None:
                wanted[each] = ("validation", TypeAdapter(each))
    wanted[answers.Problem] = ("validation", TypeAdapter(answers.Problem))
    inputs: list[Any] = [(key, mode, adapter) for key, (mode, adapter) in wanted.items()]
    made = TypeAdapter.json_schemas(inputs, by_alias=True, ref_template=SCHEMAS + "{model}")
    own, rest = _with_named_pages(made)
    schemas = {name: _clean(schema) for name, schema in rest["$defs"].items()}
    for shape in wanted:
        if isinstance(shape, type) and issubclass(shape, Changes):
            # An absent field means that nothing changes, so it has no default.
            for field in schemas[shape.__name__]["properties"].values():
                field.pop("default", None)
    named = {key: _clean(own[key, mode]) for key, (mode, _) in wanted.items()}
    return lambda shape: named[shape], dict(sorted(schemas.items()))


def _with_named_pages(schemas: Any) -> Any:
    """With ``NodePage`` where pydantic says ``Page_Node_``."""

    def named(text: str) -> str:
        return re.sub(r"\bPage_(\w+)_$", r"\1Page", text)

    if isinstance(schemas, (list, tuple)):
        return type(schemas)(_with_named_pages(each) for each in schemas)
    if isinstance(schemas, dict):
        return {
            named(key) if isinstance(key, str) else key: named(value)
            if key == "$ref"
            else _with_named_pages(value)
            for key, value in schemas.items()
        }
    return schemas


def _clean(schema: Any) -> Any:
    """Without the titles and empty defaults that pydantic makes up, and with Markdown in place of our docstrings'."""
    if isinstance(schema, list):
        return [_clean(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    cleaned = {
        key: _clean(value)
        for key, value in schema.items()
        if not (key == "title" and isinstance(value, str)) and not (key == "default" and value is None)
    }
    if isinstance(cleaned.get("description"), str):
        cleaned["description"] = _markdown(cleaned["description"])
    return cleaned


def _markdown(text: str) -> str:
    return re.sub(r"\s*\n\s*", " ", text.strip()).replace("``", "`")


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
