import assert from 'node:assert/strict'
import { afterEach, describe, test } from 'node:test'
import { SWEEP_MS } from '../../base/deadlines.ts'
import * as limits from '../limits.ts'
import { ADDRESS, eventually, Lab, ok, onRequests, type TestEdge } from '../testing-edge.ts'

const lab = new Lab()
afterEach(() => lab.close())

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'
const POST = 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello'

/** An edge whose time goes on when it is told to. */
async function timed(internalPort: number, httpOptions: Record<string, unknown> = {}) {
  let time = 0
  const services = [{ port: 80, internalPort, httpOptions }]
  const apps = [{ name: 'hello', addresses: [ADDRESS], machines: [{ id: 'm1', services }] }]
  const edge = await lab.edge(apps, { monotonic: () => time })
  return { edge, later: (ms: number) => (time += ms) }
}
const received = (edge: TestEdge, bytes: number) =>
  eventually(() => edge.proxy.snapshot().totals.client_bytes_received! >= bytes)
const answers = () => lab.app((socket) => onRequests(socket, () => socket.write(ok('ok'))))

describe('a head that does not come', () => {
  test('half of it: 408', async () => {
    const { edge, later } = await timed(await answers())
    const client = lab.client(edge.port).send(GET.slice(0, 20))
    await received(edge, 20)
    later(limits.HEAD_READ_MS + 1)
    assert.match(await client.end(), /^HTTP\/1.1 408 Request Timeout\r\n[\s\S]*Connection: close/)
    assert.equal(edge.limit('head_read_ms'), 1)
  })

  test('an empty line alone is no request, and nothing answers it', async () => {
    const { edge, later } = await timed(await answers())
    const client = lab.client(edge.port)
    await client.send(GET).until(/ok$/)
    client.text = ''
    client.send('\r\n')
    await received(edge, GET.length + 2)
    later(limits.CLIENT_IDLE_MS)
    assert.equal(await client.end(), '')
  })

  test('octets that come one by one do not put it off', async () => {
    const { edge, later } = await timed(await answers())
    const client = lab.client(edge.port)
    for (let i = 0; i < 4; i++) {
      client.send(GET[i]!)
      await received(edge, i + 1)
      later(limits.HEAD_READ_MS / 4 + 1)
    }
    assert.match(await client.end(), /^HTTP\/1.1 408 /)
  })

  test('headers_read_timeout, from the accept on', async () => {
    const { edge, later } = await timed(await answers(), { headers_read_timeout: 2 })
    const client = lab.client(edge.port)
    await eventually(() => edge.count('connections') === 1)
    later(2_500)
    assert.equal(await client.end(), '')
  })

  test('headers_read_timeout for the next request too, and not for the idle connection', async () => {
    const { edge, later } = await timed(await answers(), { headers_read_timeout: 2 })
    const client = lab.client(edge.port)
    await client.send(GET).until(/ok$/)
    later(30_000)
    client.text = ''
    await client.send(GET).until(/ok$/)
    client.text = ''
    client.send(GET.slice(0, 20))
    await received(edge, 2 * GET.length + 20)
    later(2_500)
    assert.match(await client.end(), /^HTTP\/1.1 408 /)
  })
})

describe('a body that does not come', () => {
  test('408 to the client who owes it, and the app’s connection ends', async () => {
    let closed = false
    let seen = ''
    const port = await lab.app((socket) => {
      socket.on('data', (data: Buffer) => (seen += String(data)))
      socket.on('end', () => (closed = true))
    })
    const { edge, later } = await timed(port, { idle_timeout: 2 })
    const client = lab.client(edge.port).send(POST)
    await eventually(() => seen.endsWith('hello'))
    later(2_500)
    assert.match(await client.end(), /^HTTP\/1.1 408 Request Timeout\r\n[\s\S]*Connection: close/)
    await eventually(() => closed)
    assert.equal(edge.limit('request_body_ms'), 1)
    assert.equal(edge.limit('request_idle_ms'), 0)
    assert.deepEqual(edge.logs, [])
  })

  test('each part of it starts the time anew', async () => {
    const port = await lab.app((socket) => onRequests(socket, (_, body) => socket.write(ok(body))))
    const { edge, later } = await timed(port, { idle_timeout: 2 })
    const client = lab.client(edge.port).send(POST)
    for (const part of ['w', 'o', 'r', 'l']) {
      const { client_bytes_received: before } = edge.proxy.snapshot().totals
      later(1_500)
      // A sweep has to see the new time before the part comes.
      await new Promise((resolve) => setTimeout(resolve, 300))
      client.send(part)
      await received(edge, before! + 1)
    }
    await client.send('d').until(/helloworld$/)
  })

  test('an app that does not take it is the one that is late: 504', async () => {
    const port = await lab.app((socket) => socket.pause())
    const { edge, later } = await timed(port, { idle_timeout: 2 })
    const client = lab.client(edge.port)
    client.send(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${64 << 20}\r\n\r\n`)
    const part = Buffer.alloc(1 << 20)
    const more = () => {
      while (client.socket.write(part));
    }
    client.socket.on('drain', more)
    more()
    const received = () => edge.proxy.snapshot().totals.client_bytes_received!
    for (let last = -1, same = 0; same < 5; last = received()) {
      await new Promise((resolve) => setTimeout(resolve, 50))
      same = received() === last ? same + 1 : 0
    }
    client.socket.off('drain', more)
    later(2_500)
    await client.until(/^HTTP\/1.1 504 /)
    assert.equal(edge.limit('request_idle_ms'), 1)
  })
})

describe('a response that does not come', () => {
  test('no first octet: 504', async () => {
    let asked = false
    const port = await lab.app((socket) => onRequests(socket, () => (asked = true)))
    const { edge, later } = await timed(port)
    const client = lab.client(edge.port).send(GET)
    await eventually(() => asked)
    later(limits.REQUEST_IDLE_MS + 1)
    assert.match(await client.until(/\(PU02\)\n$/), /^HTTP\/1.1 504 /)
  })

  test('half of its body: the connection is reset', async () => {
    const half = 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello'
    const port = await lab.app((socket) => onRequests(socket, () => socket.write(half)))
    const { edge, later } = await timed(port)
    const client = lab.client(edge.port).send(GET)
    await client.until(/hello$/)
    later(limits.REQUEST_IDLE_MS + 1)
    await client.end()
    await eventually(() => client.error === 'ECONNRESET')
  })
})

describe('a tunnel of which one side has ended', () => {
  const upgrade = 'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n'
  const switched = 'HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n'

  for (const { name, handlers, first, answer } of [
    { name: 'after 101', handlers: ['http' as const], first: upgrade, answer: switched },
    { name: 'raw TCP', handlers: [], first: 'hello', answer: 'welcome' },
  ]) {
    /** A tunnel that fills its machine; `ends`: the app ends at once. */
    async function tunnel(ends: boolean) {
      let heard = ''
      let hasEnded = false
      let time = 0
      const port = await lab.app((socket) => {
        socket.on('data', (data: Buffer) => (heard += String(data)))
        socket.on('end', () => (hasEnded = true))
        socket.once('data', () => (ends ? socket.end(answer) : socket.write(answer)))
      })
      const service = { port: 80, internalPort: port, handlers, hard: 1 }
      const machines = [{ id: 'm1', services: [{ ...service, type: 'connections' as const }] }]
      const apps = [{ name: 'hello', addresses: [ADDRESS], machines }]
      const edge = await lab.edge(apps, { monotonic: () => time })
      const client = lab.client(edge.port).send(first)
      const later = async (ms: number) => {
        time += ms
        // A sweep has to see the new time.
        await new Promise((resolve) => setTimeout(resolve, SWEEP_MS + 50))
      }
      await client.until(answer.slice(-4))
      return { edge, client, later, heard: () => heard, hasEnded: () => hasEnded }
    }

    test(`the app: its slot is free again when the client says nothing: ${name}`, async () => {
      const { edge, client, later } = await tunnel(true)
      await client.end()
      await later(limits.TUNNEL_HALF_CLOSED_MS + 1)
      await eventually(() => edge.count('connections') === 0)
      assert.equal(edge.limit('tunnel_half_closed_ms'), 1)
      await lab.client(edge.port).send(first).until(answer.slice(-4))
    })

    test(`the client: so it is when the app says nothing: ${name}`, async () => {
      const { edge, client, later, hasEnded } = await tunnel(false)
      client.socket.end()
      await eventually(hasEnded)
      await later(limits.TUNNEL_HALF_CLOSED_MS + 1)
      await eventually(() => client.error === 'ECONNRESET')
      await eventually(() => edge.count('connections') === 0)
    })

    test(`what the other says starts the time anew: ${name}`, async () => {
      const { edge, client, later, heard } = await tunnel(true)
      await client.end()
      for (let i = 0; i < 3; i++) {
        await later(limits.TUNNEL_HALF_CLOSED_MS - 1)
        client.send('again')
        await eventually(() => heard().endsWith('again'.repeat(i + 1)))
      }
      assert.equal(edge.count('connections'), 1)
      client.socket.end()
      await eventually(() => edge.count('connections') === 0)
      assert.equal(edge.limit('tunnel_half_closed_ms'), 0)
    })
  }

  test('the client, before 101: the app is told', async () => {
    let hasEnded = false
    const port = await lab.app((socket) => {
      socket.on('end', () => (hasEnded = true))
      socket.once('data', () => setTimeout(() => socket.write(switched), 20))
    })
    const { edge } = await timed(port)
    lab.client(edge.port).send(upgrade).socket.end()
    await eventually(() => hasEnded)
  })

  test('neither: it may be silent for as long as it likes, unless idle_timeout is set', async () => {
    const port = await lab.app((socket) => socket.once('data', () => socket.write(switched)))
    for (const [httpOptions, isCut] of [
      [{}, false],
      [{ idle_timeout: limits.REQUEST_IDLE_MS / 1000 }, true],
    ] as const) {
      const { edge, later } = await timed(port, httpOptions)
      const client = lab.client(edge.port)
      await client.send(upgrade).until(/\r\n\r\n$/)
      later(limits.TUNNEL_HALF_CLOSED_MS)
      if (isCut) await eventually(() => client.error === 'ECONNRESET')
      else await new Promise((resolve) => setTimeout(resolve, 2 * SWEEP_MS))
      assert.equal(client.closed, isCut)
    }
  })
})
