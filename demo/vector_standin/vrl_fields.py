"""Fields of an event by their VRL path: `.user."first name"[0]`."""

import copy
import re
from typing import Any

from .events import LogEvent
from .vrl_functions import RuntimeFault, kind_of

Segments = tuple[str | int, ...]

# One step of a path, as a regular expression: a plain or a quoted name.
NAME = r'(?:[A-Za-z_@][\w@]*|"(?:[^"\\]|\\.)*")'
_STEP = re.compile(r'(?P<quoted>"(?:[^"\\]|\\.)*")|\[(?P<index>-?\d+)\]|(?P<plain>[A-Za-z_@][\w@]*)')
MISSING = object()

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0"}


def unescape(text: str) -> str:
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), text, flags=re.DOTALL)


def segments_of(path: str) -> Segments:
    """`.a."b.c"[0]` -> ("a", "b.c", 0)."""
    segments: list[str | int] = []
    for found in _STEP.finditer(path):
        if found["index"]:
            segments.append(int(found["index"]))
        else:
            segments.append(found["plain"] or unescape(found["quoted"][1:-1]))
    return tuple(segments)


def read(value: Any, segments: Segments, missing: Any = None) -> Any:
    for segment in segments:
        if isinstance(segment, str) and isinstance(value, dict):
            value = value.get(segment, MISSING)
        elif isinstance(segment, int) and isinstance(value, list) and -len(value) <= segment < len(value):
            value = value[segment]
        else:
            return missing
    return missing if value is MISSING else value


def write(event: LogEvent, segments: Segments, value: Any) -> None:
    if not segments:
        if not isinstance(value, dict):
            raise RuntimeFault(f"can't assign {kind_of(value)} to the event itself")
        replacement = copy.deepcopy(value)
        event.clear()
        event.update(replacement)
        return
    holder: Any = event
    for segment in segments[:-1]:
        inner = read(holder, (segment,))
        if not isinstance(inner, dict | list):
            inner = {}
            _put(holder, segment, inner)
        holder = inner
    _put(holder, segments[-1], copy.deepcopy(value))


def _put(holder: Any, segment: str | int, value: Any) -> None:
    a_field = isinstance(segment, str) and isinstance(holder, dict)
    an_item = isinstance(segment, int) and isinstance(holder, list) and -len(holder) <= segment < len(holder)
    if not a_field and not an_item:
        raise RuntimeFault(f"can't assign to {segment!r} of {kind_of(holder)}")
    holder[segment] = value


def delete(event: LogEvent, segments: Segments) -> Any:
    """Remove a field and return its value; null if it was not there."""
    value = read(event, segments, MISSING)
    if value is MISSING or not segments:
        return None
    holder: Any = read(event, segments[:-1])
    del holder[segments[-1]]
    return value
