"""Plain flask-sock, in the plainest form that is correct in production: what a push channel costs without a hub.

One view loop per socket, one redis-py subscriber per worker, a channel per node, a token checked before the upgrade,
a presence key with a time to live. Run under gunicorn's gevent workers.
"""

import hashlib
import json
import os
import queue
import threading
import time

import redis
from flask import Flask, g, jsonify, request
from flask_sock import Sock
from simple_websocket import ConnectionClosed

PRESENCE_SECONDS = 90
RENEWAL_SECONDS = 30

app = Flask(__name__)
app.config["SOCK_SERVER_OPTIONS"] = {"ping_interval": 25, "max_message_size": 64 * 1024}
sock = Sock(app)
store = redis.Redis(
    connection_pool=redis.BlockingConnectionPool.from_url(
        os.environ["PEER_REDIS_URL"], max_connections=32, timeout=30, decode_responses=True
    )
)


class Subscriber:
    """This worker's one pub/sub connection; each socket has a queue of its own."""

    def __init__(self) -> None:
        store.sadd("workers", os.getpid())
        self._pubsub = store.pubsub(ignore_subscribe_messages=True)
        self._pubsub.subscribe("worker")
        self._queues: dict[str, queue.Queue[str]] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for message in self._pubsub.listen():
            waiting = self._queues.get(message["channel"])
            if waiting is not None:
                waiting.put(message["data"])

    def add(self, node_id: str) -> queue.Queue[str]:
        waiting: queue.Queue[str] = queue.Queue()
        with self._lock:
            self._queues[f"node:{node_id}"] = waiting
            self._pubsub.subscribe(f"node:{node_id}")
        return waiting

    def remove(self, node_id: str, waiting: queue.Queue[str]) -> None:
        with self._lock:
            if self._queues.get(f"node:{node_id}") is waiting:
                del self._queues[f"node:{node_id}"]
                self._pubsub.unsubscribe(f"node:{node_id}")


_subscriber: list[Subscriber] = []


def subscriber() -> Subscriber:
    if not _subscriber:
        _subscriber.append(Subscriber())
    return _subscriber[0]


@app.before_request
def authenticate():
    if request.path != "/ws":
        return None
    request.environ.pop("HTTP_SEC_WEBSOCKET_EXTENSIONS", None)
    token = request.headers.get("Authorization", "").removeprefix("Bearer ")
    g.node_id = store.hget("tokens", hashlib.sha256(token.encode()).hexdigest())
    return None if g.node_id else ("", 401)


@sock.route("/ws")
def channel(ws):
    node_id, hears = g.node_id, subscriber()
    waiting = hears.add(node_id)
    try:
        renew_at = 0.0
        while ws.connected:
            if time.monotonic() >= renew_at:
                store.set(f"presence:{node_id}", os.getpid(), ex=PRESENCE_SECONDS)
                renew_at = time.monotonic() + RENEWAL_SECONDS
            try:
                ws.send(waiting.get(timeout=RENEWAL_SECONDS))
            except queue.Empty:
                continue
    except ConnectionClosed:
        pass
    finally:
        hears.remove(node_id, waiting)
        store.delete(f"presence:{node_id}")


@app.post("/deploy")
def deploy():
    """Publish to every node; how many took it."""
    message = json.dumps({"type": "config_changed", "pipelineId": "p" * 32, "reason": "deploy"})
    with store.pipeline(transaction=False) as pipeline:
        for node_id in store.hvals("tokens"):
            pipeline.publish(f"node:{node_id}", message)
        return jsonify(pushed=sum(pipeline.execute()))
