"""Reading JSON that strangers send: bounded, in time, and clean enough to store.

What PostgreSQL or Python would choke on later (NUL, lone surrogates, NaN, numbers beyond 64 bits, nesting
beyond sense) is refused or cut here, at the edge (hazard 28).
"""

from __future__ import annotations

import json
from functools import cache
from typing import Annotated, Any, TypeVar

from flask import Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from app.errors import Detail, InvalidInputError, TooLargeError

Model = TypeVar("Model", bound=BaseModel)

MAX_DEPTH = 64


class Wire(BaseModel):
    """A JSON object in camelCase; fields that are not known are ignored."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", strict=True)


def clean(text: str) -> str:
    """*text* without NUL characters, and with a replacement character for each lone surrogate."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def _cut(length: int) -> BeforeValidator:
    def cut(value: Any) -> Any:
        return clean(value[: length * 2])[:length] if isinstance(value, str) else value

    return BeforeValidator(cut)


StatusText = Annotated[str, _cut(40)]
RevisionText = Annotated[str, _cut(64)]
ShortText = Annotated[str, _cut(100)]
HostName = Annotated[str, _cut(253)]
LongText = Annotated[str, _cut(4000)]
LogLine = Annotated[str, _cut(2000)]


def read_json(request: Request, limit: int) -> Any:
    """The JSON value in the body, ``{}`` for no body.

    :raises TooLargeError: more than *limit* bytes.
    :raises InvalidInputError: not UTF-8, not JSON, nested too deep, or NaN and its like.
    """
    data = read_bytes(request, limit)
    if not data.strip():
        return {}
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        raise InvalidInputError("The body is not valid UTF-8.") from None
    except RecursionError:
        raise InvalidInputError("The body is nested too deeply.") from None
    except ValueError as error:
        raise InvalidInputError(f"The body is not valid JSON: {str(error)[:200]}.") from None
    if _depth_exceeds(value, MAX_DEPTH):
        raise InvalidInputError("The body is nested too deeply.")
    return value


def read_bytes(request: Request, limit: int) -> bytes:
    """The whole body.

    :raises TooLargeError: more than *limit* bytes.
    """
    if request.content_length is not None and request.content_length > limit:
        raise TooLargeError(f"The body is larger than {limit} bytes.")
    data = request.stream.read(limit + 1)
    if len(data) > limit:
        raise TooLargeError(f"The body is larger than {limit} bytes.")
    return data


def drain(request: Request, limit: int) -> None:
    """Read and forget what is left of the body, so that its sender gets to reading the answer.

    :raises TooLargeError: more than *limit* bytes.
    """
    # Not request.stream, which refuses to be read where the body is longer than it may be.
    stream, left = request.environ["wsgi.input"], request.content_length
    if left is None:
        left = limit
    too_large = TooLargeError(f"The body is larger than {limit} bytes.")
    if left > limit:
        raise too_large
    while left > 0 and (data := stream.read(min(left, 64 * 1024))):
        left -= len(data)
    if left == 0 and request.content_length is None:
        raise too_large


def read_model(request: Request, model: type[Model], limit: int) -> Model:
    """The body as *model*.

    :raises InvalidInputError: it is not an object of that shape; ``details`` name the fields.
    """
    value = read_json(request, limit)
    if not isinstance(value, dict):
        raise InvalidInputError("The body must be a JSON object.")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise InvalidInputError(*explain(error)) from None


def read_list(request: Request, of: Any, limit: int) -> Any:
    """The body as the list type *of*, which is told in annotations.

    :raises InvalidInputError: it is not a list of that shape; ``details`` name the fields.
    """
    value = read_json(request, limit)
    if not isinstance(value, list):
        raise InvalidInputError("The body must be a JSON list.")
    try:
        return _adapter(of).validate_python(value)
    except ValidationError as error:
        raise InvalidInputError(*explain(error)) from None


@cache
def _adapter(of: Any) -> TypeAdapter[Any]:
    return TypeAdapter(of)


def explain(error: ValidationError) -> tuple[str, list[Detail]]:
    """One sentence and the details for what pydantic found wrong, at most twenty of them."""
    details = [
        {"field": ".".join(str(part) for part in problem["loc"]) or "body", "message": _message(problem)}
        for problem in error.errors(include_url=False, include_input=False)[:20]
    ]
    return f'The field "{details[0]["field"]}" is not valid: {details[0]["message"]}.', details


def _message(problem: Any) -> str:
    message: str = problem["msg"]
    return message.removeprefix("Value error, ").rstrip(".")


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _depth_exceeds(value: Any, most: int) -> bool:
    level = [value]
    for _ in range(most):
        level = [
            child
            for item in level
            if isinstance(item, (dict, list))
            for child in (item.values() if isinstance(item, dict) else item)
            if isinstance(child, (dict, list))
        ]
        if not level:
            return False
    return True
