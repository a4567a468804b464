import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { FeedEvent, FeedLine } from '../model/wire.ts'
import { ZoneIndex } from './zone-view.ts'

const app = (name: string, sharedV4: string | null): FeedEvent => [
  'put',
  `app/${name}`,
  {
    ...{ id: name, numericId: 1, name, org: 'personal', network: 'default', networkId: 1 },
    ...{ sharedV4, status: 'deployed', createdAt: '' },
  },
  1,
]

const address = (text: string, owner: string | null, kind: string, state = 'attached') =>
  [
    'put',
    `address/${text}`,
    {
      ...{ id: text, address: text, kind, state, org: 'personal', app: owner, network: null },
      ...{ region: 'global', serviceName: null, createdAt: '', quarantinedUntilMs: null },
    },
    1,
  ] satisfies FeedEvent

const events = (revision: number, ...list: FeedEvent[]): FeedLine => ({
  ...{ t: 'events', revision },
  events: list,
})

test('dedicated addresses first, then the shared one; private and parked ones never', () => {
  const zone = new ZoneIndex()
  zone.apply(
    events(
      1,
      app('hello', '203.0.113.1'),
      address('203.0.113.20', 'hello', 'v4'),
      address('2001:db8::7', 'hello', 'v6'),
      address('fdaa:0:1:0:1::2', 'hello', 'private_v6'),
      address('203.0.113.21', null, 'v4', 'parked'),
      address('203.0.113.22', 'hello', 'v4', 'quarantined'),
    ),
  )
  assert.deepEqual(zone.app('hello'), {
    a: ['203.0.113.20', '203.0.113.1'],
    aaaa: ['2001:db8::7'],
  })
})

test('no such app is undefined; an app without addresses has empty lists', () => {
  const zone = new ZoneIndex()
  zone.apply(events(1, app('bare', null)))
  assert.equal(zone.app('other'), undefined)
  assert.deepEqual(zone.app('bare'), { a: [], aaaa: [] })
})

test('an address that moves changes both names; deletion ends them', () => {
  const zone = new ZoneIndex()
  zone.apply(events(1, app('a', null), app('b', null), address('203.0.113.20', 'a', 'v4')))
  assert.deepEqual(zone.app('a')!.a, ['203.0.113.20'])
  const changed = zone.apply(events(2, address('203.0.113.20', 'b', 'v4')))
  assert.deepEqual([...changed].sort(), ['a', 'b'])
  assert.deepEqual(zone.app('a')!.a, [])
  assert.deepEqual(zone.app('b')!.a, ['203.0.113.20'])
  zone.apply(events(3, ['delete', 'address/203.0.113.20'], ['delete', 'app/a']))
  assert.deepEqual(zone.app('b')!.a, [])
  assert.equal(zone.app('a'), undefined)
})

test('a snapshot replaces the zone when it is complete', () => {
  const zone = new ZoneIndex()
  zone.apply(events(1, app('a', null)))
  zone.apply({ t: 'snapshot' })
  zone.apply(events(2, app('b', null)))
  assert.ok(zone.app('a'))
  zone.apply({ t: 'synced', revision: 2 })
  assert.equal(zone.app('a'), undefined)
  assert.ok(zone.app('b'))
})
