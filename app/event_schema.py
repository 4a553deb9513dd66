"""What sampled events look like: which fields they have, of which type, with an example of each. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

MAX_FIELDS = 200
MAX_DEPTH = 8
"""Deeper values are shown as what they are at this depth."""
MAX_PATH_CHARACTERS = 300
MAX_EXAMPLE_CHARACTERS = 200

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_@]*")


def infer(events: list[Any]) -> list[dict[str, str]]:
    """``{path, type, sample}`` of each field, in the order in which they first occur; at most ``MAX_FIELDS``.

    Paths are written as in Vector's own language: ``.user.name``, ``."odd key"``, ``.tags[]`` for the elements of
    a list. A field that has several types has all of them, by ``|``; its example is of the first but ``null``.
    """
    types: dict[str, dict[str, None]] = {}
    examples: dict[str, str] = {}
    for event in events:
        for path, value in _fields("", event, 0):
            if path not in types and len(types) >= MAX_FIELDS:
                continue
            kinds = types.setdefault(path, {})
            if value is not None or path not in examples:
                kind = _type(value)
                if path not in examples or list(kinds) == ["null"]:
                    examples[path] = _example(value)
                kinds[kind] = None
            else:
                kinds["null"] = None
    return [
        {"path": path, "type": "|".join(kinds), "sample": examples[path]} for path, kinds in types.items()
    ]


def _fields(path: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    if depth < MAX_DEPTH and isinstance(value, dict) and value:
        for key, each in value.items():
            name = key if _PLAIN_KEY.fullmatch(key) else json.dumps(key, ensure_ascii=False)
            yield from _fields(f"{path}.{name}", each, depth + 1)
    elif depth < MAX_DEPTH and isinstance(value, list) and value:
        for each in value:
            yield from _fields(f"{path}[]", each, depth + 1)
    else:
        yield (path or ".")[:MAX_PATH_CHARACTERS], value


def _type(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "float"
        case str():
            return "string"
        case list():
            return "array"
    return "object"


def _example(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_EXAMPLE_CHARACTERS else text[: MAX_EXAMPLE_CHARACTERS - 1] + "…"
