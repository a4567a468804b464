import { createHash } from 'node:crypto'
import { once } from 'node:events'
import net from 'node:net'
import { createInterface } from 'node:readline'

/**
 * Clients of the benchmark of paths, and the app that speaks WebSocket. Reads one JSON request per line,
 * prints one answer each:
 *
 * `{what: 'pace', port, perSecond, seconds}`: requests at a fixed pace, whoever is slow: `{p50Ms, p99Ms}`
 * counted from when each was due; `{what: 'messages', port, seconds}`: masked text frames that come
 * back, one at a time on each of many connections: `{amount}`.
 *
 * usage: edge-paths-load.ts WS_PORT
 */
const CONNECTIONS = 32
const MESSAGE_BYTES = 100
const WAIT_MS = 10_000
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'

const app = net.createServer((socket) => {
  socket.setNoDelay(true).on('error', () => {})
  let text = ''
  const onHead = (data: Buffer) => {
    text += data.toString('latin1')
    if (!text.includes('\r\n\r\n')) return
    const key = /sec-websocket-key: (\S+)/i.exec(text)?.[1] ?? ''
    const accept = createHash('sha1').update(`${key}${GUID}`).digest('base64')
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
    )
    // What is measured is what carries the frames: they go back as they came.
    socket.off('data', onHead).on('data', (frames: Buffer) => socket.write(frames))
  }
  socket.on('data', onHead)
})
app.listen(Number(process.argv[2]), '127.0.0.1')
await once(app, 'listening')

/** Opens a connection, sends `head`, and resolves when the head of the answer is there. */
async function open(port: number, head: string): Promise<net.Socket> {
  const socket = net.connect({ port, host: '127.0.0.1', noDelay: true })
  socket.setTimeout(WAIT_MS, () => socket.destroy(new Error(`port ${port}: nothing comes`)))
  await once(socket, 'connect')
  socket.write(head)
  const [answer] = (await once(socket, 'data')) as [Buffer]
  if (!/^HTTP\/1\.1 (101|200)/.test(answer.toString('latin1')))
    throw new Error(`port ${port}: ${answer}`)
  return socket
}

const REQUEST = 'GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n'

async function pace(port: number, perSecond: number, seconds: number) {
  const sockets = await Promise.all(Array.from({ length: CONNECTIONS }, () => open(port, REQUEST)))
  const tookMs: number[] = []
  const due: number[][] = sockets.map(() => [])
  for (const [i, socket] of sockets.entries())
    socket.on('data', (data: Buffer) => {
      // Small answers: each read brings whole ones, and each one has one status line.
      for (let at = data.indexOf('HTTP/1.1 '); at >= 0; at = data.indexOf('HTTP/1.1 ', at + 9))
        tookMs.push(performance.now() - due[i]!.shift()!)
    })
  const began = performance.now()
  const total = Math.floor(perSecond * seconds)
  for (let sent = 0; sent < total; ) {
    const now = performance.now()
    for (; sent < total && began + (sent * 1_000) / perSecond <= now; sent++) {
      const i = sent % sockets.length
      due[i]!.push(began + (sent * 1_000) / perSecond)
      sockets[i]!.write(REQUEST)
    }
    await new Promise(setImmediate)
  }
  const until = performance.now() + WAIT_MS
  while (tookMs.length < total && performance.now() < until) await new Promise(setImmediate)
  for (const socket of sockets) socket.destroy()
  tookMs.sort((a, b) => a - b)
  const at = (share: number) => tookMs[Math.floor(share * (tookMs.length - 1))] ?? 0
  return { p50Ms: at(0.5), p99Ms: at(0.99) }
}

/** A masked text frame (RFC 6455 5.2). */
const FRAME = Buffer.concat([
  Buffer.of(0x81, 0x80 | MESSAGE_BYTES, 1, 2, 3, 4),
  Buffer.alloc(MESSAGE_BYTES, 'x'),
])
const UPGRADE =
  'GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
  'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n'

async function messages(port: number, seconds: number) {
  const sockets = await Promise.all(Array.from({ length: CONNECTIONS }, () => open(port, UPGRADE)))
  const until = performance.now() + seconds * 1_000
  let amount = 0
  await Promise.all(
    sockets.map((socket) => {
      const { promise, resolve, reject } = Promise.withResolvers<void>()
      let got = 0
      socket.on('close', () => reject(new Error(`port ${port}: a connection ended`)))
      socket.on('data', (data: Buffer) => {
        got += data.length
        if (got < FRAME.length) return
        got -= FRAME.length
        amount++
        if (performance.now() < until) socket.write(FRAME)
        else resolve()
      })
      socket.write(FRAME)
      return promise
    }),
  )
  for (const socket of sockets) socket.removeAllListeners('close').destroy()
  return { amount }
}

for await (const line of createInterface({ input: process.stdin })) {
  const { what, port, perSecond, seconds } = JSON.parse(line)
  const done =
    what === 'pace' ? await pace(port, perSecond, seconds) : await messages(port, seconds)
  console.log(JSON.stringify(done))
}
