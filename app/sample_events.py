"""Sampled events as they are kept: clean, without secrets, and bounded. Pure."""

from __future__ import annotations

import json
import math
from typing import Any

from app.event_schema import MAX_EXAMPLE_CHARACTERS, MAX_FIELDS, MAX_PATH_CHARACTERS
from app.json_body import clean
from app.masking import Mask

MAX_TEXT_CHARACTERS = 8000
MAX_KEY_CHARACTERS = 200
MAX_EVENT_BYTES = 64 * 1024
"""Of one event's JSON, once its texts are cut."""
MAX_BYTES = 512 * 1024
"""Of all events of one component."""
MAX_BYTES_READ = 4 * 1024 * 1024
"""Of one component: what comes behind is not even looked at."""
NONE_FITS = f"No event could be kept: each is larger than {MAX_EVENT_BYTES // 1024} KiB."


def bounded(events: list[Any], limit: int, mask: Mask) -> list[Any]:
    """The first *limit* of *events* that can be kept: over-long texts are cut, over-large events left out."""
    kept: list[Any] = []
    size_read = size = 0
    for event in events:
        size_read += _size(event)
        if len(kept) >= limit or size_read > MAX_BYTES_READ:
            break
        # Masked before it is cut, lest half a secret stays.
        tidy = _cut(mask.json(_clean(event)))
        own = _size(tidy)
        if own <= MAX_EVENT_BYTES and size + own <= MAX_BYTES:
            kept.append(tidy)
            size += own
    return kept


def bounded_schema(fields: Any, mask: Mask) -> list[dict[str, str]]:
    """The schema that a node has sent, as far as it can be read; empty where there is nothing of one."""
    kept = []
    for field in fields[:MAX_FIELDS] if isinstance(fields, list) else ():
        if not isinstance(field, dict):
            continue
        path, type_, sample = (field.get(name) for name in ("path", "type", "sample"))
        if isinstance(path, str) and isinstance(type_, str):
            example = sample if isinstance(sample, str) else json.dumps(sample, ensure_ascii=False)
            kept.append(
                {
                    "path": mask.text(clean(path))[:MAX_PATH_CHARACTERS],
                    "type": clean(type_)[:100],
                    "sample": mask.text(clean(example if sample is not None else ""))[
                        :MAX_EXAMPLE_CHARACTERS
                    ],
                }
            )
    return kept


def _size(value: Any) -> int:
    # Escaped, so that a lone surrogate is no error; more bytes than are stored, never fewer.
    return len(json.dumps(value))


def _clean(value: Any) -> Any:
    """What no database chokes on (hazard 28): no NUL, no half surrogate, no number that is none."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(key): _clean(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_clean(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _cut(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= MAX_TEXT_CHARACTERS else value[: MAX_TEXT_CHARACTERS - 1] + "…"
    if isinstance(value, dict):
        return {key[:MAX_KEY_CHARACTERS]: _cut(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_cut(each) for each in value]
    return value
