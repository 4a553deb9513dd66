"""Which options a component takes, and what is said when one is wrong, in Vector's words."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Field:
    """One option.

    shape: "string", "strings" (a list of strings, or one alone), "integer" (not negative), "number" (not
        negative), "boolean", "mapping", "condition" (VRL as a string, or {type: vrl, source: …}) or "any".
    choices: the only values allowed, for strings. inner: the options of a mapping.
    """

    shape: str
    required: bool = False
    default: Any = None
    choices: tuple[str, ...] = ()
    inner: Mapping[str, "Field"] = field(default_factory=dict)


Fields = Mapping[str, Field]


# Options that every component of a kind takes in Vector and that mean nothing to a stand-in which runs on one
# thread and talks to no server: they are accepted, so that real pipelines load.
COMMON: dict[str, Fields] = {
    "source": {"proxy": Field("any"), "acknowledgements": Field("any"), "graph": Field("any")},
    "transform": {"graph": Field("any")},
    "sink": {
        "proxy": Field("any"),
        "acknowledgements": Field("any"),
        "buffer": Field("any"),
        "healthcheck": Field("any"),
        "graph": Field("any"),
    },
}

_EXPECTED = {
    "string": "a string",
    "strings": "a sequence",
    "integer": "a non-negative integer",
    "number": "a non-negative number",
    "boolean": "a boolean",
    "mapping": "a map",
    "condition": "a string or a map with `type` and `source`",
}


def describe(value: object) -> str:
    """A value as serde names it in its messages."""
    match value:
        case None:
            return "unit value"
        case bool():
            return f"boolean `{str(value).lower()}`"
        case int():
            return f"integer `{value}`"
        case float():
            return f"floating point `{value}`"
        case str():
            return f'string "{value}"'
        case list():
            return "sequence"
    return "map"


def one_of(names: list[str] | tuple[str, ...]) -> str:
    quoted = [f"`{name}`" for name in names]
    if len(quoted) <= 2:
        return " or ".join(quoted)
    return "one of " + ", ".join(quoted)


def check_options(
    where: str, given: Mapping[Any, Any], fields: Fields, also_allowed: tuple[str, ...] = ()
) -> tuple[dict[str, Any], list[str]]:
    """Check a component's options.

    Returns them with defaults filled in, and a list of refusals, each beginning with `where`.
    """
    checked: dict[str, Any] = {}
    refusals: list[str] = []
    for name in given:
        if name not in fields and name not in also_allowed:
            refusals.append(f"{where}: unknown field `{name}`, expected {one_of(sorted(fields))}")
    for name, wanted in fields.items():
        value = given.get(name)
        if value is None:
            if wanted.required:
                refusals.append(f"{where}: missing field `{name}`")
            checked[name] = wanted.default
            continue
        checked[name], problems = _check_value(f"{where}.{name}", value, wanted)
        refusals += problems
    return checked, refusals


def _check_value(where: str, value: Any, wanted: Field) -> tuple[Any, list[str]]:
    if wanted.shape == "strings" and isinstance(value, str):
        value = [value]
    if not _fits(value, wanted.shape):
        return value, [f"{where}: invalid type: {describe(value)}, expected {_EXPECTED[wanted.shape]}"]
    if wanted.choices and value not in wanted.choices:
        return value, [f"{where}: unknown variant `{value}`, expected {one_of(wanted.choices)}"]
    if wanted.shape == "mapping" and wanted.inner:
        return check_options(where, value, wanted.inner)
    if wanted.shape == "condition":
        return (value if isinstance(value, str) else value.get("source")), []
    return value, []


def _fits(value: Any, shape: str) -> bool:
    match shape:
        case "string":
            return isinstance(value, str)
        case "strings":
            return isinstance(value, list) and all(isinstance(item, str) for item in value)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool) and value >= 0
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
        case "boolean":
            return isinstance(value, bool)
        case "mapping":
            return isinstance(value, dict)
        case "condition":
            return isinstance(value, str) or (
                isinstance(value, dict)
                and set(value) == {"type", "source"}
                and value["type"] == "vrl"
                and isinstance(value["source"], str)
            )
    return True
