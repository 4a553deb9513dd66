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
from app.operator_api import contract
from app.paging import DEFAULT_LIMIT, MAX_LIMIT

__all__ = ["DEFAULT_LIMIT", "MAX_LIMIT", "body", "query"]

Model = TypeVar("Model", bound=BaseModel)

MAX_PARAMETER_CHARACTERS = 4096

_UNSTORABLE = re.compile(r"[\0\ud800-\udfff]")


def body(model: type[Model], most_bytes: int = MAX_BODY_BYTES) -> Model:
    """The request's body as *model*; no body counts as ``{}``.

    :raises TooLargeError: more than *most_bytes*, by default 1 MiB.
    :raises InvalidInputError: not JSON, not an object, or not of that shape; ``details`` name the fields.
    """
    assert contract.current().body is model, f"{request.endpoint} declares another body than {model}"
    value = read_json(request, most_bytes)
    if not isinstance(value, dict):
        raise InvalidInputError("The body must be a JSON object.")
    # What is not known is not looked at: it is ignored, whatever it holds.
    known = {field.alias for field in model.model_fields.values()}
    value = {name: content for name, content in value.items() if name in known}
    # To JSON 3.0 is the whole number 3.
    value = {
        name: int(content) if isinstance(content, float) and content.is_integer() else content
        for name, content in value.items()
    }
    for field, problem in _unstorable(value):
        raise InvalidInputError(
            f'The field "{field}" is not valid: {problem}.', [{"field": field, "message": problem}]
        )
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise InvalidInputError(*explain(error)) from None


def query(model: type[Model]) -> Model:
    """The request's query string as *model*; an empty parameter counts as absent.

    :raises InvalidInputError: twice the same, or not of that shape; ``details`` name the parameters.
    """
    assert contract.current().query is model, f"{request.endpoint} declares another query than {model}"
    given: dict[str, str] = {}
    for name in (field.alias or name for name, field in model.model_fields.items()):
        values = request.args.getlist(name)
        if len(values) > 1:
            raise _refusal(name, "it is given more than once")
        if values and values[0]:
            given[name] = _checked(name, values[0])
    try:
        return model.model_validate(given)
    except ValidationError as error:
        sentence, details = explain(error)
        raise InvalidInputError(sentence.replace("The field", "The parameter", 1), details) from None


def _checked(name: str, value: str) -> str:
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
