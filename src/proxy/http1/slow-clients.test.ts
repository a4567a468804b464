import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import { afterEach, describe, test } from 'node:test'
import { SWEEP_MS } from '../../base/deadlines.ts'
import type { EdgeView } from '../../view/edge-view.ts'
import * as limits from '../limits.ts'
import { testView } from '../testing.ts'
import {
  ADDRESS,
  eventually,
  Lab,
  ok,
  onRequests,
  settled,
  type TestEdge,
} from '../testing-edge.ts'

const lab = new Lab()
afterEach(() => lab.close())

const MEGABYTE = 1 << 20
const UPGRADE = 'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n'

const received = (edge: TestEdge) => edge.proxy.snapshot().totals.client_bytes_received!

/** Writes without end. */
function pour(socket: Socket): void {
  const part = Buffer.alloc(MEGABYTE)
  const more = () => {
    while (socket.write(part));
  }
  socket.on('drain', more)
  more()
}

describe('a client that takes what comes now and then is not read from for that', () => {
  const post = `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${2 ** 40}\r\n\r\n`
  for (const [name, request, head] of [
    ['a request', post, `HTTP/1.1 200 OK\r\nContent-Length: ${2 ** 40}\r\n\r\n`],
    ['a tunnel', UPGRADE, 'HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n'],
  ] as const)
    test(name, async () => {
      const port = await lab.app((socket) => {
        // It reads what has come first, and no more.
        socket.once('readable', () => {
          socket.read(1)
          socket.write(head)
          pour(socket)
        })
      })
      const edge = await lab.simple(port)
      const { socket } = lab.client(edge.port).send(request)
      let taken = 0
      socket.removeAllListeners('data').on('data', (data: Buffer) => {
        taken += data.length
        socket.pause()
        setImmediate(() => socket.resume())
      })
      socket.pause()
      pour(socket)
      const before = await settled(() => received(edge))
      socket.resume()
      await eventually(() => taken > 128 * MEGABYTE)
      const more = (received(edge) - before) / MEGABYTE
      assert.ok(more < 8, `${more} MB more were taken while the app did not read`)
    })
})

describe('what waits for a client who takes nothing is sent whole, or reset', () => {
  const HOSTS = [
    { id: 'iad1', region: 'iad', index: 1 },
    { id: 'nrt1', region: 'nrt', index: 2 },
  ]
  /** Small enough not to stop the edge when it is all that waits. */
  const PART = Buffer.alloc(32 * 1024)
  const ENDLESS = 64 * MEGABYTE

  /** An edge whose time goes on when it is told to; or two, of which the last one has the app. */
  async function timed(edges: number, httpOptions: Record<string, unknown>) {
    let time = 0
    const monotonic = () => time
    const sent = () => last.proxy.snapshot().totals.client_bytes_sent!
    /** Writes as far as the edge takes it. */
    const drip = async (socket: Socket, length: number) => {
      for (let left = length; left > 0 && !socket.destroyed; left -= PART.length) {
        const before = sent()
        const part = PART.subarray(0, left)
        socket.write(part)
        await eventually(() => sent() >= before + part.length || socket.destroyed)
      }
    }
    const port = await lab.app((socket) =>
      onRequests(socket, async (head) => {
        const [, length, framing] = /^GET \/(\d+)\/(\w+)/.exec(head)!
        const isFramed = framing === 'length'
        const field = isFramed ? `Content-Length: ${length}` : 'Connection: close'
        socket.write(`HTTP/1.1 200 OK\r\n${field}\r\n\r\n`)
        await drip(socket, Number(length))
        if (!isFramed) socket.end()
      }),
    )
    const host = edges === 1 ? 'iad1' : 'nrt1'
    const region = host.slice(0, 3)
    const services = [{ port: 80, internalPort: port, httpOptions }]
    const machine = { id: 'm1', host, region, services }
    const apps = [{ name: 'hello', addresses: [ADDRESS], machines: [machine] }]
    const last = await lab.edge(apps, { host, region, hosts: HOSTS, monotonic })
    const later = async (ms: number) => {
      time += ms
      // A sweep has to see the new time.
      await new Promise((resolve) => setTimeout(resolve, SWEEP_MS + 50))
    }
    if (edges === 1) return { first: last, sent, later }
    const index = testView(apps, HOSTS)
    const view: EdgeView = {
      revision: index.revision,
      address: (address) => index.address(address),
      app: (name) => index.app(name),
      host: (id) => ({ ...index.host(id)!, meshAddress: '127.0.0.1' }),
      region: (code) => index.region(code),
      explainGrants: () => [],
      distanceMs: (a, b) => (a === b ? 0 : 100),
    }
    const { backhaulPort } = last
    const first = await lab.edge(apps, { hosts: HOSTS, view, backhaulPort, monotonic })
    return { first, sent, later }
  }

  /** A client that reads when it is told to. */
  function slowClient(port: number, request: string) {
    const { socket } = lab.client(port).send(request)
    const slow = { socket, taken: 0, ended: false, error: '' }
    socket.removeAllListeners('data').on('data', (data: Buffer) => (slow.taken += data.length))
    socket.on('end', () => (slow.ended = true))
    socket.on('error', ({ code }: NodeJS.ErrnoException) => (slow.error = code!))
    socket.pause()
    return slow
  }

  for (const { name, edges = 1, framing = 'length', field = '', half = false, options = {} } of [
    { name: 'and the connection goes on' },
    { name: 'Connection: close', field: 'Connection: close\r\n' },
    { name: 'the client has closed its side', half: true },
    { name: 'the app’s idle_timeout is short', options: { idle_timeout: 2 } },
    { name: 'without a length, through two edges', edges: 2, framing: 'close' },
  ]) {
    const request = (length: number) =>
      `GET /${length}/${framing} HTTP/1.1\r\nHost: a\r\n${field}\r\n`
    /** A response that its edge has as a whole, a part of which waits in the edge itself. */
    async function begun() {
      const { first, sent, later } = await timed(edges, options)
      const endless = slowClient(first.port, request(ENDLESS))
      const length = (await settled(sent)) - PART.length - 512
      endless.socket.destroy()
      await eventually(() => first.count('connections') === 0)
      const slow = slowClient(first.port, request(length))
      if (half) slow.socket.end()
      await settled(sent)
      return { slow, length, later }
    }

    test(`whole after a pause: ${name}`, async () => {
      const { slow, length, later } = await begun()
      await later(limits.LINGER_MS + 1)
      await later(limits.HALF_CLOSE_GRACE_MS + 1)
      await later(limits.REQUEST_IDLE_MS / 2)
      slow.socket.resume()
      await eventually(() => slow.taken > length)
      assert.equal(slow.error, '')
    })

    test(`not cut off when it takes nothing any more: ${name}`, async () => {
      const { slow, length, later } = await begun()
      for (let i = 0; i < 3; i++) await later(limits.REQUEST_IDLE_MS + 1)
      slow.socket.resume()
      await eventually(() => slow.ended || slow.socket.destroyed)
      if (slow.taken <= length) assert.deepEqual([slow.ended, slow.error], [false, 'ECONNRESET'])
    })
  }
})

test('idle clients whose request was long keep no buffer', async () => {
  const port = await lab.app((socket) => onRequests(socket, () => socket.write(ok('x'))))
  const edge = await lab.simple(port)
  const request = `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\n${'x'.repeat(9000)}`
  for (let i = 0; i <= limits.STREAM_BUFFERS_MAX; i++)
    await lab.client(edge.port).send(request).until(/x$/)
  assert.equal(edge.limit('stream_buffers'), 0)
})
