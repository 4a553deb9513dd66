"""JSON as a Go program reads it into a struct: one field of the wrong kind spoils the whole answer."""

import json
from typing import Any

ANY = object()
"""Whatever comes."""

Shape = Any
"""A type, a list with the shape of its items, a dictionary of fields, or ``{...: shape}`` for a map."""

CERT_FILE = {"name": str, "filename": str, "data": str}
PIPELINE = {
    "pipelineId": str,
    "pipelineName": str,
    "version": int,
    "configYaml": str,
    "checksum": str,
    "logLevel": str,
    "secrets": {...: str},
    "certFiles": [CERT_FILE],
}
SAMPLE_REQUEST = {"requestId": str, "pipelineId": str, "componentKeys": [str], "limit": int}
PENDING_ACTION = {"type": str, "targetVersion": str, "downloadUrl": str, "checksum": str}
CONFIG = {
    "pipelines": [PIPELINE],
    "pollIntervalMs": int,
    "secretBackend": str,
    "secretBackendConfig": {...: ANY},
    "sampleRequests": [SAMPLE_REQUEST],
    "pendingAction": PENDING_ACTION,
    "websocketUrl": str,
    "pushUrl": str,
}
ENROLLED = {"nodeId": str, "nodeToken": str, "environmentId": str, "environmentName": str}
PUSHED = {
    "type": str,
    "pipelineId": str,
    "componentId": str,
    "reason": str,
    "requestId": str,
    "componentKeys": [str],
    "limit": int,
    "action": str,
    "targetVersion": str,
    "downloadUrl": str,
    "checksum": str,
    "intervalMs": int,
}


class UnreadableError(Exception):
    """An agent written in Go refuses the whole text for this."""


def read(data: bytes, shape: Shape) -> Any:
    """The value in *data*, of *shape*; unknown fields stay, and ``null`` fits everywhere.

    A number that is written with a point or an exponent is no integer, whatever its value: ``15000.0``.
    """
    try:
        value = json.loads(data.decode())
    except ValueError as error:
        raise UnreadableError(f"not JSON: {error}") from None
    _check(value, shape, "the answer")
    return value


def points(data: bytes, where: str) -> list[str]:
    """Every number in *data*, at any depth, that is not written as an integer; ``[]`` where it is no JSON."""
    found: list[str] = []

    def note(text: str) -> float:
        found.append(f"{where}: {text} in {data[:300].decode(errors='replace')}")
        return float(text)

    try:
        json.loads(data, parse_float=note, parse_constant=note)
    except ValueError:
        return []
    return found


def _check(value: Any, shape: Shape, where: str) -> None:
    if value is None or shape is ANY:
        return
    if isinstance(shape, list):
        _expect(isinstance(value, list), value, where)
        for index, item in enumerate(value):
            _check(item, shape[0], f"{where}[{index}]")
    elif isinstance(shape, dict):
        _expect(isinstance(value, dict), value, where)
        for name, item in value.items():
            _check(item, shape.get(name, shape.get(..., ANY)), f"{where}.{name}")
    elif shape is int:
        _expect(type(value) is int and -(2**63) <= value < 2**63, value, where)
    else:
        _expect(isinstance(value, shape), value, where)


def _expect(fits: bool, value: Any, where: str) -> None:
    if not fits:
        raise UnreadableError(f"{where} cannot be read from {json.dumps(value)[:100]}")
