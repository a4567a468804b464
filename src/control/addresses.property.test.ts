import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { FairwayError } from '../base/errors.ts'
import type { Address } from '../model/resources.ts'
import { allocateAddress, attachV4, detachV4, releaseAddress } from './addresses.ts'
import { createApp, deleteApp } from './apps.ts'
import { maintain } from './maintenance.ts'
import { createOrg } from './orgs.ts'
import { type TestControl, testActor, testControl } from './testing.ts'

/**
 * Callers that race each other over a small pool, round after round. After every round, whatever
 * they managed to do, each address is in exactly one place.
 */

const seed = process.env.FAIRWAY_SEED
const actor = testActor('blue', 'red')
const ORG_OF: Record<string, string> = { app1: 'blue', app2: 'blue', app3: 'blue', app4: 'red' }
const APPS = Object.keys(ORG_OF)
const POOL = 8

const app = fc.constantFrom(...APPS)
const pick = fc.nat({ max: 1_000 })
const command = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('allocate-v4' as const), app }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('allocate-v6' as const), app }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('allocate-shared' as const), app }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('release' as const), app, pick }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('attach' as const), app, pick }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('detach' as const), app, pick }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('delete' as const), app }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('create' as const), app }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('maintain' as const), app }) },
)
type Command = typeof command extends fc.Arbitrary<infer T> ? T : never
const rounds = fc.array(
  fc.record({ commands: fc.array(command, { maxLength: 12 }), passMs: fc.nat({ max: 40_000 }) }),
  { minLength: 1, maxLength: 25 },
)

const addressesIn = (store: Map<string, string>): Address[] =>
  [...store].filter(([key]) => key.startsWith('address/')).map(([, value]) => JSON.parse(value))
const under = (store: Map<string, string>, prefix: string): string[] =>
  [...store.keys()].filter((key) => key.startsWith(prefix))
const lastOf = (key: string) => key.slice(key.lastIndexOf('/') + 1)

async function run(control: TestControl, command: Command, before: Address[]) {
  const address = 'pick' in command ? before[command.pick % Math.max(1, before.length)] : undefined
  const target = { app: command.app, address: address?.address ?? '203.0.113.99' }
  switch (command.do) {
    case 'allocate-v4':
      return allocateAddress(control, actor, { app: command.app, kind: 'v4' })
    case 'allocate-v6':
      return allocateAddress(control, actor, { app: command.app, kind: 'v6' })
    case 'allocate-shared':
      return allocateAddress(control, actor, { app: command.app, kind: 'shared_v4' })
    case 'release':
      return releaseAddress(control, actor, target)
    case 'attach':
      return attachV4(control, actor, target)
    case 'detach':
      return detachV4(control, actor, target)
    case 'delete':
      return deleteApp(control, actor, command.app)
    case 'create':
      return createApp(control, actor, { name: command.app, org: ORG_OF[command.app]! })
    case 'maintain':
      return maintain(control)
  }
}

/** Every record is in the one index that its state calls for, and the other way round. */
function checkIndexes(store: Map<string, string>) {
  const expected = new Set<string>()
  const dedicated = new Map<string, number>()
  for (const a of addressesIn(store)) {
    if (a.state === 'attached') expected.add(`app-address/${a.app}/${a.kind}/${a.address}`)
    if (a.state === 'parked') expected.add(`parked-address/${a.org}/${a.address}`)
    if (a.state === 'quarantined') {
      const until = String(a.quarantinedUntilMs).padStart(15, '0')
      expected.add(`quarantine/${a.kind}/${until}/${a.address}`)
    }
    if (a.state === 'attached' && a.kind === 'v4') {
      dedicated.set(a.app!, (dedicated.get(a.app!) ?? 0) + 1)
    }
    if (a.state === 'attached') assert.ok(store.has(`app/${a.app}`), `${a.address} has no app`)
  }
  const found = ['app-address/', 'parked-address/', 'quarantine/'].flatMap((p) => under(store, p))
  assert.deepEqual(found.sort(), [...expected].sort())
  for (const name of APPS) {
    const counted = JSON.parse(store.get(`dedicated-count/${name}`) ?? '0')
    assert.equal(counted, dedicated.get(name) ?? 0, `dedicated addresses of ${name}`)
  }
}

/** Of the pool: used for the first time yet or not, and then either recorded or free, never both. */
function checkPool(store: Map<string, string>) {
  const cursor = Number(store.get('pool-cursor/203.0.113.16_29') ?? '0')
  const recorded = new Set(addressesIn(store).map((a) => a.address))
  const free = under(store, 'free-address/v4/').map(lastOf)
  assert.equal(new Set(free).size, free.length, 'an address is free twice')
  for (let i = 0; i < POOL; i++) {
    const address = `203.0.113.${16 + i}`
    const places = Number(recorded.has(address)) + Number(free.includes(address))
    assert.equal(places, i < cursor ? 1 : 0, `${address} is in ${places} places`)
  }
}

test('addresses: one owner each, quarantine respected, nothing leaks, whoever races', async () => {
  const property = fc.asyncProperty(rounds, async (plan) => {
    const control = testControl()
    // A second process of the control plane: the same store, but no lane in common.
    const peer = { ...control, store: { ...control.store } }
    for (const slug of ['blue', 'red'])
      await createOrg(control, { slug, name: slug, type: 'SHARED' })
    for (const name of APPS) await createApp(control, actor, { name, org: ORG_OF[name]! })
    for (const { commands, passMs } of plan) {
      const before = control.store.dump()
      const known = addressesIn(before)
      const nowMs = control.clock.now()
      const busy = new Set(
        known.filter((a) => (a.quarantinedUntilMs ?? Infinity) > nowMs).map((a) => a.address),
      )
      const results = await Promise.allSettled(
        commands.map((c, i) => run(i % 2 === 0 ? control : peer, c, known)),
      )
      results.forEach((settled, i) => {
        if (settled.status === 'rejected') {
          assert.ok(settled.reason instanceof FairwayError, String(settled.reason?.stack))
        } else if (commands[i]!.do === 'allocate-v4') {
          const { address } = (settled.value as { address: Address }).address
          assert.ok(!busy.has(address), `${address} was in use or in quarantine`)
          busy.add(address)
        }
      })
      // Deletions may have been cut short by a conflict; the timer finishes them.
      await maintain(control)
      checkIndexes(control.store.dump())
      checkPool(control.store.dump())
      control.clock.advance(passMs)
    }
    await drain(control)
  })
  await fc.assert(property, {
    numRuns: Number(process.env.FAIRWAY_TEST_RUNS ?? 60),
    ...(seed ? { seed: Number(seed) } : {}),
  })
})

/** When everything is given back and has rested, the whole pool can be had again. */
async function drain(control: TestControl) {
  for (const name of APPS) await deleteApp(control, actor, name).catch(() => undefined)
  for (const name of APPS) await createApp(control, actor, { name, org: ORG_OF[name]! })
  for (const a of addressesIn(control.store.dump())) {
    if (a.state !== 'parked') continue
    const owner = APPS.find((name) => ORG_OF[name] === a.org)!
    await releaseAddress(control, actor, { app: owner, address: a.address })
  }
  control.clock.advance(control.config.quarantineMs)
  for (let i = 0; i < POOL; i++) await allocateAddress(control, actor, { app: 'app1', kind: 'v4' })
  const full = allocateAddress(control, actor, { app: 'app1', kind: 'v4' })
  await assert.rejects(full, { code: 'pool_full' })
}
