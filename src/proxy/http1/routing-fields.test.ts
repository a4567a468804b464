import assert from 'node:assert/strict'
import { afterEach, describe, test } from 'node:test'
import type { EdgeProxyOptions } from '../edge-proxy.ts'
import { ROUTING_VALUE_BYTES_MAX } from '../limits.ts'
import type { TestMachine } from '../testing.ts'
import { ADDRESS, eventually, Lab, ok, onRequests } from '../testing-edge.ts'

const lab = new Lab()
afterEach(() => lab.close())

const HOSTS = [
  { id: 'iad1', region: 'iad', index: 1 },
  { id: 'lhr1', region: 'lhr', index: 2 },
]
/** Each answers with its own name and the request's head. */
const named = (name: string) =>
  lab.app((socket) => onRequests(socket, (head) => socket.write(ok(`${name}\n${head}`))))
const machine = async (id: string, rest: Partial<TestMachine> = {}, service = {}) => ({
  ...{ id, ...rest },
  services: [{ port: 80, internalPort: await named(id), ...service }],
})
const edgeOf = (machines: TestMachine[], options: Partial<EdgeProxyOptions> = {}) =>
  lab.edge([{ name: 'hello', addresses: [ADDRESS], machines }], { hosts: HOSTS, ...options })

async function ask(port: number, ...fields: string[]): Promise<string> {
  const client = lab.client(port)
  client.send(`GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${fields.join('\r\n')}\r\n\r\n`)
  return client.end()
}

describe('routing headers', () => {
  test('R29, H9: the preferred machine, else another that is told', async () => {
    const edge = await edgeOf([await machine('m1'), await machine('m2')])
    for (const id of ['m1', 'm2', 'm1', 'm2']) {
      const text = await ask(edge.port, `Fly-Prefer-Instance-Id: ${id}`)
      assert.match(text, new RegExp(`\\r\\n\\r\\n${id}\\n`))
      assert.ok(!text.includes('Unavailable'))
      assert.match(text, new RegExp(`\\r\\nFly-Prefer-Instance-Id: ${id}\\r\\n`), 'the app sees it')
    }
    const other = await ask(edge.port, 'fly-prefer-instance-id: m3')
    assert.match(other, /\r\nFly-Preferred-Instance-Unavailable: m3\r\n/)
  })

  test('a client cannot assert H9 itself', async () => {
    const edge = await edgeOf([await machine('m1')])
    const text = await ask(edge.port, 'Fly-Preferred-Instance-Unavailable: m9')
    assert.ok(!text.includes('m9'))
  })

  test('R30: a machine whose checks fail, and none beside it', async () => {
    const edge = await edgeOf([await machine('m1'), await machine('m2', {}, { healthy: false })])
    assert.match(await ask(edge.port, 'Fly-Force-Instance-Id: m2'), /\r\n\r\nm2\n/)
    const none = await ask(edge.port, 'Fly-Force-Instance-Id: m3')
    assert.match(none, /^HTTP\/1.1 503 .*\r\n[\s\S]*asks for machine m3 only \(PR04\)\n$/)
    assert.deepEqual(
      edge.logs.map(({ message }) => message.includes('m3')),
      [false],
      'what a client says does not fill the log',
    )
  })

  test('R30: a machine that does not listen is tried again for a while', async () => {
    const edge = await edgeOf([
      await machine('m1'),
      { id: 'm2', services: [{ port: 80, internalPort: 1 }] },
    ])
    const text = await ask(edge.port, 'Fly-Force-Instance-Id: m2')
    assert.match(text, /^HTTP\/1.1 502 [\s\S]*asks for machine m2 only \(PC01\)\n$/)
    assert.ok(edge.proxy.snapshot().totals.upstream_connects! > 3)
  })

  test('R28: no machine of the region', async () => {
    const edge = await edgeOf([await machine('m1')])
    assert.match(await ask(edge.port, 'Fly-Force-Region: us'), /\r\n\r\nm1\n/)
    const text = await ask(edge.port, 'Fly-Force-Region: lhr,xyz')
    assert.match(text, /^HTTP\/1.1 503 [\s\S]*asks for region lhr only \(PR04\)\n$/)
  })

  for (const [field, reason] of [
    ['Fly-Force-Region: xyz', 'Fly-Force-Region "xyz" names no region that there is'],
    ['Fly-Force-Region: \xff<script>"', 'Fly-Force-Region "??script??" names no region'],
    [`Fly-Force-Region: ${'iad,'.repeat(ROUTING_VALUE_BYTES_MAX)}`, 'Fly-Force-Region "iad,'],
    ['Fly-Force-Instance-Id: ../m1', 'Fly-Force-Instance-Id "../m1" names no id'],
    ['Fly-Force-Instance-Id: m1\r\nFly-Force-Instance-Id: m2', '"m1,m2" names no id'],
  ] as const)
    test(`400: ${field.slice(0, 40)}`, async () => {
      const edge = await edgeOf([await machine('m1')])
      const text = await ask(edge.port, field)
      assert.match(text, /^HTTP\/1.1 400 /)
      assert.ok(text.includes(reason), text)
    })

  test('a preference that cannot be read is left aside', async () => {
    const edge = await edgeOf([await machine('m1')])
    for (const field of [
      'Fly-Prefer-Region: xyz',
      'Fly-Prefer-Region:',
      'Fly-Prefer-Instance-Id: a b',
      'Fly-Prefer-Instance-Id: m1\r\nFly-Prefer-Instance-Id: m2',
      `Fly-Prefer-Region: ${'x'.repeat(ROUTING_VALUE_BYTES_MAX + 1)}`,
    ]) {
      const text = await ask(edge.port, field)
      assert.match(text, /\r\n\r\nm1\n/)
      assert.ok(!text.includes('Unavailable'))
    }
    assert.equal(edge.limit('routing_value_bytes'), 1)
  })

  test('one who waits for a full machine holds up nobody else', async () => {
    const held: (() => void)[] = []
    const slow = await lab.app((socket) =>
      onRequests(socket, () => held.push(() => socket.write(ok('slow')))),
    )
    const services = (internalPort: number, hard: number | null) => [
      { port: 80, internalPort, soft: 1, hard },
    ]
    const edge = await edgeOf([
      { id: 'm1', services: services(slow, 1) },
      { id: 'm2', services: services(await named('m2'), null) },
    ])
    const forced = 'GET / HTTP/1.1\r\nHost: a\r\nFly-Force-Instance-Id: m1\r\n\r\n'
    lab.client(edge.port).send(forced)
    await eventually(() => held.length === 1)
    const waiting = lab.client(edge.port).send(forced)
    await eventually(() => edge.proxy.snapshot().gauges.requests_queued === 1)
    assert.match(await ask(edge.port), /\r\n\r\nm2\n/)
    assert.equal(waiting.text, '')
    held[0]!()
    await eventually(() => held.length === 2)
    held[1]!()
    await waiting.until('slow')
  })
})
