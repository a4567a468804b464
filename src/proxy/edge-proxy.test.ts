import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { afterEach, describe, test } from 'node:test'
import {
  ADDRESS,
  eventually,
  Lab,
  ok,
  onRequests,
  SHARED,
  settled,
  type TestEdge,
} from './testing-edge.ts'

const lab = new Lab()
afterEach(() => lab.close())

const get = (host: string, path = '/') => `GET ${path} HTTP/1.1\r\nHost: ${host}\r\n\r\n`
const says = (name: string) => lab.app((socket) => onRequests(socket, () => socket.write(ok(name))))
/** A port on which nothing listens: only root's programs may, and none does. */
const DEAD_PORT = 1

describe('who answers', () => {
  async function shared(): Promise<TestEdge> {
    const machine = async (id: string, port = 80) => [
      { id, services: [{ port, internalPort: await says(id) }] },
    ]
    return lab.edge(
      [
        { name: 'one', sharedV4: SHARED, machines: await machine('m-one') },
        { name: 'two', sharedV4: SHARED, machines: await machine('m-two') },
        { name: 'apart', machines: await machine('m-apart') },
        { name: 'odd', sharedV4: SHARED, machines: await machine('m-odd', 8080) },
      ],
      { address: SHARED },
    )
  }

  test('a shared address: the app that the Host header names', async () => {
    const edge = await shared()
    const client = lab.client(edge.port)
    for (const [host, id] of [
      ['one.fairway.test', 'm-one'],
      ['TWO.Fairway.Test.:80', 'm-two'],
      ['one.fairway.test:8080', 'm-one'],
    ] as const) {
      client.text = ''
      assert.match(await client.send(get(host)).until(/m-\w+$/), new RegExp(`${id}$`))
    }
  })

  for (const host of [
    'three.fairway.test',
    'apart.fairway.test',
    'a.one.fairway.test',
    'one.fairway.test.evil.test',
    'onefairway.test',
    'fairway.test',
    '.fairway.test',
    '203.0.113.1',
    '[::1]',
  ])
    test(`a shared address: ${host} is nobody`, async () => {
      const edge = await shared()
      const client = lab.client(edge.port).send(get(host))
      const text = await client.until(/404 Not Found: .*\n$/)
      assert.match(text, /^HTTP\/1.1 404 Not Found\r\n[\s\S]*Fly-Request-Id: \w{26}-iad\r\n/)
    })

  test('a shared address: an app without that port is not there', async () => {
    const edge = await shared()
    const client = lab.client(edge.port).send(get('odd.fairway.test'))
    await eventually(() => client.error === 'ECONNRESET')
  })

  test('a dedicated address: its app, whatever the Host header says', async () => {
    const edge = await lab.simple(await says('hello'))
    await lab
      .client(edge.port)
      .send(get('anything.example'))
      .until(/hello$/)
  })

  for (const [name, options] of [
    ['an address that is not ours', { address: '203.0.113.99' }],
    ['a port without a service', { listenPort: 81 }],
    ['a shared address, another port', { address: SHARED, listenPort: 443 }],
  ] as const)
    test(`${name} is reset`, async () => {
      const services = [{ port: 80, internalPort: 1 }]
      const apps = [{ name: 'hello', addresses: [ADDRESS], machines: [{ id: 'm1', services }] }]
      const edge = await lab.edge(apps, options)
      const client = lab.client(edge.port)
      await eventually(() => client.error === 'ECONNRESET')
      assert.equal(edge.proxy.snapshot().totals.connections_reset, 1)
    })

  test('a tls port is reset until there are certificates, and the app is told once', async () => {
    const edge = await lab.simple(1, { handlers: ['tls', 'http'] })
    for (let i = 0; i < 3; i++) {
      const client = lab.client(edge.port)
      await eventually(() => client.error === 'ECONNRESET')
    }
    assert.deepEqual(
      edge.logs.map(({ code, app }) => [code, app]),
      [['PT06', 'hello']],
    )
  })

  test('a change of the view counts for the next request of an open connection', async () => {
    const [a, b] = [await says('from-a'), await says('from-b')]
    const edge = await lab.edge([
      {
        name: 'a',
        addresses: [ADDRESS],
        machines: [{ id: 'm1', services: [{ port: 80, internalPort: a }] }],
      },
      { name: 'b', machines: [{ id: 'm2', services: [{ port: 80, internalPort: b }] }] },
    ])
    const client = lab.client(edge.port)
    await client.send(get('x')).until('from-a')
    const address = {
      ...{ id: 'ip', address: ADDRESS, kind: 'v4', state: 'attached', org: 'personal' },
    }
    const rest = { app: 'b', network: null, region: 'global', serviceName: null }
    const value = { ...address, ...rest, createdAt: '', quarantinedUntilMs: null }
    edge.view.apply({ t: 'events', revision: 2, events: [['put', `address/${ADDRESS}`, value, 2]] })
    await client.send(get('x')).until('from-b')
  })
})

describe('upstream connections', () => {
  /** Answers one request on each connection, and closes when the next is on its way. */
  const once = () =>
    lab.app((socket, n) => {
      let asked = false
      onRequests(socket, () => {
        if (asked) socket.destroy()
        else socket.write(ok(`connection ${n}`))
        asked = true
      })
    })

  test('type connections: a fresh one for each request, and the app is told', async () => {
    let n = 0
    const port = await lab.app((socket) => {
      n++
      onRequests(socket, (head) =>
        socket.write(ok(String(head.includes('\r\nConnection: close\r\n')))),
      )
    })
    const edge = await lab.simple(port, { type: 'connections' })
    const client = lab.client(edge.port)
    for (let i = 0; i < 3; i++) {
      client.text = ''
      await client.send(get('a')).until(/true$/)
    }
    assert.equal(n, 3)
  })

  test('a pooled connection that the app has closed costs a request nothing', async () => {
    const port = await once()
    const edge = await lab.simple(port)
    const client = lab.client(edge.port)
    await client.send(get('a')).until('connection 0')
    await client.send(get('a')).until('connection 1')
    assert.equal(edge.count('retries'), 1)
  })

  test('but a request with a body is not sent twice', async () => {
    const port = await once()
    const edge = await lab.simple(port)
    const client = lab.client(edge.port)
    await client.send(get('a')).until('connection 0')
    client.send('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi')
    await client.until(/502 Bad Gateway: .*\((PU02|PC03)\)\n$/)
  })

  test('one that nobody listens on: another machine, with the body', async () => {
    const alive = await lab.app((socket) => onRequests(socket, (_, body) => socket.write(ok(body))))
    const services = (internalPort: number) => [{ port: 80, internalPort }]
    const machines = [
      { id: 'dead1', services: services(DEAD_PORT) },
      { id: 'dead2', services: services(DEAD_PORT) },
      { id: 'alive', services: services(alive) },
    ]
    const edge = await lab.edge([{ name: 'hello', addresses: [ADDRESS], machines }], {
      random: () => 0,
    })
    for (let i = 0; i < 3; i++) {
      const client = lab.client(edge.port)
      client.send('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello')
      await client.until(/\r\n\r\nhello$/)
    }
    assert.ok(edge.count('retries') <= 2, 'those that failed are asked last')
  })

  test('nobody listens anywhere: 502 with the last reason', async () => {
    const edge = await lab.simple(DEAD_PORT)
    const text = await lab.client(edge.port).send(get('a')).until(/\n$/)
    await lab
      .client(edge.port)
      .send(get('a'))
      .until(/\(PC01\)\n$/)
    assert.match(text, /^HTTP\/1.1 502 /)
    assert.deepEqual(edge.logs[0], {
      ...{ app: 'hello', machine: 'm1', level: 'error', code: 'PC01' },
      message: 'the app refused the connection on its port: ECONNREFUSED',
    })
  })

  test('no machine that is started and healthy: 503', async () => {
    const services = [{ port: 80, internalPort: 1 }]
    const machines = [
      { id: 'm1', state: 'stopped', services },
      { id: 'm2', cordoned: true, services },
      { id: 'm3', services: [{ ...services[0]!, healthy: false }] },
    ]
    const edge = await lab.edge([{ name: 'hello', addresses: [ADDRESS], machines }])
    const text = await lab
      .client(edge.port)
      .send(get('a'))
      .until(/\(PR04\)\n$/)
    assert.match(text, /^HTTP\/1.1 503 /)
  })

  test('at the hard limit a request waits for a slot', async () => {
    const answers: (() => void)[] = []
    const port = await lab.app((socket) =>
      onRequests(socket, (head) =>
        answers.push(() => socket.write(ok(/ (\/\w+)/.exec(head)![1]!))),
      ),
    )
    const edge = await lab.simple(port, { hard: 1, soft: 1 })
    const first = lab.client(edge.port).send(get('a', '/first'))
    await eventually(() => answers.length === 1)
    const second = lab.client(edge.port).send(get('a', '/second'))
    await eventually(() => edge.proxy.snapshot().gauges.requests_queued === 1)
    answers[0]!()
    await first.until('/first')
    await eventually(() => answers.length === 2)
    answers[1]!()
    await second.until('/second')
  })
})

describe('upgrades', () => {
  const handshake =
    'GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n' +
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n'

  async function echoApp(): Promise<number> {
    return lab.app((socket) => {
      let upgraded = false
      socket.on('data', (data: Buffer) => {
        if (upgraded) {
          socket.write(data)
          return
        }
        upgraded = true
        const key = /Sec-WebSocket-Key: (\S+)/i.exec(String(data))![1]
        assert.match(String(data), /\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n/)
        const guid = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
        const accept = createHash('sha1')
          .update(key + guid)
          .digest('base64')
        socket.write(
          'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
            `Sec-WebSocket-Accept: ${accept}\r\n\r\ngreeting`,
        )
      })
      socket.on('end', () => socket.end('bye'))
    })
  }

  test('a WebSocket goes through both ways, and its ends too', async () => {
    const edge = await lab.simple(await echoApp())
    const client = lab.client(edge.port).send(handshake)
    const text = await client.until('greeting')
    assert.match(text, /^HTTP\/1.1 101 Switching Protocols\r\n/)
    assert.match(text, /\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=\r\n/)
    assert.match(text, /\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n/)
    await client.send('\x81\x05hello').until('hello')
    client.socket.end('last')
    assert.match(await client.end(), /lastbye$/)
    await eventually(() => edge.count('connections') === 0)
    assert.equal(edge.logs.length, 0)
  })

  test('node’s own WebSocket client', async () => {
    const edge = await lab.simple(await echoApp())
    const socket = new WebSocket(`ws://127.0.0.1:${edge.port}/`)
    await new Promise((resolve) => socket.addEventListener('open', resolve, { once: true })).catch(
      () => {},
    )
    socket.close()
  })

  test('an app that does not upgrade answers as ever', async () => {
    const edge = await lab.simple(await says('plain'))
    const client = lab.client(edge.port)
    await client.send(handshake).until('plain')
    await client.send(get('a')).until(/plain[\s\S]*plain/)
  })
})

describe('slow ones', () => {
  const MEGABYTES = 64

  test('a client that does not read stops the app, and memory stays bounded', async () => {
    let sent = 0
    const port = await lab.app((socket) =>
      onRequests(socket, () => {
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${MEGABYTES << 20}\r\n\r\n`)
        const part = Buffer.alloc(1 << 20)
        const more = () => {
          while (sent < MEGABYTES) {
            sent++
            if (!socket.write(part)) return
          }
        }
        socket.on('drain', more)
        more()
      }),
    )
    const edge = await lab.simple(port)
    const client = lab.client(edge.port)
    client.socket.pause()
    client.send(get('a'))
    await settled(() => sent)
    assert.ok(sent < MEGABYTES / 2, `${sent} MB went out while nobody read`)
    let received = 0
    client.socket.removeAllListeners('data')
    client.socket.on('data', (data: Buffer) => (received += data.length))
    client.socket.resume()
    await eventually(() => received > MEGABYTES << 20)
  })

  test('a client that asks on and on without reading is not asked for more', async () => {
    let answered = 0
    const port = await lab.app((socket) =>
      onRequests(socket, () => {
        answered++
        socket.write(ok('x'.repeat(200_000)))
      }),
    )
    const edge = await lab.simple(port)
    const client = lab.client(edge.port)
    client.socket.pause()
    for (let i = 0; i < 500; i++) client.send(get('a'))
    await settled(() => answered)
    assert.ok(answered < 100, `${answered} were answered while nobody read`)
    client.socket.resume()
    await eventually(() => answered === 500)
  })

  test('an app that does not read stops the client', async () => {
    let paused = true
    let received = 0
    const port = await lab.app((socket) => {
      socket.pause()
      socket.on('data', (data: Buffer) => {
        received += data.length
      })
      const timer = setInterval(() => {
        if (!paused) socket.resume()
      }, 5)
      socket.on('close', () => clearInterval(timer))
    })
    const edge = await lab.simple(port)
    const client = lab.client(edge.port)
    const part = Buffer.alloc(1 << 20)
    let sent = 0
    client.send(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${MEGABYTES << 20}\r\n\r\n`)
    const more = () => {
      while (sent < MEGABYTES) {
        sent++
        if (!client.socket.write(part)) return
      }
    }
    client.socket.on('drain', more)
    more()
    await settled(() => sent)
    assert.ok(sent < MEGABYTES / 2, `${sent} MB went out while nobody read`)
    paused = false
    await eventually(() => received > MEGABYTES << 20)
  })
})

test('metrics name every count', async () => {
  const edge = await lab.simple(await says('x'))
  await lab.client(edge.port).send(get('a')).until(/x$/)
  const { requests, totals } = edge.proxy.snapshot()
  assert.deepEqual(requests, [0, 0, 1, 0, 0, 0, 0, 0, 0, 0])
  assert.equal(totals.connections_accepted, 1)
  assert.ok(totals.client_bytes_sent! > 50)
})

test('a fault of ours ends the connection whose request finds it, and is counted', async () => {
  const faults: unknown[] = []
  const app = async (name: string) => ({
    name,
    sharedV4: SHARED,
    machines: [{ id: `m-${name}`, services: [{ port: 80, internalPort: await says(name) }] }],
  })
  const edge = await lab.edge([await app('well'), await app('ill')], {
    address: SHARED,
    onFault: (error) => faults.push(error),
  })
  const routes = edge.view.app.bind(edge.view)
  const bug = new Error('a bug')
  edge.view.app = (name) => {
    if (name === 'ill') throw bug
    return routes(name)
  }
  const other = lab.client(edge.port)
  await other.send(get('well.fairway.test')).until(/well$/)
  const client = lab.client(edge.port)
  await client.send(get('ill.fairway.test')).end()
  assert.equal(client.text, '')
  other.text = ''
  await other.send(get('well.fairway.test')).until(/well$/)
  assert.deepEqual(faults, [bug])
  assert.equal(edge.error('fault'), 1)
  await eventually(() => edge.count('connections') === 1)
})
