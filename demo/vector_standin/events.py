"""What flows through a pipeline: log events and metrics.

A log event is a plain dict. It may reach several components at once, so nobody changes one in place: `remap`
works on a copy. A metric is a small frozen value.
"""

import json
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

HOST = socket.gethostname()

LogEvent = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Metric:
    """One absolute reading.

    kind: "counter" or "gauge". at: seconds since the epoch.
    """

    namespace: str
    name: str
    kind: str
    value: float
    tags: tuple[tuple[str, str], ...]
    at: float

    def as_fields(self) -> LogEvent:
        """The shape that Vector's JSON encoding gives a metric."""
        return {
            "name": self.name,
            "namespace": self.namespace,
            "tags": dict(self.tags),
            "timestamp": rfc3339(self.at),
            "kind": "absolute",
            self.kind: {"value": self.value},
        }


Event = LogEvent | Metric


def rfc3339(at: float) -> str:
    """Seconds since the epoch as `2026-01-02T03:04:05.678901Z`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def fields_of(event: Event) -> LogEvent:
    return event.as_fields() if isinstance(event, Metric) else event


def as_json(value: object) -> str:
    """Compact, keys sorted, as Vector encodes events."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def as_text(event: Event) -> str:
    """The `text` codec: the message alone; a metric in a short readable form."""
    if isinstance(event, Metric):
        tags = ",".join(f'{name}="{value}"' for name, value in event.tags)
        return f"{rfc3339(event.at)} {event.namespace}_{event.name}{{{tags}}} = {event.value:g}"
    message = event.get("message", "")
    return message if isinstance(message, str) else as_json(message)
