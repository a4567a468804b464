import assert from 'node:assert/strict'
import net from 'node:net'
import { afterEach, describe, test } from 'node:test'
import { SWEEP_MS } from '../../base/deadlines.ts'
import type { EdgeIndex } from '../../view/edge-index.ts'
import type { EdgeView } from '../../view/edge-view.ts'
import type { EdgeProxyOptions } from '../edge-proxy.ts'
import * as limits from '../limits.ts'
import { type TestMachine, type TestService, testView } from '../testing.ts'
import { ADDRESS, eventually, Lab, ok, onRequests, type TestEdge } from '../testing-edge.ts'

const lab = new Lab()
afterEach(() => lab.close())

const HOSTS = [
  { id: 'iad1', region: 'iad', index: 1 },
  { id: 'nrt1', region: 'nrt', index: 2 },
]
const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'
const apps = (machines: TestMachine[]) => [{ name: 'hello', addresses: [ADDRESS], machines }]
const remote = (service: TestService): TestMachine[] => [
  { id: 'm1', host: 'nrt1', region: 'nrt', services: [service] },
]

/** A head that begins so, with as many field lines as there may be. */
function manyFields(start: string): string {
  const missing = limits.HEADER_COUNT_MAX - start.split('\r\n').length + 1
  return `${start}\r\n${'X: y\r\n'.repeat(missing)}\r\n`
}

/** The same, as long as it may be. */
const longHead = (start: string): string =>
  `${start}\r\nX: ${'y'.repeat(limits.HEAD_BYTES_MAX - start.length - 5)}\r\n\r\n`

/** Two edges: the first accepts the client, the second runs on the machine's host. */
async function pair(
  machines: TestMachine[],
  farMachines = machines,
  options: Partial<EdgeProxyOptions> = {},
): Promise<{ near: TestEdge; far: TestEdge }> {
  const where = { host: 'nrt1', region: 'nrt', hosts: HOSTS }
  const far = await lab.edge(apps(farMachines), { ...where, ...options })
  const { backhaulPort } = far
  const near = await nearEdge(machines, backhaulPort, options)
  return { near, far }
}

/** Two edges whose time goes on when it is told to. */
async function timedPair(machines: TestMachine[]) {
  let time = 0
  const { near, far } = await pair(machines, machines, { monotonic: () => time })
  /** More than CLIENT_IDLE_MS. Afterwards both have looked at their time-outs. */
  const later = async (ms: number) => {
    const before = near.count('connections')
    const idle = [lab.client(near.port), lab.client(far.backhaulPort)]
    idle[1]!.send(`F1 h hello gone 0 80 1.2.3.4 5 6.7.8.9 80 - iad x\r\n${GET}`)
    await idle[1]!.until('-PR02')
    await eventually(() => near.count('connections') > before)
    time += ms
    for (const client of idle) await client.end()
  }
  return { near, far, later }
}

/** Its hosts' mesh addresses are loopback. */
async function nearEdge(
  machines: TestMachine[],
  backhaulPort: number,
  options: Partial<EdgeProxyOptions> & { readonly index?: EdgeIndex } = {},
): Promise<TestEdge> {
  const { index: view = testView(apps(machines), HOSTS), ...rest } = options
  const onLoopback: EdgeView = {
    revision: view.revision,
    address: (address) => view.address(address),
    app: (name) => view.app(name),
    host: (id) => {
      const host = view.host(id)
      return host && { ...host, meshAddress: '127.0.0.1' }
    },
    region: (code) => view.region(code),
    explainGrants: () => [],
    distanceMs: (a, b) => (a === b ? 0 : 100),
  }
  return lab.edge(apps(machines), { hosts: HOSTS, backhaulPort, view: onLoopback, ...rest })
}

describe('a machine of another host', () => {
  test('gets requests with the first edge’s headers, on one pooled connection', async () => {
    const port = await lab.app((socket) =>
      onRequests(socket, (head, body) => socket.write(ok(head + body))),
    )
    const { near, far } = await pair(remote({ port: 80, internalPort: port }))
    const client = lab.client(near.port)
    for (const method of ['GET', 'POST', 'PUT', 'GET']) {
      client.text = ''
      client.send(`${method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc`)
      const text = await client.until(/abc$/)
      assert.match(text, /^HTTP\/1.1 200 OK\r\n/)
      assert.equal(text.match(/Via: /g)?.length, 2, 'one for the app, one for the client')
      assert.match(text, /\r\nFly-Region: iad\r\n/)
      assert.match(text, /\r\nX-Forwarded-For: 127.0.0.1, 203.0.113.5\r\n/)
    }
    assert.equal(far.count('connections'), 1)
    assert.equal(near.proxy.snapshot().totals.backhaul_requests, 4)
  })

  test('that a client insists on is asked there although its checks fail (R30)', async () => {
    const port = await lab.app((socket) => onRequests(socket, (head) => socket.write(ok(head))))
    const { near } = await pair(remote({ port: 80, internalPort: port, healthy: false }))
    const client = lab.client(near.port)
    client.send('GET / HTTP/1.1\r\nHost: a\r\nFly-Force-Instance-Id: m1\r\n\r\n')
    assert.match(await client.until(/\r\n\r\nGET/), /^HTTP\/1.1 200 /)
  })

  test('type connections: the app’s connection is fresh, the edges’ is not', async () => {
    let n = 0
    const port = await lab.app((socket) => {
      n++
      onRequests(socket, () =>
        socket.end(`HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok`),
      )
    })
    const { near, far } = await pair(remote({ port: 80, internalPort: port, type: 'connections' }))
    const client = lab.client(near.port)
    for (let i = 0; i < 3; i++) {
      client.text = ''
      assert.doesNotMatch(await client.send(GET).until(/ok$/), /Connection: close/)
    }
    assert.deepEqual([n, far.count('connections')], [3, 1])
  })

  for (const [name, head] of [
    ['as many fields as a client may send', manyFields(`GET / HTTP/1.1\r\nHost: a`)],
    ['as long a head as a client may send', longHead('GET / HTTP/1.1\r\nHost: a')],
  ] as const)
    test(`${name}: there is room for those of the first edge`, async () => {
      const port = await lab.app((socket) => onRequests(socket, () => socket.write(ok('far'))))
      const { near, far } = await pair(remote({ port: 80, internalPort: port }))
      const text = await lab
        .client(near.port)
        .send(head)
        .until(/\r\n\r\n/)
      assert.match(text, /^HTTP\/1.1 200 /)
      assert.equal(near.error('PU03'), 0)
      assert.equal(far.error('backhaul_refused'), 0)
    })

  for (const [name, head] of [
    ['as many fields as an app may send', manyFields('HTTP/1.1 200 OK\r\nContent-Length: 0')],
    ['as long a head as an app may send', longHead('HTTP/1.1 200 OK\r\nContent-Length: 0')],
  ] as const)
    test(`${name}: there is room for those of its host's edge`, async () => {
      const port = await lab.app((socket) => socket.once('data', () => socket.write(head)))
      const { near } = await pair(remote({ port: 80, internalPort: port }))
      // The body has not ended, so the other edge says that it will close.
      const client = lab.client(near.port)
      client.send('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n')
      assert.match(await client.until(/\r\n\r\n/), /^HTTP\/1.1 200 /)
    })

  test('large bodies, chunked bodies and bodies without framing', async () => {
    const big = 'x'.repeat(300_000)
    const port = await lab.app((socket) =>
      onRequests(socket, (head, body) => {
        if (head.startsWith('GET')) socket.end(`HTTP/1.0 200 OK\r\n\r\n${big}`)
        else
          socket.write(
            `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`,
          )
      }),
    )
    const { near } = await pair(remote({ port: 80, internalPort: port }))
    const client = lab.client(near.port)
    client.send(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${big.length}\r\n\r\n${big}`)
    const text = await client.until(/\r\n0\r\n\r\n$/)
    assert.ok(text.includes(big))
    client.text = ''
    client.send(GET)
    assert.ok((await client.end()).endsWith(big))
  })

  test('upgrades', async () => {
    const port = await lab.app((socket) => {
      socket.once('data', () => {
        socket.write('HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n')
        socket.on('data', (data: Buffer) => socket.write(data))
        socket.on('end', () => socket.end())
      })
    })
    const { near, far } = await pair(remote({ port: 80, internalPort: port }))
    const client = lab.client(near.port)
    client.send('GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n')
    await client.until('\r\n\r\n')
    await client.send('there and back').until('there and back')
    client.socket.end()
    await client.end()
    await eventually(() => far.count('connections') === 0 && near.count('connections') === 0)
  })

  test('raw TCP, with a PROXY header from the machine’s host', async () => {
    const port = await lab.app((socket) => {
      socket.on('data', (data: Buffer) => socket.write(`<${String(data)}>`))
      socket.on('end', () => socket.end('end'))
    })
    const service = { port: 80, internalPort: port, handlers: ['proxy_proto' as const] }
    const { near } = await pair(remote(service))
    const client = lab.client(near.port).send('hello')
    const text = await client.until(/hello>/)
    assert.match(text, /^<PROXY TCP4 127.0.0.1 203.0.113.5 \d+ 80\r\n/)
    client.socket.end()
    assert.match(await client.end(), /end$/)
  })
})

describe('time-outs are the first edge’s to decide', () => {
  const post = (length: number) =>
    `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${length}\r\n\r\nhello`

  test('a longer idle_timeout counts on both', async () => {
    let answer: (() => void) | undefined
    const internalPort = await lab.app((socket) =>
      onRequests(socket, () => (answer = () => socket.write(ok('late')))),
    )
    const httpOptions = { idle_timeout: 300 }
    const { near, later } = await timedPair(remote({ port: 80, internalPort, httpOptions }))
    const client = lab.client(near.port).send(GET)
    await eventually(() => answer !== undefined)
    await later(limits.CLIENT_IDLE_MS + limits.BACKHAUL_SLACK_MS + 1)
    answer!()
    await client.until(/^HTTP\/1.1 200 [\s\S]*late$/)
  })

  test('an app that is silent: 504', async () => {
    let asked = false
    const port = await lab.app((socket) => onRequests(socket, () => (asked = true)))
    const { near, far, later } = await timedPair(remote({ port: 80, internalPort: port }))
    // The other edge accepts it at once, and could only break off afterwards.
    const client = lab.client(near.port).send(post(5))
    await eventually(() => asked)
    await later(limits.REQUEST_IDLE_MS + 1)
    assert.match(await client.until(/\(PU02\)\n$/), /^HTTP\/1.1 504 /)
    assert.equal(far.limit('request_idle_ms'), 0)
  })

  test('a client that stalls in its body: 408', async () => {
    let seen = ''
    const port = await lab.app((socket) => {
      socket.on('data', (data: Buffer) => (seen += String(data)))
    })
    const { near, far, later } = await timedPair(remote({ port: 80, internalPort: port }))
    const client = lab.client(near.port).send(post(10))
    await eventually(() => seen.endsWith('hello'))
    await later(limits.REQUEST_IDLE_MS + 1)
    assert.match(await client.end(), /^HTTP\/1.1 408 /)
    assert.equal(far.limit('request_idle_ms'), 0)
  })

  for (const [what, laterMs, says, code] of [
    ['a full backlog is the machine’s', limits.CONNECT_MS + 1, '-PC05\n', 'PC05'],
    ['silence', limits.CONNECT_MS + limits.BACKHAUL_SLACK_MS + 1, '', 'PU03'],
  ] as const)
    test(`raw TCP: ${what}, and other machines of its host stay the first choice`, async () => {
      let time = 0
      let dialling: net.Socket | undefined
      const far = net.createServer((socket) => {
        socket.on('error', () => {})
        socket.once('data', (data: Buffer) => {
          if (String(data).includes(' m1 ')) dialling = socket
          else socket.write('+\nfar')
        })
      })
      const local = await lab.app((socket) => socket.write('local'))
      const services = [{ port: 80, internalPort: local, handlers: [] }]
      const machines = [
        ...['m1', 'm2'].map((id) => ({ id, host: 'nrt1', region: 'nrt', services })),
        { id: 'm3', region: 'lhr', services },
      ]
      const near = await nearEdge(machines, await lab.server(far), {
        ...{ region: 'nrt', random: () => 0.99, monotonic: () => time },
      })
      const client = lab.client(near.port)
      await eventually(() => dialling !== undefined)
      time += laterMs
      // The edge has looked at its time-outs.
      await new Promise((resolve) => setTimeout(resolve, 2 * SWEEP_MS))
      dialling!.write(says)
      assert.equal(await client.until(/far|local/), 'far')
      assert.deepEqual([near.error(code), near.count('retries')], [1, 1])
    })

  test('a stream after 101 may be silent for as long as it likes', async () => {
    const port = await lab.app((socket) => {
      socket.once('data', () => {
        socket.write('HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n')
        socket.on('data', (data: Buffer) => socket.write(data))
      })
    })
    const { near, later } = await timedPair(remote({ port: 80, internalPort: port }))
    const client = lab.client(near.port)
    client.send('GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n')
    await client.until('\r\n\r\n')
    await later(10 * limits.REQUEST_IDLE_MS)
    await client.send('still there').until('still there')
  })
})

describe('refusals', () => {
  test('the host’s view wins: a machine that it does not have is refused, another tried', async () => {
    const port = await lab.app((socket) => onRequests(socket, (_, body) => socket.write(ok(body))))
    const service = { port: 80, internalPort: port }
    const machines = [
      ...[{ id: 'gone', host: 'nrt1', region: 'nrt', services: [service] }],
      ...[{ id: 'm2', host: 'nrt1', region: 'nrt', services: [{ ...service, load: 1 as const }] }],
    ]
    const { near } = await pair(machines, machines.slice(1))
    const client = lab.client(near.port)
    client.send('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nagain')
    await client.until(/again$/)
    assert.equal(near.error('PR02'), 1)
  })

  test('a hard limit is kept by the machine’s host, and the next in line waits', async () => {
    const answers: (() => void)[] = []
    const port = await lab.app((socket) =>
      onRequests(socket, () => answers.push(() => socket.write(ok('done')))),
    )
    const { near, far } = await pair(remote({ port: 80, internalPort: port, hard: 1, soft: 1 }))
    const first = lab.client(near.port).send(GET)
    await eventually(() => answers.length === 1)
    const second = lab.client(near.port).send(GET)
    await eventually(() => near.error('LIMIT') > 0)
    assert.equal(answers.length, 1)
    answers[0]!()
    await first.until('done')
    await eventually(() => answers.length === 2)
    answers[1]!()
    await second.until('done')
    assert.equal(far.logs.length, 0)
  })

  for (const [what, request, connections] of [
    ['without a body goes on on the same connection', GET, 1],
    [
      'with one, which may not have been read, goes on on another connection',
      'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nagain',
      2,
    ],
  ] as const)
    test(`a refused request ${what}`, async () => {
      const seen: net.Socket[] = []
      const far = net.createServer((socket) => {
        seen.push(socket)
        socket.on('error', () => {})
        onRequests(socket, (head) => {
          if (!head.includes(' m1 ')) socket.write(`+\n${ok('done')}`)
          else if (head.includes('POST')) socket.end('-LIMIT\n')
          else socket.write('-LIMIT\n')
        })
      })
      const services = [{ port: 80, internalPort: 1 }]
      const machines = ['m1', 'm2'].map((id) => ({ id, host: 'nrt1', region: 'nrt', services }))
      const near = await nearEdge(machines, await lab.server(far), { random: () => 0.99 })
      const [head, body] = request.split(/(?<=\r\n\r\n)/)
      const client = lab.client(near.port).send(head!)
      await eventually(() => seen.length === 1)
      if (body) client.send(body)
      assert.match(await client.until(/\r\n\r\n/), /^HTTP\/1.1 200 /)
      assert.equal(seen.length, connections)
    })

  test('an app that refuses connections: its code comes back', async () => {
    const { near } = await pair(remote({ port: 80, internalPort: 1 }))
    const text = await lab.client(near.port).send(GET).until(/\n$/)
    assert.match(text, /^HTTP\/1.1 502 [\s\S]*\(PC01\)\n$/)
  })

  for (const [method, times] of [
    ['POST', 1],
    ['GET', 3],
  ] as const)
    test(`an app that breaks off: ${method} is sent to at most ${times}`, async () => {
      let asked = 0
      const port = await lab.app((socket) =>
        onRequests(socket, () => {
          asked++
          socket.destroy()
        }),
      )
      const service = { port: 80, internalPort: port }
      const machines = ['m1', 'm2', 'm3', 'm4'].map((id) => ({
        id,
        host: 'nrt1',
        region: 'nrt',
        services: [service],
      }))
      const { near } = await pair(machines)
      await lab
        .client(near.port)
        .send(GET.replace('GET', method))
        .until(/502 Bad Gateway: [\s\S]*\(PU02\)\n$/)
      assert.equal(asked, times)
    })

  test('a host that cannot be reached: a machine of another', async () => {
    const port = await lab.app((socket) => onRequests(socket, () => socket.write(ok('local'))))
    const machines = [
      ...remote({ port: 80, internalPort: port }),
      { id: 'm2', state: 'started', services: [{ port: 80, internalPort: port, soft: 0 }] },
    ]
    const near = await nearEdge(machines, 1)
    await lab.client(near.port).send(GET).until('local')
  })

  test('a host that breaks off before it accepts can be reached, and stays the first choice', async () => {
    let asked = 0
    const breaking = net.createServer((socket) => {
      socket.on('error', () => {})
      socket.once('data', () => {
        asked++
        socket.resetAndDestroy()
      })
    })
    const port = await lab.app((socket) => onRequests(socket, () => socket.write(ok('local'))))
    const machines = [
      ...remote({ port: 80, internalPort: port }),
      { id: 'm2', region: 'lhr', services: [{ port: 80, internalPort: port }] },
    ]
    const near = await nearEdge(machines, await lab.server(breaking), { region: 'nrt' })
    for (let i = 1; i <= 10; i++) {
      await lab.client(near.port).send(GET).until('local')
      assert.equal(asked, i)
    }
    assert.deepEqual(near.proxy.snapshot().totals.machine_ejections, 0)
  })

  test('a host that falls silent: what it had not accepted goes elsewhere', async () => {
    let time = 0
    const silent = net.createServer(() => {})
    const port = await lab.app((socket) => onRequests(socket, () => socket.write(ok('local'))))
    const machines = [
      ...remote({ port: 80, internalPort: port }),
      { id: 'm2', region: 'lhr', services: [{ port: 80, internalPort: port }] },
    ]
    const index = testView(apps(machines), HOSTS)
    const near = await nearEdge(machines, await lab.server(silent), {
      ...{ index, region: 'nrt', monotonic: () => time },
    })
    const client = lab.client(near.port).send(GET)
    await eventually(() => near.proxy.snapshot().totals.backhaul_requests === 1)
    await new Promise((resolve) => setTimeout(resolve, 50))
    silent.close() // Connections stay open; new ones find nobody.
    index.apply({ t: 'events', revision: 2, events: [['delete', 'host-live/nrt1']] })
    await eventually(() => {
      time += 10
      return client.text.includes('local')
    })
  })

  for (const [name, text] of [
    ['noise', 'hello\r\n\r\n'],
    ['an HTTP request', GET],
    ['a long line', 'F'.repeat(2_000)],
    [
      'a request that an edge would have refused',
      `F1 h hello m1 0 80 1.2.3.4 5 6.7.8.9 80 - iad x\r\nGET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n`,
    ],
  ] as const)
    test(`${name} on the backhaul port ends the connection`, async () => {
      const { far } = await pair(remote({ port: 80, internalPort: 1 }))
      const client = lab.client(far.backhaulPort).send(text)
      await eventually(() => client.closed || client.ended)
      assert.equal(client.text, '')
    })

  for (const app of ['hello', 'unknown'])
    test(`a refused stream of app ${app} whose edge does not go is let go`, async () => {
      const { far } = await pair(remote({ port: 80, internalPort: 1 }))
      const client = lab.client(far.backhaulPort)
      client.send(`F1 t ${app} m9 0 80 1.2.3.4 5 6.7.8.9 80 - iad x\r\n`)
      await client.until(/^-PR02\n$/)
      await client.end()
      assert.equal(client.closed, false)
      // What is sent to a connection that is gone is answered by a reset.
      await eventually(() => {
        client.send('x')
        return client.error !== undefined
      })
    })
})
