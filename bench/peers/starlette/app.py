"""Starlette under uvicorn, in the plainest form that is correct in production.

One coroutine per socket, one subscriber of redis.asyncio per worker, a channel per node, a token checked before the
upgrade, a presence key with a time to live that one task per worker renews.
"""

import asyncio
import contextlib
import hashlib
import json
import os

import redis.asyncio as redis
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocketDisconnect

PRESENCE_SECONDS = 90
RENEWAL_SECONDS = 30

sockets = {}
"""This worker's sockets by channel."""
store = redis.Redis(
    connection_pool=redis.BlockingConnectionPool.from_url(
        os.environ["PEER_REDIS_URL"], max_connections=32, timeout=30, decode_responses=True
    )
)
pubsub = store.pubsub(ignore_subscribe_messages=True)


async def listen():
    async for message in pubsub.listen():
        ws = sockets.get(message["channel"])
        if ws is not None:
            with contextlib.suppress(RuntimeError, WebSocketDisconnect):
                await ws.send_text(message["data"])


async def renew(channels):
    async with store.pipeline(transaction=False) as pipeline:
        for channel in channels:
            pipeline.set(f"presence:{channel}", os.getpid(), ex=PRESENCE_SECONDS)
        await pipeline.execute()


async def renew_for_ever():
    while True:
        await asyncio.sleep(RENEWAL_SECONDS)
        await renew(list(sockets))


@contextlib.asynccontextmanager
async def lifespan(app):
    await pubsub.subscribe("worker")
    await store.sadd("workers", os.getpid())
    tasks = [asyncio.create_task(listen()), asyncio.create_task(renew_for_ever())]
    yield
    for task in tasks:
        task.cancel()


async def channel(ws):
    token = ws.headers.get("authorization", "").removeprefix("Bearer ")
    node_id = await store.hget("tokens", hashlib.sha256(token.encode()).hexdigest())
    if not node_id:
        await ws.close(1008)  # before accept: a plain refusal
        return
    name = f"node:{node_id}"
    sockets[name] = ws
    try:
        await ws.accept()
        await pubsub.subscribe(name)
        await renew([name])
        while True:
            await ws.receive_text()
    except WebSocketDisconnect:
        pass
    finally:
        if sockets.get(name) is ws:
            del sockets[name]
            await pubsub.unsubscribe(name)
            await store.delete(f"presence:{name}")


async def deploy(request):
    """Publish to every node; how many took it."""
    message = json.dumps({"type": "config_changed", "pipelineId": "p" * 32, "reason": "deploy"})
    async with store.pipeline(transaction=False) as pipeline:
        for node_id in await store.hvals("tokens"):
            pipeline.publish(f"node:{node_id}", message)
        return JSONResponse({"pushed": sum(await pipeline.execute())})


app = Starlette(
    routes=[WebSocketRoute("/ws", channel), Route("/deploy", deploy, methods=["POST"])], lifespan=lifespan
)
