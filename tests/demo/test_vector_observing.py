"""Looking at a running stand-in: health, metrics, tap."""

import json
import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.demo.vector_process import EXECUTABLE, Running, append, command, file_to_file, messages_of
from tests.support.until import until

OVERLAY: dict[str, Any] = {
    "api": {"enabled": True, "address": "127.0.0.1:0"},
    "sources": {"own": {"type": "internal_metrics", "scrape_interval_secs": 0.1}},
    "sinks": {"shown": {"type": "prometheus_exporter", "inputs": ["own"], "address": "127.0.0.1:0"}},
}


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """A pipeline that keeps lines with `keep`, with its API and metrics open."""
    pipeline = file_to_file(tmp_path, 'contains(string!(.message), "keep")')
    pipeline["sources"] |= OVERLAY["sources"]
    pipeline["sinks"] |= OVERLAY["sinks"]
    (tmp_path / "in.log").touch()
    with Running(tmp_path, {"api": OVERLAY["api"], **pipeline}) as process:
        yield process


def test_health_answers_as_vectors(running: Running) -> None:
    """An agent that asks a real Vector may ask this one."""
    assert json.loads(running.get(f"{running.api_url}/health")) == {"ok": True}


def test_counters_say_what_was_done(tmp_path: Path, running: Running) -> None:
    """Read by the source, dropped on purpose by the filter, written by the sink; bytes as they were."""
    append(tmp_path / "in.log", "keep 1", "drop", "keep 2")
    until(lambda: running.metric("vector_component_sent_events_total", "out") == 2)

    wanted = {
        ("vector_component_received_events_total", "in"): 3,
        ("vector_component_received_bytes_total", "in"): len("keep 1dropkeep 2"),
        ("vector_component_sent_events_total", "in"): 3,
        ("vector_component_received_events_total", "keep"): 3,
        ("vector_component_sent_events_total", "keep"): 2,
        ("vector_component_discarded_events_total", "keep"): 1,
        ("vector_component_received_events_total", "out"): 2,
        ("vector_component_sent_bytes_total", "out"): (tmp_path / "out.log").stat().st_size,
    }
    assert {key: running.metric(*key) for key in wanted} == wanted


def test_errors_are_counted(tmp_path: Path) -> None:
    """A condition that fails on an event is an error of the filter, and the event is discarded."""
    pipeline = file_to_file(tmp_path, "int!(.message) > 3")
    pipeline["sources"] |= OVERLAY["sources"]
    pipeline["sinks"] |= OVERLAY["sinks"]
    append(tmp_path / "in.log", "no number")
    with Running(tmp_path, pipeline) as running:
        until(lambda: running.metric("vector_component_errors_total", "keep") == 1)
        assert running.metric("vector_component_discarded_events_total", "keep") == 1


def test_metrics_have_the_shape_of_vectors(running: Running) -> None:
    """HELP and TYPE once a name, sorted labels, the value, the time in milliseconds; the names that count."""
    text = until(lambda: running.metrics())
    lines = text.splitlines()
    samples = [line for line in lines if not line.startswith("#")]
    shape = re.compile(r'^vector_\w+\{(\w+="[^"]*"(,\w+="[^"]*")*)\} -?[\d.e+-]+ \d{13}$')

    assert all(shape.match(line) for line in samples)
    assert "# HELP vector_component_received_events_total component_received_events_total" in lines
    assert lines.count("# TYPE vector_component_received_events_total counter") == 1
    assert "# TYPE vector_utilization gauge" in lines
    assert {line.partition("{")[0] for line in samples} >= {
        "vector_build_info",
        "vector_started_total",
        "vector_uptime_seconds",
        "vector_utilization",
        "vector_component_received_bytes_total",
        "vector_component_sent_events_total",
        "vector_component_sent_bytes_total",
    }
    tags = 'component_id="in",component_kind="source",component_type="file",host="'
    assert any(line.startswith(f"vector_component_received_events_total{{{tags}") for line in samples)


def test_host_metrics_describe_the_machine(tmp_path: Path) -> None:
    """Memory, load, processors, file systems and network under Vector's names."""
    pipeline = {
        "sources": {"machine": {"type": "host_metrics"}},
        "sinks": {
            "shown": {"type": "prometheus_exporter", "inputs": ["machine"], "address": "127.0.0.1:0"},
        },
    }
    with Running(tmp_path, pipeline) as running:
        text = until(lambda: running.metrics())

    values = {line.partition("{")[0]: line.split()[-2] for line in text.splitlines() if "{" in line}
    assert int(values["host_memory_total_bytes"]) > int(values["host_memory_free_bytes"]) > 0
    assert {
        "host_load1",
        "host_cpu_seconds_total",
        "host_filesystem_total_bytes",
        "host_network_receive_bytes_total",
        "host_uptime",
    } <= set(values)


def test_tap_prints_events_as_they_pass(tmp_path: Path, running: Running) -> None:
    """Of the components named and of no other, at most `limit` an interval, for as long as was asked."""
    with growing(tmp_path / "in.log"):
        result = command(
            "tap", "--outputs-of", "keep,nothing*", "--url", f"{running.api_url}/graphql", "--format", "json",
            "--limit", 2, "--interval", 60_000, "--duration-ms", 1500,
        )  # fmt: skip

    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.returncode == 0
    assert len(events) == 2
    assert all(event["message"].startswith("keep") for event in events)
    assert "[tap] Pattern 'nothing*' failed to match any component" in result.stderr


def test_tap_can_say_where_an_event_came_from(tmp_path: Path, running: Running) -> None:
    """--meta adds the component; --inputs-of means the outputs of those before it."""
    with growing(tmp_path / "in.log"):
        result = command(
            "tap", "--inputs-of", "keep", "--url", running.api_url, "--meta", "--duration-ms", 1500
        )

    taken = [json.loads(line) for line in result.stdout.splitlines()]
    assert taken
    assert {(item["component_id"], item["component_kind"], item["component_type"]) for item in taken} == {
        ("in", "source", "file")
    }
    assert {item["event"]["message"].split()[0] for item in taken} == {"keep", "drop"}


def test_a_tap_that_reads_nothing_does_not_hold_up_the_pipeline(tmp_path: Path, running: Running) -> None:
    """Events flow on while an observer sleeps."""
    address = urlsplit(running.api_url)
    with socket.create_connection((address.hostname or "", address.port or 0)) as observer:
        observer.sendall(b"GET /tap?outputs_of=*&limit=100000&interval_ms=1 HTTP/1.0\r\n\r\n")
        assert observer.recv(12) == b"HTTP/1.0 200"
        wanted = [f"keep {number} {'x' * 200}" for number in range(30_000)]
        append(tmp_path / "in.log", *wanted)
        until(lambda: len(messages_of(tmp_path / "out.log")) == len(wanted), seconds=20)


def test_tap_without_a_pipeline_says_so() -> None:
    """Nothing behind the address: a sentence and EX_UNAVAILABLE."""
    result = command("tap", "--outputs-of", "in", "--url", "http://127.0.0.1:1", "--duration-ms", 100)

    assert result.returncode == 69
    assert "Vector API server isn't reachable (http://127.0.0.1:1)." in result.stderr


def test_tap_ends_when_its_pipeline_does(running: Running) -> None:
    """A pipeline that is told to stop does not wait for its observers."""
    with subprocess.Popen(
        [str(EXECUTABLE), "tap", "--outputs-of", "own", "--url", running.api_url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as tapping:
        assert tapping.stdout is not None
        assert json.loads(tapping.stdout.readline())["namespace"] == "vector"
        assert running.end() == 0
        _, said = tapping.communicate(timeout=20)

    assert tapping.returncode == 69
    assert "Lost the connection" in said


@contextmanager
def growing(path: Path) -> Iterator[None]:
    """Appends a line to keep and one to drop every 50 ms meanwhile."""
    ended = threading.Event()

    def write() -> None:
        number = 0
        while not ended.wait(0.05):
            append(path, f"keep {number}", f"drop {number}")
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        ended.set()
        writer.join()
