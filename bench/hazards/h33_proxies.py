"""Hazard 33, proxies: the ports between one proxy and one backend address, and tags that compression changes."""

from __future__ import annotations

from pathlib import Path

import requests

from bench import ours
from bench.figures import figure
from bench.hazards import compared, without
from bench.hazards.proxies import GzipProxy, TcpProxy
from bench.load import Crowd
from bench.place import Place, say
from bench.scale import Scale

FIRST_PORT = 45_000
MOST_PORTS = 500
POLLERS = 20
POLLS = 5
RULE = "the proxy reaches the server through one TCP port; `If-None-Match` is compared to the letter"

CONNECTED = compared(
    "h33_connected", "agents connected through one proxy address", "% of all", "more",
    "through a proxy that may use half as many ports as there are agents, towards a unix socket", RULE,
)  # fmt: skip
PAIR = figure(
    "hazards.h33_pair", "hazard 33: sockets between one proxy address and one backend address and port",
    "sockets", "-",
    "computed from this machine's `net.ipv4.ip_local_port_range`, and not measured",
)  # fmt: skip
BYTES = compared(
    "h33_bytes", "what the server sends for a poll behind a proxy that compresses", "bytes of body", "less",
    f"the mean of {POLLS} polls of each node, of which the first knows no tag; the proxy weakens tags, as nginx does",
)  # fmt: skip
UNCHANGED = compared(
    "h33_unchanged", "unchanged polls answered with `304` there", "%", "more", "all but each node's first"
)  # fmt: skip


def run(place: Place, scale: Scale, *, kept: bool) -> dict[str, float]:
    """Both proxies before one server."""
    with place.folder() as folder:
        path = folder / "server.sock"
        with ours.running(place, settings=without("weak_tags", kept), also_bind=f"unix:{path}") as server:
            ports = min(MOST_PORTS, scale.sockets // 6)
            tokens = server.enroll(2 * ports)
            server.deploy(server.create_pipeline())
            return {
                CONNECTED: _connected(server, path if kept else None, tokens, ports),
                **({PAIR: _ports_of_this_machine()} if kept else {}),
                **_polls(server, tokens[:POLLERS]),
            }


def _connected(server: ours.Ours, path: Path | None, tokens: list[str], ports: int) -> float:
    headers = {"X-Config-Revision": server.follow()}
    upstream = str(path) if path is not None else ("127.0.0.1", server.port)
    with TcpProxy(upstream, (FIRST_PORT, FIRST_PORT + ports - 1)) as proxy:
        with Crowd([f"ws://127.0.0.1:{proxy.port}/api/agent/ws"], tokens, headers=headers) as crowd:
            state = crowd.connect(at_once=50, seconds=60)
        say(f"hazard 33: {state.open} open over {ports} ports, refused {state.statuses}, {proxy.failures}")
    return 100 * state.open / len(tokens)


def _polls(server: ours.Ours, tokens: list[str]) -> dict[str, float]:
    statuses: list[int] = []
    with GzipProxy(server.port) as proxy, requests.Session() as session:
        for token in tokens:
            headers = {"Authorization": f"Bearer {token}"}
            for _ in range(POLLS):
                answer = session.get(f"{proxy.url}/api/agent/config", headers=headers, timeout=30)
                assert answer.status_code in (200, 304), f"a poll was answered with {answer.status_code}"
                headers["If-None-Match"] = answer.headers["ETag"]
                statuses.append(answer.status_code)
        sent = proxy.upstream_bytes
    assert '"' in headers["If-None-Match"]
    assert headers["If-None-Match"].startswith("W/"), "the proxy did not compress"
    known = len(tokens) * (POLLS - 1)
    return {BYTES: sent / len(statuses), UNCHANGED: 100 * statuses.count(304) / known}


def _ports_of_this_machine() -> float:
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    return high - low + 1
