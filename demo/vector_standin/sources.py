"""The sources other than `file`: stdin, demo_logs, internal_metrics, host_metrics."""

import json
import os
import random
import threading
import time
from datetime import UTC, datetime
from functools import partial
from typing import Any, ClassVar

from .component import LOG, METRIC, Source
from .events import HOST, Event, LogEvent, as_json, rfc3339
from .fields import Field, Fields
from .host import HostReader

DECODING = Field(
    "mapping", default={"codec": "bytes"}, inner={"codec": Field("string", True, choices=("bytes", "json"))}
)
READ_BYTES = 65536


class LineSource(Source):
    """A source whose input is lines of text, each an event or, with `decoding.codec: json`, an object."""

    gives = LOG

    def decode(self, lines: list[bytes], **more: str) -> list[Event]:
        """Events of the lines: the message or the decoded object, with where and when it came from."""
        as_object = self.options["decoding"]["codec"] == "json"
        origin = {"host": HOST, "source_type": self.type, "timestamp": rfc3339(time.time()), **more}
        events: list[Event] = []
        for line in lines:
            self.counters.received_bytes += len(line)
            text = line.decode("utf-8", "replace")
            if not as_object:
                events.append({"message": text, **origin})
                continue
            try:
                decoded = json.loads(text)
            except (ValueError, RecursionError) as error:
                self._undecodable(str(error))
                continue
            for item in decoded if isinstance(decoded, list) else [decoded]:
                if isinstance(item, dict):
                    events.append({**origin, **item})
                else:
                    self._undecodable("expected an object")
        return events

    def _undecodable(self, why: str) -> None:
        self.counters.discarded[False] += 1
        self.report_error("Failed deserializing frame.", "parser_failed", "processing", error=f'"{why}"')


class Stdin(LineSource):
    type = "stdin"
    fields: ClassVar[Fields] = {"decoding": DECODING}

    def start(self) -> None:
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        """The reading thread: one batch at a time, so that a fast writer waits for a slow sink."""
        rest = b""
        while True:
            # os.read, not sys.stdin: a thread that holds its lock at exit is a fatal error.
            data = os.read(0, READ_BYTES)
            *lines, rest = (rest + data).split(b"\n")
            if not data and rest:
                lines = [rest]
            if lines:
                taken = threading.Event()
                self.place.loop.post(partial(self._take, lines, taken))
                taken.wait()
            if not data:
                self.place.loop.post(self.place.finished)
                return

    def _take(self, lines: list[bytes], taken: threading.Event) -> None:
        self.emit(self.decode([line.removesuffix(b"\r") for line in lines if line]))
        taken.set()


class DemoLogs(Source):
    """Made-up log lines at an interval; 0 means as fast as they can be taken."""

    type = "demo_logs"
    gives = LOG
    fields: ClassVar[Fields] = {
        "format": Field("string", required=True, choices=("json", "apache_common", "shuffle")),
        "interval": Field("number", default=1.0),
        "count": Field("integer"),
        "lines": Field("strings"),
        "sequence": Field("boolean", default=False),
        "decoding": DECODING,
    }
    BURST = 500

    @classmethod
    def problems(cls, options: dict[str, Any]) -> tuple[list[str], list[str]]:
        if options["format"] == "shuffle" and not options["lines"]:
            return ["missing field `lines`: the format `shuffle` needs some"], []
        return [], []

    def start(self) -> None:
        self._random = random.Random()
        self._made = 0
        self._stopped = False
        self._due = time.monotonic()
        self.place.loop.call_later(0, self._tick)

    def stop(self) -> None:
        self._stopped = True

    def _tick(self) -> None:
        if self._stopped:
            return
        # As many as are due by now: with a short interval the clock ticks more often than this is called.
        interval = self.options["interval"]
        due = self.BURST
        if interval:
            due = min(self.BURST, int((time.monotonic() - self._due) / interval) + 1)
        if self.options["count"] is not None:
            due = min(due, self.options["count"] - self._made)
        self.emit([self._make() for _ in range(due)])
        self._due += due * interval
        if self.options["count"] is not None and self._made >= self.options["count"]:
            self.place.finished()
            return
        self.place.loop.call_later(max(0.0, self._due - time.monotonic()) if interval else 0.0, self._tick)

    def _make(self) -> LogEvent:
        line = getattr(self, f"_{self.options['format']}")()
        if self.options["sequence"] and self.options["format"] == "shuffle":
            line = f"{self._made} {line}"
        self._made += 1
        self.counters.received_bytes += len(line.encode())
        origin = {
            "host": HOST,
            "service": "vector",
            "source_type": self.type,
            "timestamp": rfc3339(time.time()),
        }
        if self.options["decoding"]["codec"] == "json" and self.options["format"] == "json":
            return {**origin, **json.loads(line)}
        return {"message": line, **origin}

    def _request(self) -> dict[str, Any]:
        pick = self._random.choice
        return {
            "host": ".".join(str(self._random.randrange(1, 255)) for _ in range(4)),
            "user-identifier": pick(("ada", "blaise", "charles", "grace", "konrad", "-")),
            "datetime": datetime.now(UTC).strftime("%d/%b/%Y:%H:%M:%S"),
            "method": pick(("GET", "GET", "GET", "POST", "PUT", "DELETE")),
            "request": pick(("/", "/cart", "/orders", "/orders/7", "/login", "/search?q=signal", "/healthz")),
            "protocol": pick(("HTTP/1.1", "HTTP/2.0")),
            "status": pick(("200", "200", "200", "201", "304", "404", "500", "503")),
            "bytes": self._random.randrange(80, 50000),
            "referer": pick(("https://shop.example/", "https://news.example/today")),
        }

    def _json(self) -> str:
        return as_json(self._request())

    def _apache_common(self) -> str:
        made = self._request()
        return (
            f"{made['host']} - {made['user-identifier']} [{made['datetime']} +0000] "
            f'"{made["method"]} {made["request"]} {made["protocol"]}" {made["status"]} {made["bytes"]}'
        )

    def _shuffle(self) -> str:
        return str(self._random.choice(self.options["lines"]))


class MetricSource(Source):
    """A source that reads metrics every `scrape_interval_secs` seconds."""

    gives = METRIC

    def start(self) -> None:
        self._stopped = False
        self.place.loop.call_later(0, self._tick)

    def stop(self) -> None:
        self._stopped = True

    def _tick(self) -> None:
        if not self._stopped:
            self.emit(self.read())
            self.place.loop.call_later(max(0.1, self.options["scrape_interval_secs"]), self._tick)

    def read(self) -> list[Event]:
        raise NotImplementedError


class InternalMetrics(MetricSource):
    type = "internal_metrics"
    fields: ClassVar[Fields] = {
        "scrape_interval_secs": Field("number", default=1.0),
        "namespace": Field("string", default="vector"),
        "tags": Field("any"),
    }

    def read(self) -> list[Event]:
        return list(self.place.registry.read(self.options["namespace"]))


class HostMetrics(MetricSource):
    type = "host_metrics"
    fields: ClassVar[Fields] = {
        "scrape_interval_secs": Field("number", default=15.0),
        "namespace": Field("string", default="host"),
        "collectors": Field("strings", default=list(HostReader.COLLECTORS)),
    }

    @classmethod
    def problems(cls, options: dict[str, Any]) -> tuple[list[str], list[str]]:
        unknown = [name for name in options["collectors"] if name not in HostReader.COLLECTORS]
        return [f"unknown variant `{name}` in collectors" for name in unknown], []

    def read(self) -> list[Event]:
        return list(HostReader(self.options["namespace"]).read(self.options["collectors"]))
