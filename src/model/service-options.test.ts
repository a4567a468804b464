import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { extensionProblems, type ServiceExtension, serviceOptions } from './service-options.ts'

const HTTP = { udp: false, http: true }
const said = (extension: ServiceExtension, kind = HTTP) =>
  extensionProblems(extension, kind).map(({ path, message }) => `${path.join('.')}: ${message}`)

const all: ServiceExtension = {
  rate_limit: {
    per_source: { requests_per_second: 10, burst: 20 },
    per_service: { requests_per_second: 0.5 },
  },
  slow_start: '30s',
  sticky: { cookie: 'where', ttl: '1h' },
  access_log: { sample_rate: 0.1, query: true },
}

test('what is asked for, as edges read it', () => {
  assert.deepEqual(said(all), [])
  assert.deepEqual(serviceOptions(all), {
    rateLimit: {
      perSource: { perSecond: 10, burst: 20 },
      perService: { perSecond: 0.5, burst: 1 },
    },
    slowStartMs: 30_000,
    sticky: { cookie: 'where', ttlSeconds: 3_600 },
    accessLog: { sampleRate: 0.1, query: true },
  })
  assert.equal(serviceOptions(undefined), null)
  assert.deepEqual(serviceOptions({ sticky: {}, slow_start: '0s', access_log: {} }), {
    ...{ rateLimit: null, slowStartMs: 0, accessLog: { sampleRate: 1, query: false } },
    sticky: { cookie: 'fairway-machine', ttlSeconds: null },
  })
})

describe('what is wrong is named', () => {
  const rate = (requests_per_second: number, burst?: number): ServiceExtension => ({
    rate_limit: { per_source: { requests_per_second, ...(burst !== undefined && { burst }) } },
  })
  const cases: readonly (readonly [ServiceExtension, string])[] = [
    [{ rate_limit: {} }, 'rate_limit: names no limit'],
    [{ access_log: { sample_rate: 10 } }, 'access_log.sample_rate: 10 is not a share'],
    [rate(0), 'rate_limit.per_source.requests_per_second: 0 is out of range'],
    [rate(-1), 'rate_limit.per_source.requests_per_second: -1 is out of range'],
    [rate(1e9), 'rate_limit.per_source.requests_per_second: 1000000000 is out of range'],
    [rate(Number.NaN), 'rate_limit.per_source.requests_per_second: NaN is out of range'],
    [rate(1, 0), 'rate_limit.per_source.burst: 0 is out of range'],
    [rate(1, 1.5), 'rate_limit.per_source.burst: 1.5 is out of range'],
    [
      rate(1, 5_000),
      'rate_limit.per_source.burst: 5000 at 1 a second takes more than an hour to come back',
    ],
    [{ slow_start: '2h' }, 'slow_start: "2h" is not a duration of that range'],
    [{ slow_start: 'soon' }, 'slow_start: "soon" is not a duration of that range'],
    [{ sticky: { cookie: 'a b' } }, 'sticky.cookie: "a b" is not a cookie\'s name'],
    [{ sticky: { cookie: '' } }, 'sticky.cookie: "" is not a cookie\'s name'],
    [{ sticky: { cookie: '__Host-x' } }, 'sticky.cookie: "__Host-x" has a prefix that needs https'],
    [{ sticky: { ttl: '10ms' } }, 'sticky.ttl: "10ms" is not a duration of that range'],
    [{ stiky: {} } as ServiceExtension, 'stiky: is not known'],
    [{ sticky: { name: 'x' } }, 'sticky.name: is not known'],
    [
      { rate_limit: { per_source: { requests_per_second: 1, brust: 2 } } },
      'rate_limit.per_source.brust: is not known',
    ],
  ]
  for (const [extension, expected] of cases)
    test(expected, () => assert.deepEqual(said(extension), [expected]))

  test('what needs a handler, or TCP', () => {
    assert.deepEqual(said({ sticky: {} }, { udp: false, http: false }), [
      'sticky: needs the http handler',
    ])
    assert.deepEqual(said(all, { udp: true, http: true }), [': has no effect on a udp service'])
  })
})
