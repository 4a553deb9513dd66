"""What a Vector counts, read from its Prometheus text. Pure, bounded, and no more than we need."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

from agent.vector import COMPONENT_PREFIX

MOST_BYTES = 8 * 1024 * 1024
MOST_COMPONENTS = 500
SAMPLE = re.compile(r"(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>.*)\})?\s+(?P<value>\S+)(?:\s+-?\d+)?\s*")
LABEL = re.compile(r'(?P<name>[a-zA-Z_]\w*)="(?P<value>(?:[^"\\]|\\.)*)"\s*,?\s*')
ESCAPE = re.compile(r"\\(.)")
PREFIXES = ("vector_component_", "component_")
COUNTERS = {
    "received_events": "received_events",
    "sent_events": "sent_events",
    "received_bytes": "received_bytes",
    "sent_bytes": "sent_bytes",
    "errors": "errors",
    "discarded_events": "discarded_events",
}
LARGEST_COUNTER = 2**63 - 1


@dataclass(slots=True)
class Component:
    """The counters of one component since its Vector started."""

    component_id: str
    kind: str
    received_events: int = 0
    sent_events: int = 0
    received_bytes: int = 0
    sent_bytes: int = 0
    errors: int = 0
    discarded_events: int = 0
    utilization: float | None = None


@dataclass(slots=True)
class Counters:
    """What one Vector counts, by component, our own left out."""

    components: dict[str, Component] = field(default_factory=dict)

    @property
    def events_in(self) -> int:
        """Events that the sources have received."""
        return sum(c.received_events for c in self.components.values() if c.kind == "source")

    @property
    def events_out(self) -> int:
        """Events that the sinks have sent."""
        return sum(c.sent_events for c in self.components.values() if c.kind == "sink")

    @property
    def bytes_in(self) -> int:
        """Bytes that the sources have received."""
        return sum(c.received_bytes for c in self.components.values() if c.kind == "source")

    @property
    def bytes_out(self) -> int:
        """Bytes that the sinks have sent."""
        return sum(c.sent_bytes for c in self.components.values() if c.kind == "sink")

    @property
    def errors(self) -> int:
        """Errors of all components."""
        return sum(c.errors for c in self.components.values())

    @property
    def discarded_events(self) -> int:
        """Events that components have dropped, meant or not."""
        return sum(c.discarded_events for c in self.components.values())

    @property
    def utilization(self) -> float | None:
        """Of the busiest component, 0 to 1; ``None`` where nothing tells."""
        return max(
            (c.utilization for c in self.components.values() if c.utilization is not None), default=None
        )


def parse_metrics(text: str) -> Counters:
    """The counters in ``text``, the Prometheus exposition format as Vector's ``prometheus_exporter`` prints it.

    Names may lack the prefix ``vector_`` or the ending ``_total``; several series of one component are added
    up; lines that are not understood are passed over.
    """
    counters = Counters()
    for line in text[:MOST_BYTES].splitlines():
        if not line or line.startswith("#"):
            continue
        sample = SAMPLE.fullmatch(line)
        if sample is None:
            continue
        name = _short_name(sample["name"])
        if name is None:
            continue
        labels = _labels(sample["labels"] or "")
        value = _number(sample["value"])
        component_id = labels.get("component_id")
        if component_id is None or component_id.startswith(COMPONENT_PREFIX) or value is None:
            continue
        component = counters.components.get(component_id)
        if component is None:
            if len(counters.components) >= MOST_COMPONENTS:
                continue
            component = Component(component_id, labels.get("component_kind", ""))
            counters.components[component_id] = component
        if name == "utilization":
            component.utilization = max(value, component.utilization or 0.0)
        else:
            total = getattr(component, name) + int(value)
            setattr(component, name, min(total, LARGEST_COUNTER))
    return counters


def _short_name(name: str) -> str | None:
    if name in ("vector_utilization", "utilization"):
        return "utilization"
    for prefix in PREFIXES:
        if name.startswith(prefix):
            return COUNTERS.get(name.removeprefix(prefix).removesuffix("_total"))
    return None


def _labels(text: str) -> dict[str, str]:
    return {
        match["name"]: ESCAPE.sub(lambda m: "\n" if m[1] == "n" else m[1], match["value"])
        for match in LABEL.finditer(text)
    }


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None
