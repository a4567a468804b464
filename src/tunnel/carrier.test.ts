import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { afterEach, test } from 'node:test'
import { createCarrier, reset } from './carrier.ts'
import { createDialer, type DialLimits } from './dialer.ts'
import { listen, openMappings } from './listeners.ts'
import type { OutboundProxy } from './proxy-url.ts'
import { createReporter } from './reporter.ts'

const LIMITS: DialLimits = { lookupMs: 5_000, connectMs: 5_000, answerMs: 20_000 }
const to = { host: 'db.test', port: 5432 }
const opened: { close(): void }[] = []
afterEach(() => {
  for (const one of opened.splice(0)) one.close()
})

/** A server on a loopback address that answers each connection by hand. */
async function serve(
  host: string,
  port: number,
  onSocket: (socket: Socket) => void,
): Promise<number> {
  const sockets = new Set<Socket>()
  const server: Server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket.on('error', () => {}))
    onSocket(socket)
  })
  await once(server.listen(port, host), 'listening')
  opened.push({
    close() {
      server.close()
      for (const socket of sockets) socket.destroy()
    },
  })
  return (server.address() as AddressInfo).port
}

const proxyAt = (port: number): OutboundProxy => ({
  ...{ protocol: 'connect', tls: false, host: 'proxy.test', port, credentials: null },
})

/** A local port that leads to `to` through such a proxy, and what the tunnel says. */
async function tunnel(port: number, addresses: readonly string[], limits = LIMITS) {
  const said: string[] = []
  const reporter = createReporter(false, (text) => said.push(text))
  const carrier = createCarrier(
    createDialer(proxyAt(port), limits, async () => addresses),
    reporter,
  )
  const server = await listen(carrier, '127.0.0.1', 0, to)
  opened.push(server, carrier)
  return { port: (server.address() as AddressInfo).port, said }
}

/** Sends, ends its half, and resolves with all that comes; rejects when reset. */
function exchange(port: number, text: string): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  socket.end(text)
  return new Promise((resolve, reject) => {
    let got = ''
    socket.setEncoding('utf8').on('data', (more) => {
      got += more
    })
    socket.on('end', () => resolve(got)).on('error', reject)
  })
}

const OK = 'HTTP/1.1 200 OK\r\n\r\n'

/** Answers CONNECT, then echoes until the client's half ends, and ends its own. */
const echo = (socket: Socket) =>
  socket.once('data', () => {
    socket.write(`${OK}hi `)
    socket.pipe(socket)
  })

test('bytes both ways, each half ended by itself, what came with the answer first', async () => {
  const { port } = await tunnel(await serve('127.0.0.1', 0, echo), ['127.0.0.1'])
  const text = 'x'.repeat(3_000_000)
  assert.equal(await exchange(port, text), `hi ${text}`)
})

test('many at once', async () => {
  const { port } = await tunnel(await serve('127.0.0.1', 0, echo), ['127.0.0.1'])
  const all = await Promise.all(Array.from({ length: 200 }, (_, n) => exchange(port, String(n))))
  assert.deepEqual(
    all,
    all.map((_, n) => `hi ${n}`),
  )
})

test('an address of the proxy that is dead is passed over, and then tried last', async () => {
  let dialled = 0
  const real = await serve('127.0.0.3', 0, (socket) => {
    dialled += 1
    echo(socket)
  })
  const { port, said } = await tunnel(real, ['127.0.0.2', '127.0.0.3'])
  assert.equal(await exchange(port, 'a'), 'hi a')
  assert.equal(await exchange(port, 'b'), 'hi b')
  assert.equal(dialled, 2)
  assert.deepEqual(said, [])
})

test('a refusal resets the connection and is said once, with how often after a while', async () => {
  const refusing = await serve('127.0.0.1', 0, (socket) => socket.end('HTTP/1.1 403 No\r\n\r\n'))
  const { port, said } = await tunnel(refusing, ['127.0.0.1'])
  for (let n = 0; n < 3; n++) await assert.rejects(exchange(port, 'x'), { code: 'ECONNRESET' })
  assert.deepEqual(said, [
    'fairway tunnel: db.test:5432: the proxy does not allow this destination (403); check what the credential may reach\n',
  ])
})

test('a proxy that says nothing, hangs up or is not there: reset, never hung', async () => {
  const silent = await serve('127.0.0.1', 0, () => {})
  const short = { ...LIMITS, answerMs: 50 }
  const late = await tunnel(silent, ['127.0.0.1'], short)
  await assert.rejects(exchange(late.port, 'x'), { code: 'ECONNRESET' })
  assert.match(late.said.join(), /did not answer in 0\.05 s/)
  const hanging = await tunnel(await serve('127.0.0.1', 0, (socket) => socket.end()), ['127.0.0.1'])
  await assert.rejects(exchange(hanging.port, 'x'), { code: 'ECONNRESET' })
  assert.match(hanging.said.join(), /closed the connection without an answer/)
  const gone = await tunnel(silent, ['127.0.0.2'])
  await assert.rejects(exchange(gone.port, 'x'), { code: 'ECONNRESET' })
  assert.match(gone.said.join(), /proxy\.test:\d+ cannot be reached \(127\.0\.0\.2: .*ECONNREFUSED/)
})

test('a reset from the far side arrives as one', async () => {
  const resetting = await serve('127.0.0.1', 0, (socket) =>
    socket.once('data', () => {
      socket.write(`${OK}partly`)
      setTimeout(() => socket.resetAndDestroy(), 20)
    }),
  )
  const { port } = await tunnel(resetting, ['127.0.0.1'])
  await assert.rejects(exchange(port, 'x'), { code: 'ECONNRESET' })
})

test('mapped ports: all or none, on both loopback addresses', async () => {
  const carrier = createCarrier(
    createDialer(proxyAt(1)),
    createReporter(false, () => {}),
  )
  const taken = await serve('127.0.0.1', 0, () => {})
  const free = await serve('127.0.0.1', 0, () => {})
  opened.pop()!.close()
  const mapping = (port: number) => ({ listen: null, port, to })
  await assert.rejects(
    openMappings(carrier, [mapping(free), mapping(taken)]),
    /--map \d+:db\.test:5432: something listens at port/,
  )
  const [v4, v6] = await openMappings(carrier, [mapping(free)])
  opened.push(v4!, v6!)
  for (const host of ['127.0.0.1', '::1'])
    assert.notEqual(await refusal(free, host), 'ECONNREFUSED')
})

/** Why a connection ended or was not made: an error's code, or null. */
function refusal(port: number, host: string): Promise<string | null> {
  return new Promise((resolve) => {
    connect(port, host)
      .on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? ''))
      .on('connect', () => resolve(null))
  })
}

test('a connection whose end is just being sent closes when it is reset', async () => {
  const port = await serve('127.0.0.1', 0, () => {})
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  await once(socket, 'connect')
  const closed = new Promise((resolve) => {
    socket.on('close', () => resolve('closed'))
    socket.on('error', ({ code }: NodeJS.ErrnoException) => resolve(code))
  })
  socket.end()
  reset(socket)
  assert.equal(await closed, 'closed')
})
