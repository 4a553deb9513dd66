"""Flask-SocketIO, in the plainest form that is correct in production: a room per node, Redis between processes.

Its documentation wants processes of one worker each behind a balancer that keeps a client at one of them, so it runs
as several gunicorns of one gevent worker; clients use the WebSocket transport alone. A token is checked before a
client may join, a presence key has a time to live, and one greenlet per process renews those of its sockets.
"""

import hashlib
import os

import redis
from flask import Flask, jsonify, request
from flask_socketio import SocketIO, join_room

PRESENCE_SECONDS = 90
RENEWAL_SECONDS = 30

app = Flask(__name__)
socketio = SocketIO(
    app,
    async_mode="gevent",
    message_queue=os.environ["PEER_REDIS_URL"],
    transports=["websocket"],
    manage_session=False,
)
store = redis.Redis(
    connection_pool=redis.BlockingConnectionPool.from_url(
        os.environ["PEER_REDIS_URL"], max_connections=32, timeout=30, decode_responses=True
    )
)
nodes: dict[str, str] = {}
"""The node of each of this process's sockets, by session."""


def renew(node_ids):
    with store.pipeline(transaction=False) as pipeline:
        for node_id in node_ids:
            pipeline.set(f"presence:{node_id}", os.getpid(), ex=PRESENCE_SECONDS)
        pipeline.execute()


def renew_for_ever():
    while True:
        socketio.sleep(RENEWAL_SECONDS)
        renew(list(nodes.values()))


@socketio.on("connect")
def connect(auth=None):
    token = request.headers.get("Authorization", "").removeprefix("Bearer ")
    node_id = store.hget("tokens", hashlib.sha256(token.encode()).hexdigest())
    if not node_id:
        return False
    if not nodes:
        store.sadd("workers", os.getpid())
        socketio.start_background_task(renew_for_ever)
    nodes[request.sid] = node_id
    join_room(node_id)
    renew([node_id])
    return None


@socketio.on("disconnect")
def disconnect(reason=None):
    node_id = nodes.pop(request.sid, None)
    if node_id:
        store.delete(f"presence:{node_id}")


@app.post("/deploy")
def deploy():
    """Emit to every node's room; how many there are: Socket.IO does not tell who took it."""
    node_ids = store.hvals("tokens")
    message = {"type": "config_changed", "pipelineId": "p" * 32, "reason": "deploy"}
    for node_id in node_ids:
        socketio.emit("config_changed", message, to=node_id)
    return jsonify(pushed=len(node_ids))
