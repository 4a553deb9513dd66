"""Reading requests: bodies as models, the query string as bounded values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, TypeVar

from flask import request
from pydantic import BaseModel, ValidationError

from agent.protocol import MAX_BODY_BYTES
from app.errors import InvalidInputError
from app.json_body import explain, read_json
from app.paging import DEFAULT_LIMIT, MAX_LIMIT

Model = TypeVar("Model", bound=BaseModel)

Word = TypeVar("Word", bound=str)

MAX_PARAMETER_CHARACTERS = 4096

_UNSTORABLE = re.compile(r"[\0\ud800-\udfff]")


def body(model: type[Model], most_bytes: int = MAX_BODY_BYTES) -> Model:
    """The request's body as *model*; no body counts as ``{}``.

    :raises TooLargeError: more than *most_bytes*, by default 1 MiB.
    :raises InvalidInputError: not JSON, not an object, or not of that shape; ``details`` name the fields.
    """
    value = read_json(request, most_bytes)
    if not isinstance(value, dict):
        raise InvalidInputError("The body must be a JSON object.")
    for field, problem in _unstorable(value):
        raise InvalidInputError(
            f'The field "{field}" is not valid: {problem}.', [{"field": field, "message": problem}]
        )
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise InvalidInputError(*explain(error)) from None


def limit() -> int:
    """``?limit=``: how many rows, by default 100, at most 500.

    :raises InvalidInputError: not a whole number from 1 to 500.
    """
    value = text("limit")
    if value is None:
        return DEFAULT_LIMIT
    if not (value.isascii() and value.isdecimal() and len(value) <= 9 and 1 <= int(value) <= MAX_LIMIT):
        raise _refusal("limit", f"it is a whole number from 1 to {MAX_LIMIT}")
    return int(value)


def cursor() -> str | None:
    """``?cursor=``: where the list goes on."""
    return text("cursor")


def flag(name: str) -> bool | None:
    """A parameter that is ``true`` or ``false``.

    :raises InvalidInputError: it is neither.
    """
    value = text(name)
    if value is None:
        return None
    if value not in ("true", "false"):
        raise _refusal(name, "it is true or false")
    return value == "true"


def choice(name: str, choices: tuple[Word, ...]) -> Word | None:
    """A parameter that is one of *choices*; ``None`` where it is absent or empty.

    :raises InvalidInputError: it is another word.
    """
    value = text(name)
    found = next((word for word in choices if word == value), None)
    if value is not None and found is None:
        raise _refusal(name, f"it is one of {', '.join(choices)}")
    return found


def text(name: str) -> str | None:
    """A parameter of the query string; ``None`` where it is absent or empty.

    :raises InvalidInputError: too long, or with a character that nothing can hold.
    """
    value = request.args.get(name)
    if not value:
        return None
    if len(value) > MAX_PARAMETER_CHARACTERS:
        raise _refusal(name, f"it is longer than {MAX_PARAMETER_CHARACTERS} characters")
    if _UNSTORABLE.search(value):
        raise _refusal(name, "it holds a character that cannot be stored")
    return value


def _refusal(name: str, message: str) -> InvalidInputError:
    return InvalidInputError(
        f'The parameter "{name}" is not valid: {message}.', [{"field": name, "message": message}]
    )


def _unstorable(value: Any) -> Iterator[tuple[str, str]]:
    """Fields, by their path, whose content no database or no JSON can hold; the body's depth is bounded."""
    stack: list[tuple[str, Any]] = [("", value)]
    while stack:
        path, content = stack.pop()
        if isinstance(content, dict):
            for key, item in content.items():
                inner = f"{path}.{key}" if path else str(key)
                if _UNSTORABLE.search(key):
                    yield _UNSTORABLE.sub("?", inner), "its name holds a character that cannot be stored"
                stack.append((inner, item))
        elif isinstance(content, list):
            stack.extend((f"{path}.{index}", item) for index, item in enumerate(content))
        elif isinstance(content, str) and _UNSTORABLE.search(content):
            yield path, "it holds a character that cannot be stored"
        elif isinstance(content, (int, float)) and not -(2**63) <= content < 2**63:
            yield path, "it is a number beyond 64 bits"
