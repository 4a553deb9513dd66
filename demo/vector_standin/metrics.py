"""What the pipeline knows about itself, and the Prometheus text of any metrics."""

import platform
import time
from collections.abc import Iterable

from . import VERSION
from .component import Component
from .events import HOST, Metric

Tags = dict[str, str]

# Utilization is a mean over at least this long.
UTILIZATION_SECONDS = 1.0


class Registry:
    """All components of a running pipeline, read by `internal_metrics`."""

    def __init__(self) -> None:
        self.components: list[Component] = []
        self._started = time.monotonic()
        self._busy_before: dict[str, float] = {}
        self._utilization: dict[str, float] = {}
        self._utilization_at = time.monotonic()

    def read(self, namespace: str) -> list[Metric]:
        """Every metric as it is now, under the names that Vector uses."""
        now = time.time()
        metrics: list[Metric] = []

        def add(name: str, kind: str, value: float, tags: Tags) -> None:
            sorted_tags = tuple(sorted({"host": HOST, **tags}.items()))
            metrics.append(Metric(namespace, name, kind, value, sorted_tags, now))

        add(
            "build_info", "gauge", 1, {"arch": platform.machine(), "revision": "stand-in", "version": VERSION}
        )
        add("started_total", "counter", 1, {})
        add("uptime_seconds", "gauge", round(time.monotonic() - self._started, 3), {})
        self._measure_utilization()
        for component in self.components:
            counters = component.counters
            tags = {
                "component_id": component.id,
                "component_kind": component.kind,
                "component_type": component.type,
            }
            add("component_received_events_total", "counter", counters.received_events, tags)
            if component.kind == "source":
                add("component_received_bytes_total", "counter", counters.received_bytes, tags)
            output = {} if component.kind == "sink" else {"output": "_default"}
            add("component_sent_events_total", "counter", counters.sent_events, {**tags, **output})
            if component.kind == "sink":
                add("component_sent_bytes_total", "counter", counters.sent_bytes, tags)
            for (error_type, stage), count in counters.errors.items():
                labels = {**tags, "error_type": error_type, "stage": stage}
                add("component_errors_total", "counter", count, labels)
            for intentional, count in counters.discarded.items():
                labels = {**tags, "intentional": str(intentional).lower()}
                add("component_discarded_events_total", "counter", count, labels)
            if component.kind != "source":
                add("utilization", "gauge", self._utilization.get(component.id, 0.0), tags)
        return metrics

    def _measure_utilization(self) -> None:
        """The share of time that each component was busy since the last measurement."""
        now = time.monotonic()
        elapsed = now - self._utilization_at
        if elapsed < UTILIZATION_SECONDS:
            return
        self._utilization_at = now
        for component in self.components:
            busy = component.counters.busy_seconds - self._busy_before.get(component.id, 0.0)
            self._busy_before[component.id] = component.counters.busy_seconds
            self._utilization[component.id] = round(min(1.0, busy / elapsed), 6)


def prometheus_text(metrics: Iterable[Metric], default_namespace: str = "") -> str:
    """Metrics in Prometheus' text format, as Vector's `prometheus_exporter` prints it.

    One HELP and TYPE per name, tags in order, each line ending in the reading's time in milliseconds.
    """
    by_name: dict[str, list[Metric]] = {}
    for metric in metrics:
        namespace = metric.namespace or default_namespace
        by_name.setdefault(f"{namespace}_{metric.name}" if namespace else metric.name, []).append(metric)
    lines: list[str] = []
    for full_name, series in sorted(by_name.items()):
        lines += [f"# HELP {full_name} {series[0].name}", f"# TYPE {full_name} {series[0].kind}"]
        for metric in series:
            tags = ",".join(f'{name}="{_escape(value)}"' for name, value in metric.tags)
            lines.append(f"{full_name}{{{tags}}} {_number(metric.value)} {int(metric.at * 1000)}")
    return "\n".join(lines) + "\n" if lines else ""


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))
