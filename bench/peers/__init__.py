"""The peers: other ways to tell ten thousand agents something, each in its plainest form that is correct.

They do our job and no more: a bearer token checked before the upgrade, a channel (or room) per node, presence with a
time to live, pings, and one fan-out that publishes a message of its own for each node. Tokens are looked up in Redis,
which is cheaper than the database in which ours are, in the peers' favour.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis
import requests

from bench.contender import Contender
from bench.load import Crowd
from bench.place import Place
from tests.support import PROJECT
from tests.support.server import clean_environment
from tests.support.until import until
from tools.child_process import ChildProcess
from tools.reserved_port import ReservedPort

ENVIRONMENT = PROJECT / "build" / "bench" / "peers"
NODE_FOLDER = PROJECT / "build" / "bench" / "node_ws"
NODE = {"NODE_ENV": "production", "NODE_PATH": str(NODE_FOLDER / "node_modules")}
MESSAGE = {"type": "config_changed", "pipelineId": "p" * 32, "reason": "deploy"}
START_SECONDS = 60.0


@dataclass(frozen=True)
class Peer:
    """How one peer is started and spoken to."""

    command: Callable[[str, int], list[str]]
    """From an address to listen on and a number of workers."""
    folder: str
    path: str = "/ws"
    dialect: str = "plain"
    masters: int = 1
    """How many processes of one worker each are started, where it cannot share one port."""
    has_channels: bool = True


def _gunicorn(bind: str, workers: int) -> list[str]:
    return [str(ENVIRONMENT / "bin/gunicorn"), "-c", "../gunicorn.conf.py", "-b", bind, "app:app"]


def _uvicorn(bind: str, workers: int) -> list[str]:
    host, _, port = bind.partition(":")
    return [
        str(ENVIRONMENT / "bin/uvicorn"), "app:app", "--host", host, "--port", port, "--workers", str(workers),
        "--log-level", "warning", "--no-access-log", "--backlog", "4096", "--ws-ping-interval", "25",
        "--ws-per-message-deflate", "false",
    ]  # fmt: skip


def _node(bind: str, workers: int) -> list[str]:
    return [shutil.which("node") or "node", "server.js"]


PEERS = {
    "flask-socketio": Peer(
        _gunicorn, "flask_socketio", "/socket.io/?EIO=4&transport=websocket", "socket.io", 2, False
    ),
    "flask-sock": Peer(_gunicorn, "flask_sock_plain"),
    "starlette": Peer(_uvicorn, "starlette"),
    "node-ws": Peer(_node, "node_ws"),
}


def missing(name: str) -> str | None:
    """Why this peer cannot run here; None if it can."""
    if name == "node-ws":
        if shutil.which("node") is None or not (NODE_FOLDER / "node_modules").is_dir():
            return "no Node with its packages: sh tools/bootstrap.sh bench"
    elif not (ENVIRONMENT / "bin" / "gunicorn").exists():
        return "no environment of the peers: sh tools/bootstrap.sh bench"
    return None


@contextmanager
def contender(place: Place, name: str, count: int, workers: int = 2) -> Iterator[Contender]:
    """The peer with so many nodes that may connect."""
    peer = PEERS[name]
    tokens = [secrets.token_hex(32) for _ in range(count)]
    ids = [secrets.token_hex(16) for _ in range(count)]
    with ExitStack() as running:
        folder = running.enter_context(place.folder())
        redis_server = running.enter_context(place.redis())
        store = redis.Redis.from_url(redis_server.url, decode_responses=True)
        running.callback(store.close)
        ports = [ReservedPort() for _ in range(peer.masters)]
        for port in ports:
            running.callback(port.release)
            _start(running, peer, folder, f"{port.host}:{port.port}", redis_server.url, workers)
        base = f"http://127.0.0.1:{ports[0].port}"
        urls = [f"ws://127.0.0.1:{port.port}{peer.path}" for port in ports]
        pids = _workers(store, peer, urls, workers)
        _admit(store, tokens, ids)
        channels = {f"node:{node_id}" for node_id in ids}

        def publish_one(index: int) -> None:
            if peer.has_channels:
                store.publish(f"node:{ids[index]}", json.dumps(MESSAGE))
            else:
                store.publish("flask-socketio", _emit(ids[index]))

        yield Contender(
            name=name,
            urls=urls,
            tokens=tokens,
            pids=pids,
            store=store,
            # A client that is in is in its room already.
            held=lambda: len(
                channels.intersection(store.pubsub_channels("node:*")) if peer.has_channels else ids
            ),
            deploy=lambda: int(requests.post(f"{base}/deploy", timeout=120).json()["pushed"]),
            publish_one=publish_one,
            dialect=peer.dialect,
        )


def _start(
    running: ExitStack, peer: Peer, folder: Path, bind: str, redis_url: str, workers: int
) -> ChildProcess:
    each = workers // peer.masters
    settings = {"PEER_REDIS_URL": redis_url, "PEER_BIND": bind, "PEER_WORKERS": str(each)}
    process = ChildProcess(
        peer.command(bind, each),
        log=folder / "peer.log",
        env={**clean_environment(), **settings, **NODE},
        cwd=PROJECT / "bench" / "peers" / peer.folder,
    )
    running.callback(process.stop, 5)

    def answers() -> bool:
        if not process.is_running:
            raise RuntimeError(f"the peer did not start:\n{process.log_tail()}")
        return requests.get(f"http://{bind}/", timeout=5).status_code < 500

    until(
        answers, seconds=START_SECONDS, what=f"{peer.folder} at {bind}", tolerate=(requests.RequestException,)
    )
    return process


def _workers(store: redis.Redis, peer: Peer, urls: list[str], workers: int) -> list[int]:
    """The pids of its workers, which write themselves down with their first socket at the latest."""
    tokens = [f"probe-{number}" for number in range(20)]
    _admit(store, tokens, tokens)

    def pids() -> list[int] | None:
        with Crowd(urls, tokens, dialect=peer.dialect) as crowd:
            crowd.connect(seconds=20)
        found = sorted(int(pid) for pid in store.smembers("workers"))
        return found if len(found) == workers else None

    found = until(pids, seconds=START_SECONDS, every=0.3, what="the peer's workers")
    store.delete("tokens")
    return found


def _admit(store: redis.Redis, tokens: list[str], ids: list[str]) -> None:
    digests = [hashlib.sha256(token.encode()).hexdigest() for token in tokens]
    store.hset("tokens", mapping=dict(zip(digests, ids, strict=True)))


def _emit(room: str) -> str:
    """What Flask-SocketIO publishes for an emit to a room."""
    return json.dumps(
        {
            "method": "emit", "event": "config_changed", "data": MESSAGE, "binary": False, "namespace": "/",
            "room": room, "skip_sid": None, "callback": None, "host_id": "bench",
        }
    )  # fmt: skip
