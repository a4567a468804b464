import assert from 'node:assert/strict'
import { afterEach, test } from 'node:test'
import type { ServiceOptions } from '../../model/service-options.ts'
import type { ProxyContext } from '../context.ts'
import { Counters } from '../counters.ts'
import { type TestService, testView } from '../testing.ts'
import { ADDRESS, Lab, ok, onRequests } from '../testing-edge.ts'
import { RateLimiter } from './rate-limiter.ts'
import { newRateMemory, RateTable } from './rate-table.ts'

const lab = new Lab()
afterEach(() => lab.close())

const NONE: ServiceOptions = { rateLimit: null, slowStartMs: null, sticky: null, accessLog: null }
const limits = (perSource: number | null, perService: number | null): ServiceOptions => {
  const rate = (burst: number | null) => (burst === null ? null : { perSecond: 0.5, burst })
  return { ...NONE, rateLimit: { perSource: rate(perSource), perService: rate(perService) } }
}

/** Takes of a service by clients of these addresses, in this order; true: passed. */
function takes(options: ServiceOptions | undefined, ...addresses: string[]) {
  const service: TestService = { port: 80, internalPort: 8080, ...(options && { options }) }
  const view = testView([{ name: 'hello', machines: [{ id: 'm1', services: [service] }] }])
  const route = view.app('hello')!.port('tcp', 80)!
  const counters = new Counters()
  const rates = new RateTable({ memory: newRateMemory(64), now: () => 1 })
  const ctx = { counters, rates } as unknown as ProxyContext
  const passed = addresses.map((address) => RateLimiter.of(ctx, route, address)?.take() === 0)
  return { passed, limits: Object.fromEntries(counters.limits) }
}

test('each source has its own, and an IPv6 network counts as one', () => {
  const { passed, limits: hits } = takes(
    limits(1, null),
    ...['192.0.2.1', '192.0.2.2', '192.0.2.1'],
    ...['2001:db8::1', '2001:db8:0:0:ffff::2', '2001:db8:0:1::1'],
  )
  assert.deepEqual(passed, [true, true, false, true, false, true])
  assert.deepEqual(hits, { rate_per_source: 2 })
})

test('a service has one for all, of which a source over its own takes nothing', () => {
  const { passed, limits: hits } = takes(
    limits(1, 2),
    ...['192.0.2.1', '192.0.2.1', '192.0.2.1', '192.0.2.2', '192.0.2.3'],
  )
  assert.deepEqual(passed, [true, false, false, true, false])
  assert.deepEqual(hits, { rate_per_source: 2, rate_per_service: 1 })
})

test('without limits there is nothing to ask', () => {
  assert.deepEqual(takes(undefined, '192.0.2.1').passed, [false])
  assert.deepEqual(takes(NONE, '192.0.2.1').passed, [false])
})

const edgeOf = async (options: ServiceOptions, service: Partial<TestService> = {}) => {
  const internalPort = await lab.app((socket) => onRequests(socket, () => socket.write(ok('hi'))))
  const services = [{ port: 80, internalPort, options, ...service }]
  const app = { name: 'hello', addresses: [ADDRESS], machines: [{ id: 'm1', services }] }
  const time = { now: 0 }
  const edge = await lab.edge([app], { monotonic: () => time.now })
  return { edge, time }
}
const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'

test('HTTP is answered 429 on the same connection, and told when to come again', async () => {
  const { edge, time } = await edgeOf(limits(2, null))
  const client = lab.client(edge.port)
  const ask = async () => {
    client.text = ''
    client.send(GET)
    return client.until(/hi$|\n$/)
  }
  assert.match(await ask(), /^HTTP\/1.1 200/)
  assert.match(await ask(), /^HTTP\/1.1 200/)
  const refused = await ask()
  assert.match(refused, /^HTTP\/1.1 429 Too Many Requests\r\n[\s\S]*\r\nRetry-After: 2\r\n/)
  assert.match(refused, /\(PL02\)\n$/)
  time.now += 2_000
  assert.match(await ask(), /^HTTP\/1.1 200/)
  assert.equal(edge.limit('rate_per_source'), 1)
  assert.equal(edge.error('PL02'), 1)
  assert.deepEqual(
    edge.logs.map(({ code }) => code),
    ['PL02'],
  )
})

test('a raw TCP connection is reset', async () => {
  const { edge } = await edgeOf(limits(null, 1), { handlers: [] })
  const first = lab.client(edge.port).send(GET)
  await first.until('hi')
  const second = lab.client(edge.port).send(GET)
  assert.equal(await second.end(), '')
  assert.equal(edge.error('PL01'), 1)
})
