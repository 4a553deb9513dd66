"""The functions that the stand-in's VRL knows: what they take, what they give, when they can fail."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

ANY = "any"
_SCALARS = ("string", "integer", "float", "boolean", "null")


class RuntimeFault(Exception):
    """An expression failed on one event. Caught by `??`, else by the transform that ran it."""


def kind_of(value: object) -> str:
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
        case dict():
            return "object"
        case re.Pattern():
            return "regex"
        case datetime():
            return "timestamp"
    raise AssertionError(f"no VRL value: {value!r}")


@dataclass(frozen=True)
class Parameter:
    """kinds: the kinds accepted, or ("any",). An optional parameter has a default."""

    name: str
    kinds: tuple[str, ...]
    required: bool = True
    default: Any = None


@dataclass(frozen=True)
class Function:
    """result: the kind returned. fails: it can fail although its arguments are of accepted kinds."""

    parameters: tuple[Parameter, ...]
    result: str
    fails: bool
    call: Callable[..., Any]


def _asserts(kind: str) -> Function:
    """`string(value)` and its like: the value itself, or a failure."""

    def check(value: Any) -> Any:
        if kind_of(value) != kind:
            raise RuntimeFault(f"expected {kind}, got {kind_of(value)}")
        return value

    return Function((Parameter("value", (ANY,)),), kind, True, check)


def _asks(kind: str) -> Function:
    return Function((Parameter("value", (ANY,)),), "boolean", False, lambda value: kind_of(value) == kind)


def _searches(found: Callable[[str, str], bool]) -> Function:
    def search(value: str, substring: str, case_sensitive: bool) -> bool:
        if not case_sensitive:
            value, substring = value.lower(), substring.lower()
        return found(value, substring)

    parameters = (
        Parameter("value", ("string",)),
        Parameter("substring", ("string",)),
        Parameter("case_sensitive", ("boolean",), required=False, default=True),
    )
    return Function(parameters, "boolean", False, search)


def _to_int(value: Any) -> int:
    if value is None:
        return 0
    try:
        return int(value)
    except (ValueError, OverflowError) as error:
        raise RuntimeFault(f'unable to convert value to integer: "{value}"') from error


def _to_float(value: Any) -> float:
    if value is None:
        return 0.0
    try:
        return float(value)
    except ValueError as error:
        raise RuntimeFault(f'unable to convert value to float: "{value}"') from error


def _to_string(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
    return str(value)


def _length(value: Any) -> int:
    return len(value.encode()) if isinstance(value, str) else len(value)


def _parse_json(value: str) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise RuntimeFault(f"unable to parse json: {error}") from error


_ONE_STRING = (Parameter("value", ("string",)),)

FUNCTIONS: dict[str, Function] = {
    "starts_with": _searches(lambda value, substring: value.startswith(substring)),
    "ends_with": _searches(lambda value, substring: value.endswith(substring)),
    "contains": _searches(lambda value, substring: substring in value),
    "match": Function(
        (Parameter("value", ("string",)), Parameter("pattern", ("regex",))),
        "boolean",
        False,
        lambda value, pattern: pattern.search(value) is not None,
    ),
    "is_null": _asks("null"),
    "is_string": _asks("string"),
    "is_integer": _asks("integer"),
    "string": _asserts("string"),
    "int": _asserts("integer"),
    "float": _asserts("float"),
    "bool": _asserts("boolean"),
    "to_int": Function((Parameter("value", _SCALARS),), "integer", True, _to_int),
    "to_float": Function((Parameter("value", _SCALARS),), "float", True, _to_float),
    "to_string": Function((Parameter("value", _SCALARS),), "string", False, _to_string),
    "length": Function((Parameter("value", ("string", "array", "object")),), "integer", False, _length),
    "downcase": Function(_ONE_STRING, "string", False, lambda value: value.lower()),
    "upcase": Function(_ONE_STRING, "string", False, lambda value: value.upper()),
    "parse_json": Function(_ONE_STRING, ANY, True, _parse_json),
    "now": Function((), "string", False, lambda: datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")),
}
