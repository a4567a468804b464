import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { Address, App, Endpoint, EndpointService } from '../model/resources.ts'
import { EXPLAIN_GRANTS_PER_APP_MAX } from '../model/resources.ts'
import type { FeedEvent, FeedLine } from '../model/wire.ts'
import { DISTANCE_UNKNOWN_MS, EdgeIndex } from './edge-index.ts'
import type { EdgeView } from './edge-view.ts'
import { PROBLEMS_MAX } from './resource-events.ts'

const app = (name: string, more: Partial<App> = {}): App => ({
  ...{ id: name, numericId: 1, name, org: 'personal', network: 'default', networkId: 1 },
  ...{ sharedV4: null, status: 'deployed', createdAt: '', releaseSplit: null },
  ...more,
})

const address = (text: string, owner: string | null, more: Partial<Address> = {}): Address => ({
  ...{ id: text, address: text, kind: 'v6', state: 'attached', org: 'personal', app: owner },
  ...{ network: null, region: 'global', serviceName: null, createdAt: '' },
  quarantinedUntilMs: null,
  ...more,
})

type Ports = EndpointService['ports'][number]

const ports = (start: number, end = start, more: Partial<Ports> = {}): Ports => ({
  ...{ start, end, handlers: ['http'], forceHttps: false, httpOptions: null, tlsOptions: null },
  proxyProtoVersion: 'v1',
  ...more,
})

const service = (list: Ports[], more: Partial<EndpointService> = {}): EndpointService => ({
  ...{
    protocol: 'tcp',
    internalPort: 8080,
    ports: list,
    autostart: true,
    load: 0,
    healthy: true,
    upSinceMs: null,
    options: null,
  },
  concurrency: { type: 'connections', soft: 20, hard: null },
  ...more,
})

const endpoint = (owner: string, machine: string, more: Partial<Endpoint> = {}): Endpoint => ({
  ...{ machine, app: owner, host: 'iad1', region: 'iad', group: 'app', v4: '172.16.0.2' },
  release: null,
  ...{ v6: 'fdaa:0:1:a7b:1:0:1:2', state: 'started', cordoned: false },
  services: [service([ports(80)])],
  ...more,
})

const put = (key: string, value: unknown): FeedEvent => ['put', key, value, 1]
const events = (revision: number, ...list: FeedEvent[]): FeedLine => ({
  ...{ t: 'events', revision },
  events: list,
})

/** An index whose state came as one snapshot at revision 1. */
function indexOf(...list: FeedEvent[]): EdgeIndex {
  const index = new EdgeIndex()
  index.apply({ t: 'snapshot' })
  index.apply(events(1, ...list))
  index.apply({ t: 'synced', revision: 1 })
  return index
}

test('an address leads to its app, in any spelling; parked and unknown ones to nobody', () => {
  const index = indexOf(
    put('app/hello', app('hello')),
    put('address/2001:db8:1::5', address('2001:db8:1::5', 'hello')),
    put(
      'address/203.0.113.1',
      address('203.0.113.1', null, { kind: 'shared_v4', state: 'shared' }),
    ),
    put('address/203.0.113.9', address('203.0.113.9', null, { kind: 'v4', state: 'parked' })),
    put('address/203.0.113.8', address('203.0.113.8', 'none', { kind: 'v4' })),
  )
  const owner = index.address('2001:DB8:1:0::5')
  assert.equal(owner?.kind === 'app' && owner.app.name, 'hello')
  assert.deepEqual(index.address('::ffff:203.0.113.1'), { kind: 'shared', address: '203.0.113.1' })
  for (const nobody of ['203.0.113.9', '203.0.113.8', '203.0.113.7', 'x'])
    assert.equal(index.address(nobody), undefined)
})

test('attach moves an address in one step and names both apps', () => {
  const index = indexOf(
    put('app/a', app('a')),
    put('app/b', app('b')),
    put('address/203.0.113.9', address('203.0.113.9', 'a', { kind: 'v4' })),
  )
  const changed = index.apply(
    events(2, put('address/203.0.113.9', address('203.0.113.9', 'b', { kind: 'v4' }))),
  )
  assert.deepEqual([...changed].sort(), ['a', 'b'])
  const owner = index.address('203.0.113.9')
  assert.equal(owner?.kind === 'app' && owner.app.name, 'b')
  assert.equal(index.revision, 2)
})

test('ports: single, ranges, overlaps, protocols, default deny', () => {
  const index = indexOf(
    put('app/p', app('p')),
    put(
      'endpoint/p/m1',
      endpoint('p', 'm1', { services: [service([ports(80), ports(1, 65535)])] }),
    ),
    put('endpoint/p/m2', endpoint('p', 'm2', { services: [service([ports(8000, 8010)])] })),
    put('app/q', app('q')),
    put('endpoint/q/m3', endpoint('q', 'm3', { services: [service([ports(443)])] })),
  )
  const machines = (name: string, port: number, protocol: 'tcp' | 'udp' = 'tcp') =>
    index
      .app(name)!
      .port(protocol, port)
      ?.candidates.map((c) => c.endpoint.machine)
  assert.deepEqual(machines('p', 80), ['m1'])
  assert.deepEqual(machines('p', 8000), ['m1', 'm2'])
  assert.deepEqual(machines('p', 8010), ['m1', 'm2'])
  assert.deepEqual(machines('p', 8011), ['m1'])
  assert.equal(index.app('p')!.port('tcp', 8005)!.port, 8005)
  assert.equal(index.app('p')!.port('tcp', 60_000)!.port, 60_000)
  assert.equal(machines('p', 80, 'udp'), undefined)
  assert.equal(machines('q', 442), undefined)
  assert.equal(machines('q', 444), undefined)
  assert.equal(machines('q', 0), undefined)
})

test('a port exposed twice by one machine has it as one candidate, by its first service', () => {
  const services = [service([ports(9)], { internalPort: 1 }), service([ports(9)])]
  const index = indexOf(
    put('app/p', app('p')),
    put('endpoint/p/m', endpoint('p', 'm', { services })),
  )
  const candidates = index.app('p')!.port('tcp', 9)!.candidates
  assert.deepEqual(
    candidates.map((c) => c.service),
    [0],
  )
})

test('mixed settings: those of most machines that serve', () => {
  const tls = service([ports(443, 443, { handlers: ['tls', 'http'] })])
  const plain = service([ports(443)])
  const index = indexOf(
    put('app/p', app('p')),
    put('endpoint/p/m1', endpoint('p', 'm1', { services: [plain], state: 'stopped' })),
    put('endpoint/p/m2', endpoint('p', 'm2', { services: [plain], cordoned: true })),
    put('endpoint/p/m3', endpoint('p', 'm3', { services: [tls] })),
  )
  const route = index.app('p')!.port('tcp', 443)!
  assert.deepEqual(route.handlers, ['tls', 'http'])
  assert.equal(route.candidates.length, 3)
})

test('what a service and its app ask for stands in the route', () => {
  const options = { rateLimit: null, slowStartMs: 5, sticky: null, accessLog: null }
  const up = (upSinceMs: number | null, more: Partial<EndpointService> = {}) => ({
    services: [service([ports(80)], { upSinceMs, ...more })],
  })
  const releaseSplit = [{ version: 1, weight: 2 }]
  const index = indexOf(
    put('app/a', app('a', { releaseSplit })),
    put('endpoint/a/m1', endpoint('a', 'm1', up(7, { options }))),
    put('endpoint/a/m2', endpoint('a', 'm2', up(null))),
    put('endpoint/a/m3', endpoint('a', 'm3', up(9, { options }))),
  )
  const { split, options: read, upSinceMsMax } = index.app('a')!.port('tcp', 80)!
  assert.deepEqual(
    { split, read, upSinceMsMax },
    { split: releaseSplit, read: options, upSinceMsMax: 9 },
  )
  index.apply(events(2, put('endpoint/a/m3', endpoint('a', 'm3', up(null)))))
  assert.deepEqual(index.app('a')!.port('tcp', 80)!.options, null, 'as most of them want')
})

test('readers keep what they hold; a change makes new routes of that app alone', () => {
  const index = indexOf(
    put('app/a', app('a')),
    put('app/b', app('b')),
    put('endpoint/a/m', endpoint('a', 'm')),
  )
  const [a, b] = [index.app('a')!, index.app('b')!]
  assert.equal(index.app('a'), a)
  const changed = index.apply(events(2, put('endpoint/a/m2', endpoint('a', 'm2'))))
  assert.deepEqual(changed, ['a'])
  assert.equal(a.port('tcp', 80)!.candidates.length, 1)
  assert.equal(index.app('a')!.port('tcp', 80)!.candidates.length, 2)
  assert.equal(index.app('b'), b)
})

test('machines that an app of the name had in another network are not the app’s', () => {
  const index = indexOf(
    put('app/a', app('a', { networkId: 0x10002 })),
    put('endpoint/a/m1', endpoint('a', 'm1')),
    put('endpoint/a/m2', endpoint('a', 'm2', { v6: 'fdaa:1:2:a7b:1:0:1:2' })),
    put('endpoint/a/m3', endpoint('a', 'm3', { v6: 'fdaa:1:20:a7b:1:0:1:2' })),
  )
  const machines = () => index.app('a')!.endpoints.map(({ machine }) => machine)
  assert.deepEqual(machines(), ['m2'])
  assert.equal(index.app('a')!.port('tcp', 80)!.candidates.length, 1)
  index.apply(events(2, put('app/a', app('a'))))
  assert.deepEqual(machines(), ['m1'])
})

test('a snapshot is shown when it is complete, and not before', () => {
  const index = indexOf(put('app/old', app('old')))
  index.apply({ t: 'snapshot' })
  index.apply(events(7, put('app/new', app('new'))))
  assert.ok(index.app('old'))
  assert.equal(index.app('new'), undefined)
  assert.equal(index.revision, 1)
  assert.deepEqual([...index.apply({ t: 'synced', revision: 7 })].sort(), ['new', 'old'])
  assert.equal(index.app('old'), undefined)
  assert.ok(index.app('new'))
  assert.equal(index.revision, 7)
})

test('a snapshot begun anew forgets the unfinished one', () => {
  const index = indexOf()
  index.apply({ t: 'snapshot' })
  index.apply(events(7, put('app/half', app('half'))))
  index.apply({ t: 'snapshot' })
  index.apply({ t: 'synced', revision: 8 })
  assert.equal(index.app('half'), undefined)
})

test('a resource that cannot be read becomes a problem; the version before it stays', () => {
  const index = indexOf(put('app/a', app('a')), put('endpoint/a/m', endpoint('a', 'm')))
  index.apply(events(2, put('endpoint/a/m', { machine: 'm', services: 'no' })))
  index.apply(events(3, put('app/b', { ...app('b'), networkId: 'x' }), put('app/c', app('d'))))
  assert.equal(index.app('a')!.endpoints.length, 1)
  assert.equal(index.app('b'), undefined)
  assert.equal(index.app('c'), undefined)
  assert.deepEqual(
    index.problems().map((p) => p.key),
    ['endpoint/a/m', 'app/b', 'app/c'],
  )
  assert.match(index.problems()[1]!.message, /networkId/)
  index.apply(events(4, put('app/b', app('b')), ['delete', 'app/c']))
  index.apply(events(5, ['delete', 'endpoint/a/m']))
  assert.deepEqual(index.problems(), [])
  const bad = Array.from({ length: 500 }, (_, i) => put(`app/x${i}`, null))
  index.apply(events(6, ...bad))
  assert.equal(index.problems().length, PROBLEMS_MAX)
})

test('hosts, their life and distances', () => {
  const host = { id: 'iad1', region: 'iad', index: 3, underlayV4: '', underlayV6: '' }
  const region = { name: '', latitude: 0, longitude: 0, geoRegion: '' }
  const index = indexOf(
    put('host/iad1', { ...host, meshPublicKey: null }),
    put('host-live/iad1', { id: 'iad1', since: '' }),
    put('region/iad', { ...region, code: 'iad', distancesMs: { lhr: 76 } }),
    put('region/lhr', { ...region, code: 'lhr', distancesMs: {} }),
  )
  const route = { id: 'iad1', region: 'iad', meshAddress: 'fdaa:0:0:3::1' }
  assert.deepEqual(index.host('iad1'), { ...route, live: true })
  index.apply(events(2, ['delete', 'host-live/iad1']))
  assert.deepEqual(index.host('iad1'), { ...route, live: false })
  assert.equal(index.region('lhr')?.code, 'lhr')
  assert.equal(index.region('nrt'), undefined)
  assert.equal(index.distanceMs('iad', 'lhr'), 76)
  assert.equal(index.distanceMs('lhr', 'iad'), 76)
  assert.equal(index.distanceMs('nrt', 'nrt'), 0)
  assert.equal(index.distanceMs('iad', 'nrt'), DISTANCE_UNKNOWN_MS)
})

test('one change costs the size of its app, not the number of apps', () => {
  const many: FeedEvent[] = []
  for (let i = 0; i < 5_000; i++)
    many.push(put(`app/a${i}`, app(`a${i}`)), put(`endpoint/a${i}/m`, endpoint(`a${i}`, 'm')))
  const index = indexOf(...many)
  const held = Array.from({ length: 5_000 }, (_, i) => index.app(`a${i}`))
  index.apply(events(2, put('endpoint/a7/m', endpoint('a7', 'm', { state: 'stopped' }))))
  const kept = held.filter((routes, i) => index.app(`a${i}`) === routes)
  assert.equal(kept.length, 4_999)
})

// Any history against its last values put into an empty index.

const NAMES = ['a', 'b', 'c']
const ADDRESSES = ['2001:db8::1', '203.0.113.5', '203.0.113.1']
const MACHINES = ['m1', 'm2', 'm3']
const SAMPLE_PORTS = [0, 1, 79, 80, 81, 443, 999, 1000, 1500, 2000, 2001, 40_000, 65_535]

const arbPorts = fc
  .tuple(fc.constantFrom(80, 443, 1000), fc.constantFrom(0, 1, 1000), fc.boolean())
  .map(([start, more, forceHttps]) => ports(start, start + more, { forceHttps }))
const arbService = fc
  .tuple(
    fc.constantFrom('tcp', 'udp') as fc.Arbitrary<'tcp' | 'udp'>,
    fc.array(arbPorts, { maxLength: 3 }),
  )
  .map(([protocol, list]) => service(list, { protocol }))
const arbEvent: fc.Arbitrary<FeedEvent> = fc.oneof(
  fc
    .tuple(fc.constantFrom(...NAMES), fc.constantFrom(null, ADDRESSES[2]!))
    .map(([name, sharedV4]) => put(`app/${name}`, app(name, { sharedV4 }))),
  fc
    .tuple(
      fc.constantFrom(...ADDRESSES),
      fc.constantFrom(null, ...NAMES),
      fc.constantFrom('attached', 'parked', 'quarantined', 'shared') as fc.Arbitrary<
        Address['state']
      >,
    )
    .map(([text, owner, state]) => put(`address/${text}`, address(text, owner, { state }))),
  fc
    .tuple(
      fc.constantFrom(...NAMES),
      fc.constantFrom(...MACHINES),
      fc.array(arbService, { maxLength: 2 }),
      fc.constantFrom('started', 'stopped'),
    )
    .map(([name, machine, services, state]) =>
      put(`endpoint/${name}/${machine}`, endpoint(name, machine, { services, state })),
    ),
  fc
    .oneof(
      fc.constantFrom(...NAMES).map((name) => `app/${name}`),
      fc.constantFrom(...ADDRESSES).map((text) => `address/${text}`),
      fc
        .tuple(fc.constantFrom(...NAMES), fc.constantFrom(...MACHINES))
        .map(([name, machine]) => `endpoint/${name}/${machine}`),
    )
    .map((key): FeedEvent => ['delete', key]),
)

const dump = (view: EdgeView) => ({
  addresses: ADDRESSES.map((text) => {
    const owner = view.address(text)
    return owner?.kind === 'app' ? `app ${owner.app.name}` : owner?.address
  }),
  apps: NAMES.map((name) => {
    const routes = view.app(name)
    if (!routes) return null
    const { org, networkId, sharedV4, endpoints } = routes
    const table = SAMPLE_PORTS.flatMap((port) => [
      routes.port('tcp', port) ?? null,
      routes.port('udp', port) ?? null,
    ])
    return { name, org, networkId, sharedV4, endpoints, table }
  }),
})

test('tokens for explanations are those of the app, and change none of its routes', () => {
  const grant = (id: string, owner = 'a') => ({
    ...{ id, app: owner, org: 'personal', hash: '0'.repeat(64), expiresAtMs: 1 },
  })
  const put = (id: string, owner = 'a', value: object = grant(id, owner)): FeedEvent => [
    ...(['put', `explain/${owner}/${id}`, value, 1] as const),
  ]
  const index = indexOf(['put', 'app/a', app('a'), 1], put('g1'), put('g2'), put('g3', 'b'))
  const routes = index.app('a')
  const ids = (name: string) => index.explainGrants(name).map(({ id }) => id)
  assert.deepEqual([ids('a'), ids('b'), ids('c')], [['g1', 'g2'], ['g3'], []])
  assert.deepEqual(index.apply(events(2, ['delete', 'explain/a/g1'])), [])
  assert.deepEqual(ids('a'), ['g2'])
  assert.equal(index.app('a'), routes)
  index.apply(events(3, put('g4', 'a', grant('g4', 'b')), put('g5', 'a', { hash: 'x' })))
  assert.deepEqual([ids('a'), index.problems().length], [['g2'], 2])
  const many = Array.from({ length: 2 * EXPLAIN_GRANTS_PER_APP_MAX }, (_, i) => put(`x${i}`))
  index.apply(events(4, ...many))
  assert.equal(ids('a').length, EXPLAIN_GRANTS_PER_APP_MAX)
  assert.equal(ids('a').at(-1), `x${many.length - 1}`)
})

test('property: any history ends in the view of its last values', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.array(arbEvent, { maxLength: 5 }), fc.boolean()), { maxLength: 15 }),
      (batches) => {
        const index = new EdgeIndex()
        const last = new Map<string, FeedEvent>()
        let revision = 0
        for (const [batch, snapshot] of batches) {
          revision += 1
          for (const event of batch) last.set(event[1], event)
          dump(index) // Everything that readers may have cached is cached.
          if (!snapshot) {
            index.apply(events(revision, ...batch))
            continue
          }
          index.apply({ t: 'snapshot' })
          for (const event of last.values()) index.apply(events(revision, event))
          index.apply({ t: 'synced', revision })
        }
        const puts = [...last.values()].filter((event) => event[0] === 'put')
        assert.deepEqual(dump(index), dump(indexOf(...puts)))
        assert.equal(index.revision, revision)
        assert.deepEqual(index.problems(), [])
      },
    ),
    { numRuns: 300 },
  )
})
