"""The sinks: file, console, blackhole, prometheus_exporter."""

import os
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, ClassVar

from . import log
from .component import LOG, METRIC, Sink
from .events import Event, Metric, as_json, as_text, fields_of
from .fields import Field, Fields
from .listener import Answer, Listener, parse_address
from .metrics import prometheus_text

ENCODING = Field("mapping", required=True, inner={"codec": Field("string", True, choices=("json", "text"))})


def encoder(codec: str) -> Callable[[Event], bytes]:
    """One event as one line."""
    if codec == "json":
        return lambda event: as_json(fields_of(event)).encode("utf-8", "replace") + b"\n"
    return lambda event: as_text(event).encode("utf-8", "replace") + b"\n"


def write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


class FileSink(Sink):
    """Appends a line per event to the file that its path template names for the event.

    The template knows strftime's codes, for the time of the event, and `{{ field }}`.
    """

    type = "file"
    fields: ClassVar[Fields] = {
        "path": Field("string", required=True),
        "encoding": ENCODING,
        "idle_timeout_secs": Field("number", default=30),
        "compression": Field("string", default="none", choices=("none",)),
    }
    takes = LOG | METRIC

    _FIELD = re.compile(r"\{\{\s*\.?([\w.@-]+)\s*\}\}")

    def start(self) -> None:
        self._encode = encoder(self.options["encoding"]["codec"])
        # path -> (descriptor, last written at)
        self._open: dict[str, tuple[int, float]] = {}
        self._is_template = "%" in self.options["path"] or "{{" in self.options["path"]
        self._closed = False
        self.place.loop.call_later(self.options["idle_timeout_secs"], self._close_idle)

    def write(self, events: list[Event]) -> None:
        lines: dict[str, list[bytes]] = {}
        for event in events:
            path = self._path_of(event)
            if path is not None:
                lines.setdefault(path, []).append(self._encode(event))
        for path, batch in lines.items():
            data = b"".join(batch)
            try:
                write_all(self._descriptor_of(path), data)
            except OSError as error:
                self.lost(len(batch), "Failed to write to file.", error)
                continue
            self._open[path] = (self._open[path][0], time.monotonic())
            self.sent(len(batch), len(data))

    def close(self) -> None:
        self._closed = True
        for descriptor, _ in self._open.values():
            os.close(descriptor)
        self._open.clear()

    def _path_of(self, event: Event) -> str | None:
        path: str = self.options["path"]
        if not self._is_template:
            return path
        fields = fields_of(event)
        try:
            when = datetime.fromisoformat(str(fields.get("timestamp")))
        except ValueError:
            when = datetime.now(UTC)
        # strftime first: a field's value is not a template.
        path = when.astimezone(UTC).strftime(path)
        missing = [name for name in self._FIELD.findall(path) if name not in fields]
        if missing:
            self.counters.discarded[False] += 1
            self.report_error(
                "Failed to render template for path.",
                "template_failed",
                "processing",
                missing=log.quote(missing),
            )
            return None
        return self._FIELD.sub(lambda found: str(fields[found[1]]), path)

    def _descriptor_of(self, path: str) -> int:
        if path not in self._open:
            os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            self._open[path] = (descriptor, time.monotonic())
        return self._open[path][0]

    def _close_idle(self) -> None:
        if self._closed:
            return
        timeout = self.options["idle_timeout_secs"]
        for path, (descriptor, written_at) in list(self._open.items()):
            if time.monotonic() - written_at >= timeout:
                os.close(descriptor)
                del self._open[path]
        self.place.loop.call_later(max(1.0, timeout), self._close_idle)


class Console(Sink):
    type = "console"
    fields: ClassVar[Fields] = {
        "encoding": ENCODING,
        "target": Field("string", default="stdout", choices=("stdout", "stderr")),
    }
    takes = LOG | METRIC

    def start(self) -> None:
        self._encode = encoder(self.options["encoding"]["codec"])
        self._descriptor = 1 if self.options["target"] == "stdout" else 2

    def write(self, events: list[Event]) -> None:
        data = b"".join(self._encode(event) for event in events)
        try:
            write_all(self._descriptor, data)
        except OSError as error:
            self.lost(len(events), "Error writing to output.", error)
            return
        self.sent(len(events), len(data))


class Blackhole(Sink):
    """Counts, and says how much every `print_interval_secs` seconds (0: never)."""

    type = "blackhole"
    fields: ClassVar[Fields] = {"print_interval_secs": Field("integer", default=0), "rate": Field("any")}
    takes = LOG | METRIC

    def start(self) -> None:
        self._closed = False
        if self.options["print_interval_secs"]:
            self.place.loop.call_later(self.options["print_interval_secs"], self._report)

    def write(self, events: list[Event]) -> None:
        self.sent(len(events), sum(len(as_json(fields_of(event))) for event in events))

    def close(self) -> None:
        self._closed = True

    def _report(self) -> None:
        if not self._closed:
            log.info(
                "vector::sinks::blackhole::sink",
                "Collected events.",
                self.span,
                events=self.counters.sent_events,
                raw_bytes_collected=self.counters.sent_bytes,
            )
            self.place.loop.call_later(self.options["print_interval_secs"], self._report)


class PrometheusExporter(Sink):
    """Shows the latest reading of each metric at `/metrics`, for `flush_period_secs` after it came."""

    type = "prometheus_exporter"
    fields: ClassVar[Fields] = {
        "address": Field("string", default="0.0.0.0:9598"),
        "default_namespace": Field("string", default=""),
        "flush_period_secs": Field("number", default=60),
        "suppress_timestamp": Field("boolean", default=False),
    }
    takes = METRIC

    @classmethod
    def problems(cls, options: dict[str, Any]) -> tuple[list[str], list[str]]:
        try:
            parse_address(options["address"])
        except ValueError as error:
            return [str(error)], []
        return [], []

    @classmethod
    def addresses(cls, options: dict[str, Any]) -> list[str]:
        return [options["address"]]

    def start(self) -> None:
        self._latest: dict[tuple[str, str, tuple[tuple[str, str], ...]], Metric] = {}
        sink = self

        class MetricsAnswer(Answer):
            def do_GET(self) -> None:
                if self.path.partition("?")[0] == "/metrics":
                    self.answer(200, "text/plain; version=0.0.4", sink.text())
                else:
                    self.answer(404, "text/plain", "")

        self._listener = Listener(self.options["address"], MetricsAnswer)
        self._listener.start()
        log.info(
            "vector::sinks::prometheus::exporter",
            "Building HTTP server.",
            self.span,
            address=self._listener.address,
        )

    def write(self, events: list[Event]) -> None:
        latest = dict(self._latest)
        for event in events:
            assert isinstance(event, Metric)
            latest[event.namespace, event.name, event.tags] = event
        oldest = time.time() - self.options["flush_period_secs"]
        # Replaced, not changed: the listener's threads may be reading it.
        self._latest = {key: metric for key, metric in latest.items() if metric.at >= oldest}
        self.sent(len(events), 0)

    def text(self) -> str:
        text = prometheus_text(self._latest.values(), self.options["default_namespace"])
        if self.options["suppress_timestamp"]:
            text = re.sub(r" \d+$", "", text, flags=re.MULTILINE)
        return text
