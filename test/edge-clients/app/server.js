// What clients try on: JSON, echo, ranges, trailers, refusals, events and WebSocket.
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { WebSocketServer } from 'ws'

const FILE = Buffer.alloc(1 << 20, 'fairway 0123456789\n')
const EVENT_MS = 300
const held = new Set()
/** Without a compressed body a client that asks for compression proves nothing. */
const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: { threshold: 0 } })

const routes = {
  '/json': (request, response) => json(response, { method: request.method, url: request.url }),
  '/page': (_, response) => {
    response.setHeader('content-type', 'text/html; charset=utf-8')
    response.end(readFileSync(new URL('page.html', import.meta.url)))
  },
  '/echo': (request, response) => {
    const { 'content-length': length, 'transfer-encoding': coding } = request.headers
    response.setHeader('x-framing', coding ?? `length ${length}`)
    request.pipe(response)
  },
  '/digest': (request, response) => {
    const hash = createHash('sha256')
    let bytes = 0
    request.on('data', (part) => {
      hash.update(part)
      bytes += part.length
    })
    request.on('end', () => json(response, { bytes, sha256: hash.digest('hex') }))
  },
  '/file': (request, response) => {
    const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? []
    const part = first === undefined ? FILE : FILE.subarray(Number(first), Number(last) + 1)
    if (first !== undefined) {
      response.statusCode = 206
      response.setHeader('content-range', `bytes ${first}-${last}/${FILE.length}`)
    }
    response.setHeader('content-length', part.length)
    response.end(request.method === 'HEAD' ? undefined : part)
  },
  '/trailers': (request, response) => {
    response.setHeader('trailer', 'x-digest')
    response.write('body\n')
    response.addTrailers({ 'x-digest': 'sum' })
    response.end()
    request.resume()
  },
  '/events': (_, response) => {
    response.setHeader('content-type', 'text/event-stream')
    let count = 0
    const timer = setInterval(() => {
      response.write(`id: ${++count}\ndata: ${Date.now()}\n\n`)
      if (count < 3) return
      clearInterval(timer)
      response.end()
    }, EVENT_MS)
  },
  // A page has loaded when its last picture has.
  '/hold': (_, response) => held.add(response),
  '/release': (_, response) => {
    for (const one of held) one.end()
    held.clear()
    response.end()
  },
}

function json(response, body) {
  response.setHeader('content-type', 'application/json')
  response.end(`${JSON.stringify(body)}\n`)
}

const server = createServer((request, response) => {
  const route = routes[new URL(request.url, 'http://app').pathname]
  if (route) return route(request, response)
  response.statusCode = 404
  response.end()
})

server.on('checkContinue', (request, response) => {
  if (request.url === '/refuse') {
    response.writeHead(413, { connection: 'close' }).end('too much\n')
    return
  }
  response.writeContinue()
  server.emit('request', request, response)
})

server.on('upgrade', (request, socket, head) => {
  sockets.handleUpgrade(request, socket, head, (ws) => {
    const { pathname } = new URL(request.url, 'http://app')
    if (pathname === '/ws/close') ws.on('message', () => ws.close(4002, 'enough'))
    else if (pathname === '/ws/push') {
      ws.on('pong', (data) => ws.send(`pong ${data}`))
      ws.send(FILE)
      ws.ping('app')
    } else ws.on('message', (data, binary) => ws.send(data, { binary }))
    ws.on('close', (code) => console.log(`closed with ${code}`))
  })
})

server.listen(8080, '::')
