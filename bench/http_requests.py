"""Raw requests of agents, and how their rate stands beside an empty view of the same server."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from bench.load import Load, drive
from bench.place import processor_seconds
from tests.support.server import Server

EMPTY = b"GET /empty HTTP/1.1\r\nHost: bench\r\n\r\n"
CONNECTIONS = 32


def poll(url: str, token: str, etag: str = "") -> bytes:
    """GET the configuration of a server at *url*; unchanged where the tag is still right, which covers the host."""
    known = f"If-None-Match: {etag}\r\n" if etag else ""
    head = (
        f"GET /api/agent/config HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nAuthorization: Bearer {token}\r\n"
    )
    return f"{head}{known}\r\n".encode()


def heartbeat(
    token: str, seq: int, pipelines: Sequence[str], revision: str = "0" * 64, status: str = "RUNNING"
) -> bytes:
    """What a busy node reports of its pipelines, two components and three log lines each; `seq` makes it newer."""
    count = seq * 100
    body = json.dumps(
        {
            "bootId": "bench",
            "seq": seq,
            "agentVersion": "1.0.0",
            "vectorVersion": "vector 0.50.0",
            "configRevision": revision,
            "hostMetrics": {"memoryTotalBytes": 8 << 30, "memoryUsedBytes": count, "loadAvg1": 0.5},
            "agentHealth": {"pushConnected": True, "uptimeSeconds": seq},
            "pipelines": [_reported(pipeline, count, status) for pipeline in pipelines],
        }
    ).encode()
    head = (
        f"POST /api/agent/heartbeat HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _reported(pipeline: str, count: int, status: str) -> dict[str, object]:
    return {
        "pipelineId": pipeline, "version": 1, "status": status, "pid": 100, "uptimeSeconds": 5.5,
        "eventsIn": count, "eventsOut": count, "errorsTotal": 0, "bytesIn": count, "bytesOut": count,
        "componentMetrics": [
            {"componentId": name, "componentKind": "source", "receivedEvents": count, "sentEvents": count}
            for name in ("made", "gone")
        ],
        "recentLogs": ["INFO vector: started"] * 3,
    }  # fmt: skip


@dataclass(frozen=True)
class Beside:
    """One stretch of requests between two of the empty view's."""

    load: Load
    empty_rate: float
    cpu_us: float
    """Processor time of the workers for a request, microseconds; of an empty one the other."""
    empty_cpu_us: float

    @property
    def share(self) -> float:
        """The rate as a share of the empty view's."""
        return self.load.rate / self.empty_rate


def beside_empty(
    server: Server, make: Callable[[int], list[bytes]], seconds: float, passes: int = 0
) -> Beside:
    """Just before and just after the empty view is asked in the same way, because the machine drifts.

    `make` gets how many requests can be needed at most.
    """
    pids = server.worker_pids()

    def ask(requests: Sequence[bytes], seconds: float, passes: int) -> tuple[Load, float]:
        cpu = processor_seconds(pids)
        load = drive(
            server.url, requests, connections=CONNECTIONS, seconds=seconds, warm_seconds=0.5, passes=passes
        )
        return load, (processor_seconds(pids) - cpu) * 1e6 / sum(load.statuses.values())

    before, before_us = ask([EMPTY], seconds / 2, 0)
    load, cpu_us = ask(make(int(before.rate * (seconds + 1) * 1.5)), seconds, passes)
    after, after_us = ask([EMPTY], seconds / 2, 0)
    return Beside(load, (before.rate + after.rate) / 2, cpu_us, (before_us + after_us) / 2)
