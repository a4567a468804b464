import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import { beforeEach, test } from 'node:test'
import fc from 'fast-check'
import { keys } from '../../model/keys.ts'
import { EGRESS_SLOTS, type EgressBlock, type EgressPair } from '../../model/resources.ts'
import { createApp, deleteApp } from '../apps.ts'
import type { ControlConfig } from '../config.ts'
import { maintain } from '../maintenance.ts'
import { createOrg } from '../orgs.ts'
import { openSecrets, SECRETS_PER_APP_MAX, setSecrets } from '../secrets.ts'
import { type TestControl, testActor, testConfig, testControl } from '../testing.ts'
import { readOne } from '../transact.ts'
import { CREDENTIALS_MAX, outboundUrl, rotateOutbound } from './credentials.ts'
import {
  adjustOutbound,
  createOutbound,
  destroyOutbound,
  listOutbound,
  showOutbound,
} from './outbound.ts'
import { shareSlots, slotsPerHost } from './records.ts'

const ada = testActor('personal')
const eve = testActor('eve')
const HOUR_MS = 3_600_000
let control: TestControl

const host = (index: number) => ({
  ...{ id: `iad${index}`, region: 'iad', index },
  ...{ underlayV4: `100.64.0.${index}`, underlayV6: `2001:db8:ff00::${index}` },
})
const configWith = (hosts: number, v4 = '198.51.100.192/29'): ControlConfig =>
  testConfig({
    hosts: Array.from({ length: hosts }, (_, i) => host(i + 1)),
    egressPools: { global: { v4: [v4], v6: ['2001:db8:e000::/48'] } },
  })

beforeEach(async () => {
  control = testControl({ config: configWith(4) })
  await createOrg(control, { slug: 'personal', name: 'p', type: 'PERSONAL' })
  await createOrg(control, { slug: 'eve', name: 'e', type: 'PERSONAL' })
})

const create = (name = 'partners') => createOutbound(control, ada, { org: 'personal', name })
const at = (id = 'partners') => ({ org: 'personal', id })

test('a proxy has two pairs, and every host a block of each', async () => {
  const { proxy, pairs, issued, waiting } = await create()
  assert.deepEqual(waiting, [])
  assert.equal(new Set(pairs.flatMap(({ v4, v6 }) => [v4, v6])).size, 4)
  for (const pair of pairs) {
    assert.deepEqual(pair.regions, ['global'])
    assert.deepEqual(pair.blocks.map((b) => b.host).sort(), ['iad1', 'iad2', 'iad3', 'iad4'])
    assert.ok(pair.blocks.every(({ machine, count }) => machine === null && count === 10))
    assert.deepEqual(await readOne(control.store, keys.egress(pair.id)), pair)
  }
  assert.equal(
    outboundUrl(control, issued),
    `http://${issued.credential.name}:${issued.secret}@outbound.fairway.test:9293`,
  )
  assert.ok(Buffer.from(issued.secret, 'base64url').length >= 32)
  assert.equal(proxy.credentials[0]!.hash, hash('sha256', issued.secret))
  assert.ok(!JSON.stringify([...control.store.dump()]).includes(issued.secret))
})

test('an org sees its own, by name or id, and nobody else does', async () => {
  const { proxy } = await create()
  assert.deepEqual((await showOutbound(control, ada, at(proxy.id))).proxy, proxy)
  assert.equal((await listOutbound(control, ada, 'personal')).length, 1)
  assert.equal((await listOutbound(control, eve, 'eve')).length, 0)
  for (const actor of [ada, eve])
    await assert.rejects(showOutbound(control, actor, { org: 'eve', id: proxy.id }), {
      code: 'not_found',
    })
  await assert.rejects(destroyOutbound(control, eve, at()), { code: 'not_found' })
  await assert.rejects(create(), /has an outbound proxy "partners"; choose another name/)
  await assert.rejects(create('Bad Name'), /use lower-case letters/)
})

test('addresses rest after their proxy; an empty pool says so and changes nothing', async () => {
  control = testControl({ config: configWith(2, '198.51.100.192/31') })
  await createOrg(control, { slug: 'personal', name: 'p', type: 'PERSONAL' })
  const { pairs } = await create('one')
  const before = control.store.dump()
  await assert.rejects(create('two'), /egress IPv4 pool of global .* is full/)
  assert.deepEqual(control.store.dump(), before)
  await destroyOutbound(control, ada, at('one'))
  await assert.rejects(create('two'), /2 in quarantine/)
  for (const { id } of pairs) assert.equal(await readOne(control.store, keys.egress(id)), undefined)
  control.clock.advance(control.config.quarantineMs + 1)
  await maintain(control)
  const again = await create('two')
  assert.deepEqual(new Set(again.pairs.map(({ v4 }) => v4)), new Set(pairs.map(({ v4 }) => v4)))
  assert.equal(again.proxy.index, 0, 'its number is free again too')
})

test("a proxy's number rests as its addresses do: hosts may still have connections from it", async () => {
  const numberOf = async (name: string) => (await create(name)).proxy.index
  assert.equal(await numberOf('one'), 0)
  await destroyOutbound(control, ada, at('one'))
  assert.equal(await numberOf('two'), 1)
  control.clock.advance(control.config.quarantineMs)
  assert.deepEqual([await numberOf('three'), await numberOf('four')], [0, 2])
})

test('a rotation keeps the former credential for as long as was asked, not longer', async () => {
  const { proxy } = await create()
  const first = proxy.credentials[0]!.name
  const once = await rotateOutbound(control, ada, { ...at(), keepMs: HOUR_MS })
  const names = ({ proxy: { credentials } }: typeof once) => credentials.map((c) => c.name)
  assert.deepEqual(names(once), [first, once.issued.credential.name])
  const endsAt = once.proxy.credentials[0]!.expiresAt!
  assert.equal(Date.parse(endsAt), control.clock.now() + HOUR_MS)
  const twice = await rotateOutbound(control, ada, { ...at(), keepMs: 10 * HOUR_MS })
  assert.equal(twice.proxy.credentials[0]!.expiresAt, endsAt, 'not put off by the next rotation')
  control.clock.advance(HOUR_MS)
  await maintain(control)
  assert.equal((await showOutbound(control, ada, at())).proxy.credentials.length, 2)
  const last = await rotateOutbound(control, ada, { ...at(), keepMs: 0 })
  assert.deepEqual(names(last), [last.issued.credential.name])
  await assert.rejects(rotateOutbound(control, ada, { ...at(), keepMs: -1 }), /keep: -1/)
})

test("an app's secret follows the URL", async () => {
  await createApp(control, ada, { name: 'shop', org: 'personal' })
  await create()
  const set = await rotateOutbound(control, ada, { ...at(), secret: { app: 'shop' } })
  assert.deepEqual(await openSecrets(control, 'shop', 1), {
    QUOTAGUARDSTATIC_URL: outboundUrl(control, set.issued),
  })
  const next = await rotateOutbound(control, ada, at())
  assert.deepEqual(await openSecrets(control, 'shop', 2), {
    QUOTAGUARDSTATIC_URL: outboundUrl(control, next.issued),
  })
})

test("only an app of the proxy's org gets its URL, and a refusal leaves no credential", async () => {
  const both = testActor('personal', 'eve')
  const its = { org: 'eve', id: 'px' }
  await createApp(control, ada, { name: 'shop', org: 'personal' })
  await createOutbound(control, eve, { org: 'eve', name: 'px' })
  const before = control.store.dump()
  const ask = (actor: typeof eve, app: string, name?: string) =>
    rotateOutbound(control, actor, { ...its, secret: { app, name } })
  await assert.rejects(ask(eve, 'shop'), /app: there is no app "shop"/)
  await assert.rejects(ask(both, 'shop'), /app: "shop" is of org "personal".*"eve"/)
  await createApp(control, eve, { name: 'hers', org: 'eve' })
  await assert.rejects(ask(eve, 'hers', 'FLY_URL'), /FLY_URL.*rename it/)
  control.store.dump().forEach((value, key) => {
    if (key.startsWith('outbound/')) assert.equal(value, before.get(key))
  })
  assert.deepEqual(await openSecrets(control, 'shop', 1), {})
})

test('a rotation writes no secret of an app that is gone, or that another org has by now', async () => {
  await createApp(control, ada, { name: 'shop', org: 'personal' })
  await create()
  await rotateOutbound(control, ada, { ...at(), secret: { app: 'shop' } })
  await deleteApp(control, ada, 'shop')
  const both = testActor('personal', 'eve')
  await rotateOutbound(control, both, at())
  await createApp(control, eve, { name: 'shop', org: 'eve' })
  await rotateOutbound(control, both, { ...at(), keepMs: 0 })
  assert.deepEqual(await openSecrets(control, 'shop', 1), {})
  assert.equal((await showOutbound(control, ada, at())).proxy.credentials.length, 1)
})

test('a secret that cannot be set leaves no credential and no target', async () => {
  await createApp(control, ada, { name: 'shop', org: 'personal' })
  const { proxy } = await create()
  const values = Object.fromEntries(
    Array.from({ length: SECRETS_PER_APP_MAX }, (_, n) => [`S${n}`, 'x']),
  )
  await setSecrets(control, ada, { app: 'shop', values })
  await assert.rejects(
    rotateOutbound(control, ada, { ...at(), secret: { app: 'shop' }, keepMs: 0 }),
    /501 secrets/,
  )
  const after = (await showOutbound(control, ada, at())).proxy
  assert.deepEqual([after.credentials, after.secret], [proxy.credentials, null])
})

test('with as many credentials as there may be, keep 0 still ends them', async () => {
  await create()
  for (let n = 1; n < CREDENTIALS_MAX; n++) await rotateOutbound(control, ada, at())
  await assert.rejects(rotateOutbound(control, ada, at()), /8 credentials.*keep 0/)
  const { proxy, issued } = await rotateOutbound(control, ada, { ...at(), keepMs: 0 })
  assert.deepEqual(proxy.credentials, [issued.credential])
})

test('of rotations at once the last one counts, and its credential is valid', async () => {
  await createApp(control, ada, { name: 'shop', org: 'personal' })
  await create()
  const rotated = await Promise.all(
    [1, 2, 3].map(() =>
      rotateOutbound(control, ada, { ...at(), secret: { app: 'shop' }, keepMs: 0 }),
    ),
  )
  const { credentials } = (await showOutbound(control, ada, at())).proxy
  const last = rotated.find(({ issued }) => issued.credential.name === credentials[0]?.name)
  assert.equal(credentials.length, 1)
  assert.deepEqual(await openSecrets(control, 'shop', 3), {
    QUOTAGUARDSTATIC_URL: outboundUrl(control, last!.issued),
  })
})

test('a rotation ends those alone that were there when it began', async () => {
  await create()
  let rotatesMeanwhile = true
  const edges = {
    ...control.edges,
    // Another process of the control plane rotates while this one waits for the edges.
    waitFor: async () => {
      if (rotatesMeanwhile) {
        rotatesMeanwhile = false
        const other = testControl({ ...control, store: { ...control.store } })
        await rotateOutbound(other, ada, { ...at(), keepMs: 0 })
      }
      return { waiting: [] }
    },
  }
  await assert.rejects(
    rotateOutbound(testControl({ ...control, edges }), ada, { ...at(), keepMs: 0 }),
    { code: 'conflict' },
  )
  assert.equal((await showOutbound(control, ada, at())).proxy.credentials.length, 1)
})

test('destinations and limits are changed, or refused as a whole', async () => {
  const { proxy } = await create()
  const limits = { connections: 100 }
  const changed = await adjustOutbound(control, ada, { ...at(), allow: ['*.example:443'], limits })
  assert.deepEqual(changed.proxy.limits, { ...proxy.limits, connections: 100 })
  assert.deepEqual(changed.proxy.allow, ['*.example:443'])
  await assert.rejects(
    adjustOutbound(control, ada, { ...at(), allow: ['ok.example', 'http://no'] }),
    /allow: "http:\/\/no"/,
  )
  assert.deepEqual((await showOutbound(control, ada, at())).proxy.allow, ['*.example:443'])
})

test('a host that joins gets its share; one that left gives its slots back', async () => {
  const { pairs } = await create()
  const joined = testControl({ ...control, config: configWith(6) })
  await maintain(joined)
  const hostsOf = async (id: string) =>
    (await readOne<EgressPair>(control.store, keys.egress(id)))!.blocks.map((b) => b.host).sort()
  for (const { id } of pairs) assert.equal((await hostsOf(id)).length, 6)
  await maintain(testControl({ ...control, config: configWith(2) }))
  for (const { id } of pairs) assert.deepEqual(await hostsOf(id), ['iad1', 'iad2'])
})

test('however hosts come and go, blocks never overlap and none moves', () => {
  const change = fc.uniqueArray(fc.nat({ max: 80 }), { minLength: 1, maxLength: 70 })
  fc.assert(
    fc.property(
      fc.array(change, { minLength: 1, maxLength: 6 }),
      fc.infiniteStream(fc.double({ min: 0, max: 0.999, noNaN: true })),
      (steps, random) => {
        let blocks: EgressBlock[] = []
        for (const hosts of steps.map((numbers) => numbers.map(String))) {
          const before = blocks
          const shared = shareSlots(blocks, hosts, () => random.next().value)
          blocks = shared.blocks
          const slots = blocks.flatMap(({ slot, count }) =>
            Array.from({ length: count }, (_, i) => slot + i),
          )
          assert.equal(new Set(slots).size, slots.length)
          assert.ok(slots.every((slot) => slot >= 0 && slot < EGRESS_SLOTS))
          for (const block of before)
            if (hosts.includes(block.host)) assert.ok(blocks.includes(block), 'it moved')
          const served = blocks.map(({ host: name }) => name)
          assert.deepEqual([...served, ...shared.without].sort(), [...hosts].sort())
          if (shared.without.length > 0) assert.equal(slots.length, EGRESS_SLOTS)
        }
      },
    ),
  )
  assert.deepEqual([1, 4, 20, 63, 200].map(slotsPerHost), [21, 10, 2, 1, 1])
})
