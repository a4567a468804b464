import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DEFAULT_WORLD, parseDescription } from './description.ts'
import { planWorld } from './plan.ts'

const big = parseDescription({
  regions: ['iad', 'lhr', 'nrt', 'syd', 'gru'].map((code) => ({
    code,
    name: code,
    latitude: 0,
    longitude: 0,
    geoRegion: 'europe',
    hosts: 8,
  })),
})

test('the default world has the places that the README names', () => {
  const names = planWorld(DEFAULT_WORLD).places.map((p) => p.name)
  for (const place of [
    'router-iad',
    'router-lhr',
    'router-nrt',
    'host-iad1',
    'host-iad2',
    'host-lhr1',
    'host-nrt1',
    'client-iad',
    'client-lhr',
    'client-nrt',
    'internet',
    'resolver',
    'control',
  ]) {
    assert.ok(names.includes(place), place)
  }
})

for (const [name, world] of [
  ['default', DEFAULT_WORLD],
  ['five regions of eight hosts', big],
] as const) {
  test(`${name}: no address, no device of a place and no host index twice`, () => {
    const plan = planWorld(world)
    const ends = plan.wires.flatMap((w) => [w.a, w.b])
    const unique = (values: string[]) => assert.equal(new Set(values).size, values.length)
    unique(ends.map((e) => e.v4))
    unique(ends.map((e) => e.v6))
    unique(ends.map((e) => `${e.place}/${e.device}`))
    unique(plan.hosts.map((h) => String(h.index)))
    unique(plan.routers.map((r) => String(r.as)))
    for (const end of ends) assert.ok(end.device.length <= 15, end.device)
  })

  test(`${name}: BGP sessions are the same seen from both ends`, () => {
    const plan = planWorld(world)
    for (const router of plan.routers) {
      for (const peer of router.peers.filter((p) => p.kind === 'router')) {
        const other = plan.routers.find((r) => r.as === peer.remoteAs)!
        const back = other.peers.find((p) => p.remoteV4 === peer.localV4)!
        assert.equal(back.localV4, peer.remoteV4)
        assert.equal(back.remoteAs, router.as)
        assert.equal(back.distanceMs, peer.distanceMs)
      }
    }
  })
}

test('a description that is wrong names the field', () => {
  assert.throws(
    () => parseDescription({ announce: ['203.0.113.0/40'] }),
    /announce\.0: not a prefix/,
  )
  assert.throws(
    () => parseDescription({ regions: [{ ...DEFAULT_WORLD.regions[0], hosts: 99 }] }),
    /regions\.0\.hosts/,
  )
})
