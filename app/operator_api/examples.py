"""An example of what a schema describes, made of its own examples, words, formats and types. Pure."""

from __future__ import annotations

from typing import Any

_PLACE = "#/components/schemas/"
_OF_FORMATS = {"date-time": "2026-01-31T12:00:00.000Z"}
_OF_TYPES: dict[str, Any] = {"string": "text", "integer": 1, "number": 1.5, "boolean": True, "null": None}


def of(schema: dict[str, Any], schemas: dict[str, Any]) -> Any:
    """A value of *schema*, whose references lead into *schemas*."""
    if "$ref" in schema:
        return of(schemas[schema["$ref"].removeprefix(_PLACE)], schemas)
    if schema.get("examples"):
        return schema["examples"][0]
    if schema.get("enum"):
        return schema["enum"][0]
    for choice in schema.get("anyOf", ()):
        if choice.get("type") != "null":
            return of(choice, schemas)
    kind = schema.get("type")
    if kind == "object":
        named = {name: of(each, schemas) for name, each in schema.get("properties", {}).items()}
        return {name: named[name] for name in schema.get("required", ()) if name in named}
    if kind == "array":
        return [of(schema["items"], schemas)] if schema.get("items") else []
    return _OF_FORMATS.get(schema.get("format", ""), _OF_TYPES.get(str(kind)))
