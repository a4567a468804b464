import assert from 'node:assert/strict'
import net from 'node:net'
import { afterEach, describe, test } from 'node:test'
import type { EdgeProxyOptions } from '../edge-proxy.ts'
import {
  EJECT_FAILURES_IN_A_ROW,
  EJECT_MS,
  QUEUE_MS,
  RETRIES_FREE_MAX,
  RETRY_BODY_BYTES_MAX,
} from '../limits.ts'
import { type TestMachine, testEndpoint } from '../testing.ts'
import { ADDRESS, eventually, Lab, ok, onRequests, type TestEdge } from '../testing-edge.ts'

const lab = new Lab()
afterEach(() => lab.close())

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'
const withBody = (method: string, body: string) =>
  `${method} / HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n${body}`

const machine = (id: string, internalPort: number, rest: Partial<TestMachine> = {}) => ({
  ...{ id, services: [{ port: 80, internalPort, soft: 1, hard: 1 }], ...rest },
})
/** The last of equal machines is asked first. */
const edgeOf = (machines: TestMachine[], options: Partial<EdgeProxyOptions> = {}) =>
  lab.edge([{ name: 'hello', addresses: [ADDRESS], machines }], { random: () => 0, ...options })
const gauge = (edge: TestEdge, name: string) => edge.proxy.snapshot().gauges[name]!

/** Takes `bytes` of each request, says what it is told to, and breaks off. */
const breaking = (bytes = 1, says = '') =>
  lab.app((socket) => {
    let got = 0
    socket.on('data', (data: Buffer) => {
      got += data.length
      if (got < bytes) return
      socket.write(says)
      setTimeout(() => socket.destroy(), 5)
    })
  })
const echo = () => lab.app((socket) => onRequests(socket, (_, body) => socket.write(ok(body))))

describe('a machine that breaks off before it has answered', () => {
  const big = 'x'.repeat(RETRY_BODY_BYTES_MAX + 1)
  const cases: readonly (readonly [string, string, number, string, boolean])[] = [
    ['GET', GET, 1, '', true],
    ['PUT with a body', withBody('PUT', 'hello'), 1, '', true],
    ['PUT with a large body', withBody('PUT', big.slice(0, -200)), RETRY_BODY_BYTES_MAX, '', true],
    ['PUT with more than is kept', withBody('PUT', big), RETRY_BODY_BYTES_MAX, '', false],
    ['POST', withBody('POST', 'hello'), 1, '', false],
    [
      'a PUT that it asked to go on',
      withBody('PUT', 'x'),
      1,
      'HTTP/1.1 100 Continue\r\n\r\n',
      false,
    ],
    ['a half response head', GET, 1, 'HTTP/1.1 200 O', true],
  ]
  for (const [name, request, bytes, says, repeated] of cases)
    test(`${name}: ${repeated ? 'another gets it whole' : 'not repeated'}`, async () => {
      const edge = await edgeOf([
        machine('good', await echo()),
        machine('odd', await breaking(bytes, says)),
      ])
      const client = lab.client(edge.port).send(request)
      const body = request.slice(request.indexOf('\r\n\r\n') + 4)
      if (repeated) await eventually(() => client.text.endsWith(`\r\n\r\n${body}`))
      else await client.until(/502 Bad Gateway: [\s\S]*\(PU02\)\n$/)
      assert.equal(edge.count('retries'), repeated ? 1 : 0)
      assert.deepEqual(
        edge.logs.map(({ code, machine }) => `${code} ${machine}`),
        ['PU02 odd'],
      )
      assert.equal(gauge(edge, 'retained_body_bytes'), 0)
    })

  test('a request that breaks every machine is not sent to all of them', async () => {
    let asked = 0
    const port = await lab.app((socket) =>
      onRequests(socket, () => {
        asked++
        socket.destroy()
      }),
    )
    const edge = await edgeOf(['a', 'b', 'c', 'd', 'e'].map((id) => machine(id, port)))
    const client = lab.client(edge.port).send(GET)
    await client.until(/502 Bad Gateway: [\s\S]*\(PU02\)\n$/)
    assert.equal(asked, 3)
  })
})

describe('an app most of whose requests fail at first', () => {
  test('has a budget of retries, and then gets each request once', async () => {
    const odd = await breaking()
    const edge = await edgeOf(['a', 'b', 'c', 'd'].map((id) => machine(id, odd)))
    for (let i = 0; i < RETRIES_FREE_MAX / 2 + 5; i++) {
      const text = await lab.client(edge.port).send(GET).until(/\n$/)
      assert.match(text, /^HTTP\/1.1 502 /)
    }
    const spent = edge.limit('retry_budget')
    assert.ok(spent >= 5, `${spent}`)
    assert.ok(edge.logs.some(({ message }) => /^more than 20 % /.test(message)))
  })

  test('a machine that answers errors gets nothing for a while', async () => {
    let time = 1_000_000
    const failing = await lab.app((socket) =>
      onRequests(socket, () => socket.write('HTTP/1.1 500 Oh\r\nContent-Length: 3\r\n\r\nbad')),
    )
    const good = await echo()
    // The first of two equals is not replaced by the second for a random number of 1.
    const edge = await edgeOf([machine('bad', failing), machine('good', good)], {
      ...{ now: () => time, random: () => 1 },
    })
    const client = lab.client(edge.port)
    const statuses: string[] = []
    const ask = async () => {
      client.text = ''
      client.send(GET)
      statuses.push((await client.until(/\r\n\r\n(bad)?$/)).slice(9, 12))
    }
    for (let i = 0; i < EJECT_FAILURES_IN_A_ROW + 3; i++) await ask()
    assert.deepEqual(statuses, [...Array(EJECT_FAILURES_IN_A_ROW).fill('500'), '200', '200', '200'])
    assert.equal(edge.proxy.snapshot().totals.machine_ejections, 1)
    assert.match(edge.logs[0]!.message, /^the machine fails requests: it gets none for 5 s$/)
    time += EJECT_MS
    await ask()
    assert.equal(statuses.at(-1), '500')
  })
})

describe('a machine that is not there for a moment', () => {
  test('refuses connections: the request waits for it when there is no other', async () => {
    const other = new Lab()
    const port = await other.app(() => {})
    other.close()
    const edge = await edgeOf([machine('m', port)])
    const client = lab.client(edge.port).send(withBody('POST', 'hello'))
    await eventually(() => gauge(edge, 'requests_queued') === 1)
    const server = net.createServer((socket) =>
      onRequests(socket, (_, body) => socket.write(ok(body))),
    )
    server.listen(port, '127.0.0.1')
    lab.later(() => server.close())
    await client.until(/200 OK[\s\S]*hello$/)
    assert.equal(edge.logs[0]?.code, 'PC01')
  })

  test('is starting: the request waits until the view says that it has', async () => {
    const port = await echo()
    const edge = await edgeOf([machine('m', port, { state: 'restarting' })])
    const client = lab.client(edge.port).send(GET)
    await eventually(() => gauge(edge, 'requests_queued') === 1)
    const value = testEndpoint('hello', machine('m', port))
    edge.view.apply({ t: 'events', revision: 2, events: [['put', 'endpoint/hello/m', value, 2]] })
    edge.proxy.wake('hello')
    await client.until(/200 OK/)
  })
})

describe('when all are at their hard limit', () => {
  /** An edge whose one slot is taken; `free` gives it back. */
  async function full(options: Partial<EdgeProxyOptions> = {}) {
    const answers: (() => void)[] = []
    const port = await lab.app((socket) =>
      onRequests(socket, (head) =>
        answers.push(() => socket.write(ok(/ (\/\w*)/.exec(head)![1]!))),
      ),
    )
    const edge = await edgeOf([machine('m', port)], options)
    lab.client(edge.port).send(GET)
    await eventually(() => answers.length === 1)
    return { edge, answers }
  }
  const queued = (edge: TestEdge, n: number) =>
    eventually(() => gauge(edge, 'requests_queued') === n)

  test('requests wait in their order, and newcomers do not overtake', async () => {
    const { edge, answers } = await full()
    const done: string[] = []
    for (const [i, path] of ['/a', '/b', '/c'].entries()) {
      const client = lab.client(edge.port).send(GET.replace('/', path))
      client.socket.on('data', () => done.push(path))
      await queued(edge, i + 1)
    }
    for (let i = 0; i < 4; i++) {
      await eventually(() => answers.length === i + 1)
      answers[i]!()
    }
    await eventually(() => done.length === 3)
    assert.deepEqual(done, ['/a', '/b', '/c'])
  })

  for (const how of ['resets', 'closes'] as const)
    test(`a client that ${how} leaves the queue`, async () => {
      const { edge, answers } = await full()
      const gone = lab.client(edge.port).send(GET.replace('/', '/gone'))
      await queued(edge, 1)
      if (how === 'resets') gone.socket.resetAndDestroy()
      else gone.socket.end()
      await queued(edge, 0)
      const next = lab.client(edge.port).send(GET.replace('/', '/next'))
      await queued(edge, 1)
      answers[0]!()
      await eventually(() => answers.length === 2)
      answers[1]!()
      await next.until('/next')
    })

  test('who has waited too long gets 503, and when to come back', async () => {
    let time = 0
    const { edge } = await full({ monotonic: () => time })
    const client = lab.client(edge.port).send(GET)
    await queued(edge, 1)
    time = QUEUE_MS + 1
    const text = await client.until(/\n$/)
    assert.match(text, /^HTTP\/1.1 503 [\s\S]*\r\nRetry-After: 1\r\n[\s\S]*hard limit \(PR04\)\n$/)
    assert.equal(edge.limit('queue_ms'), 1)
    assert.deepEqual(
      edge.logs.map(({ code }) => code),
      ['PR04'],
    )
  })

  test('raw TCP waits too', async () => {
    const sockets: net.Socket[] = []
    const port = await lab.app((socket) => {
      socket.write(`hello ${sockets.push(socket)}`)
      socket.on('end', () => socket.end())
    })
    const services = [{ port: 80, internalPort: port, handlers: [], soft: 1, hard: 1 }]
    const edge = await edgeOf([{ id: 'm', services }])
    const first = lab.client(edge.port)
    await first.until('hello 1')
    const second = lab.client(edge.port)
    await queued(edge, 1)
    first.socket.end()
    await second.until('hello 2')
    assert.equal(sockets.length, 2)
  })
})
