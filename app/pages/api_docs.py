"""The operator API for people: the OpenAPI document as a page, with a command for each operation."""

from __future__ import annotations

import json
import shlex
from typing import Any

from flask import Blueprint, current_app, render_template, request
from flask.typing import ResponseReturnValue

from app.operator_api import examples, openapi
from app.operator_api.words_of_the_api import REFUSALS

bp = Blueprint("api_docs", __name__, url_prefix="/docs/api")


@bp.get("")
def index() -> ResponseReturnValue:
    """All operations, or those in which ``?q=`` is found."""
    document = openapi.document(current_app._get_current_object())  # type: ignore[attr-defined]
    wanted = request.args.get("q", "").strip()[:100]
    base = request.url_root.rstrip("/") + openapi.ROOT
    tags: dict[str, list[dict[str, Any]]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            shown = _shown(document, base, path, method.upper(), operation)
            if all(word in shown["text"] for word in wanted.lower().split()):
                tags.setdefault(operation["tags"][0], []).append(shown)
    count = sum(len(own) for own in tags.values())
    return render_template(
        "api_docs/index.html", tags=sorted(tags.items()), wanted=wanted, count=count, problems=REFUSALS
    )


def _shown(document: Any, base: str, path: str, method: str, operation: Any) -> dict[str, Any]:
    schemas, components = document["components"]["schemas"], document["components"]
    parameters = [
        components["parameters"][each["$ref"].rpartition("/")[2]] if "$ref" in each else each
        for each in operation.get("parameters", ())
    ]
    body = operation.get("requestBody")
    schema = body["content"]["application/json"]["schema"] if body else None
    fields: dict[str, Any] = schemas[schema["$ref"].rpartition("/")[2]] if schema else {}
    success = next(iter(operation["responses"].values()))
    contents: list[dict[str, Any]] = list(success.get("content", {}).values())
    answer = contents[0].get("example") if contents else None
    text = f"{method} {path} {operation['summary']} {operation.get('description', '')} {operation['tags'][0]}"
    return {
        "id": operation["operationId"],
        "method": method,
        "path": path,
        "summary": operation["summary"],
        "description": operation.get("description", ""),
        "parameters": [{**each, "type": _type(each["schema"])} for each in parameters],
        "fields": [
            {
                "name": name,
                "type": _type(own),
                "required": name in fields.get("required", ()),
                "about": own.get("description") or _inner(own).get("description", ""),
            }
            for name, own in fields.get("properties", {}).items()
        ],
        "successes": [int(each) for each in operation["responses"] if int(each) < 300],
        "answer": json.dumps(answer, indent=2, ensure_ascii=False) if answer is not None else None,
        "refusals": [int(each) for each in operation["responses"] if int(each) >= 400],
        "command": _command(base, path, method, parameters, schema, schemas),
        "text": text.lower(),
    }


def _command(base: str, path: str, method: str, parameters: Any, schema: Any, schemas: Any) -> str:
    for each in parameters:
        if each["in"] == "path":
            path = path.replace(f"{{{each['name']}}}", str(examples.of(each["schema"], schemas)))
    lines = ['curl -H "Authorization: Bearer $SIGNALBOX_TOKEN"']
    if method != "GET":
        lines[0] += f" -X {method}"
    if schema is not None:
        body = json.dumps(examples.of(schema, schemas), ensure_ascii=False)
        lines.append(f"  -H 'Content-Type: application/json' -d {shlex.quote(body)}")
    lines.append(f"  {shlex.quote(base + path)}")
    return " \\\n".join(lines)


def _inner(schema: Any) -> Any:
    return next((each for each in schema.get("anyOf", ()) if each.get("type") != "null"), schema)


def _type(schema: Any) -> str:
    own = _inner(schema)
    if own.get("enum"):
        words = " | ".join(str(each) for each in own["enum"])
    elif own.get("type") == "array":
        words = f"list of {_type(own.get('items', {}))}"
    elif "$ref" in own:
        words = own["$ref"].rpartition("/")[2]
    else:
        kind = own.get("type", "any")
        words = own.get("format") or (" or ".join(kind) if isinstance(kind, list) else str(kind))
    return words + (" or null" if own is not schema else "")
