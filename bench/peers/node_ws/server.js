// Node with `ws` and `ioredis`, in the plainest form that is correct in production.
//
// A cluster of PEER_WORKERS workers; each has one subscriber connection, a channel per node, a token checked before
// the upgrade, pings, and a presence key with a time to live that one timer renews.
'use strict'

const cluster = require('node:cluster')
const { createHash } = require('node:crypto')
const http = require('node:http')

if (cluster.isPrimary) {
  for (let count = Number(process.env.PEER_WORKERS); count > 0; count--) cluster.fork()
  cluster.on('exit', () => process.exit(1))
  process.on('SIGTERM', () => {
    for (const worker of Object.values(cluster.workers)) worker.process.kill('SIGTERM')
    process.exit(0)
  })
} else {
  serve()
}

function serve () {
  const Redis = require('ioredis')
  const { WebSocketServer } = require('ws')
  const PRESENCE_SECONDS = 90
  const RENEWAL_MS = 30_000
  const PING_MS = 25_000

  const store = new Redis(process.env.PEER_REDIS_URL)
  const subscriber = new Redis(process.env.PEER_REDIS_URL)
  const sockets = new Map()
  const sessions = new WebSocketServer({ noServer: true, perMessageDeflate: false, maxPayload: 64 * 1024 })

  subscriber.on('message', (channel, message) => sockets.get(channel)?.send(message))

  function renew (channels) {
    const pipeline = store.pipeline()
    for (const channel of channels) pipeline.set(`presence:${channel}`, process.pid, 'EX', PRESENCE_SECONDS)
    return pipeline.exec()
  }

  setInterval(() => renew(sockets.keys()), RENEWAL_MS)
  setInterval(() => {
    for (const ws of sockets.values()) {
      if (!ws.isAlive) {
        ws.terminate()
        continue
      }
      ws.isAlive = false
      ws.ping()
    }
  }, PING_MS)

  function adopt (ws, channel) {
    ws.isAlive = true
    sockets.set(channel, ws)
    subscriber.subscribe(channel)
    renew([channel])
    ws.on('pong', () => { ws.isAlive = true })
    ws.on('error', () => ws.terminate())
    ws.on('close', () => {
      if (sockets.get(channel) !== ws) return
      sockets.delete(channel)
      subscriber.unsubscribe(channel)
      store.del(`presence:${channel}`)
    })
  }

  const server = http.createServer(async (request, response) => {
    if (request.method !== 'POST' || request.url !== '/deploy') {
      response.writeHead(404).end()
      return
    }
    const message = JSON.stringify({ type: 'config_changed', pipelineId: 'p'.repeat(32), reason: 'deploy' })
    const pipeline = store.pipeline()
    for (const id of await store.hvals('tokens')) pipeline.publish(`node:${id}`, message)
    const answers = await pipeline.exec()
    response.setHeader('Content-Type', 'application/json')
    response.end(JSON.stringify({ pushed: answers.reduce((sum, [, count]) => sum + count, 0) }))
  })

  server.on('upgrade', async (request, socket, head) => {
    const token = (request.headers.authorization ?? '').replace(/^Bearer /, '')
    const id = await store.hget('tokens', createHash('sha256').update(token).digest('hex'))
    if (id === null) {
      socket.end('HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
      return
    }
    sessions.handleUpgrade(request, socket, head, ws => adopt(ws, `node:${id}`))
  })

  const [host, port] = process.env.PEER_BIND.split(':')
  server.listen({ host, port: Number(port), backlog: 4096 }, () => store.sadd('workers', process.pid))
}
