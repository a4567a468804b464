import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { FairwayError } from '../../base/errors.ts'
import { keys } from '../../model/keys.ts'
import type { Machine } from '../../model/resources.ts'
import { reapQuarantine } from '../address-pools.ts'
import { destroyMachine } from '../machines/actions.ts'
import type { TestMachines } from '../machines/testing.ts'
import { setMetadata } from '../machines/update.ts'
import { put, readAll } from '../transact.ts'
import { adjustEgress, promoteEgress, resizeMachineEgress } from './adjust.ts'
import { allocateEgress, allocateMachineEgress } from './allocate.ts'
import { moveEgress } from './move.ts'
import { releaseEgress, releaseMachineEgress, releaseSomeOfDeleted } from './release.ts'
import { resumeEgressChanges } from './settle.ts'
import {
  APP,
  allPairs,
  Crash,
  checkAtRest,
  checkRecords,
  crashing,
  drainAll,
  endMachine,
  makeMachine,
  OTHER,
  testEgress,
} from './testing.ts'

/**
 * People and machines that race each other over two apps' egress while the control plane dies in
 * between. At any moment no two blocks overlap and nobody sends from what it does not have; when all
 * is done the law holds, and in the end nothing is left.
 */

const seed = Number(process.env.FAIRWAY_SEED ?? Math.floor(Math.random() * 2 ** 31))
const GROUPS = ['app', 'worker', 'fly_app_release_command']
const KINDS = [
  'create',
  'create',
  'create',
  'destroy',
  'end',
  'allocate',
  'allocate',
  'allocate-machine',
  'release',
  'release-machine',
  'drain',
  'undrain',
  'pin-group',
  'pin-machine',
  'unpin',
  'spread',
  'promote',
  'move-app',
  'move-machine',
  'blocks',
  'regroup',
  'drained',
] as const
const command = fc.record({
  do: fc.constantFrom(...KINDS),
  app: fc.constantFrom(APP, OTHER),
  group: fc.constantFrom(...GROUPS),
  region: fc.constantFrom('iad', 'iad', 'lhr'),
  pick: fc.nat({ max: 1_000 }),
  count: fc.constantFrom(1, 1, 2, 5, 30, 64),
})
type Command = typeof command extends fc.Arbitrary<infer T> ? T : never
const round = fc.record({
  commands: fc.array(command, { minLength: 1, maxLength: 4 }),
  /** Transactions until the control plane dies; undefined: it does not. */
  crashAfter: fc.option(fc.nat({ max: 6 }), { nil: undefined }),
})
/** A history that does each kind once, so that none is left to chance. */
const example = (
  [
    'create',
    'allocate-machine',
    'promote',
    'pin-group',
    'unpin',
    'pin-machine',
    'unpin',
    'spread',
    'allocate',
    'drain',
    'undrain',
    'move-machine',
    'release-machine',
    'move-app',
    'allocate',
    'release',
    'blocks',
    'regroup',
    'drained',
    'destroy',
    'end',
  ] satisfies Command['do'][]
).map((kind) => {
  const app = kind === 'move-app' ? OTHER : APP
  const one: Command = { do: kind, app, group: 'app', region: 'iad', pick: 0, count: 5 }
  return { commands: [one], crashAfter: undefined }
})

async function run(t: TestMachines, c: Command): Promise<unknown> {
  const { control, actor } = t
  const pick = <T>(list: readonly T[]): T => {
    if (list.length === 0) throw new FairwayError('nothing', 'nothing to pick from')
    return list[c.pick % list.length]!
  }
  const all = (await readAll<Machine>(control.store, 'machine/', 1_000)).map(({ value }) => value)
  const ending = all.filter((machine) => machine.desired === 'destroyed')
  const machines = all.filter((machine) => !ending.includes(machine))
  const pairs = await allPairs(t)
  const addressesOf = (some: typeof pairs) =>
    some.flatMap(({ app, v4, v6 }) =>
      [v4, v6].flatMap((address) => (address ? [{ app: app!, address }] : [])),
    )
  const machine = () => pick(machines.filter((one) => one.app === c.app))
  const address = () => pick(addressesOf(pairs))
  const shared = () =>
    pick(addressesOf(pairs.filter((one) => one.machine === null && one.app === c.app)))
  const { app, group, region, count } = c
  switch (c.do) {
    case 'create':
      return makeMachine(t, { app, group, region })
    case 'destroy':
      return destroyMachine(control, actor, destroying(pick(machines)))
    case 'end':
      return t.report(pick(ending))
    case 'allocate':
      return allocateEgress(control, actor, { app, region, count: 1 + (c.pick % 2) })
    case 'allocate-machine':
      return allocateMachineEgress(control, actor, { app, machine: machine().id })
    case 'release':
      return releaseEgress(control, actor, address())
    case 'release-machine': {
      const own = pick(pairs.filter((one) => one.machine !== null))
      const target = { app: own.app!, machine: own.machine! }
      return releaseMachineEgress(control, actor, target)
    }
    case 'drain':
      return adjustEgress(control, actor, { ...address(), draining: true })
    case 'undrain':
      return adjustEgress(control, actor, { ...address(), draining: false })
    case 'pin-group':
      return adjustEgress(control, actor, { ...shared(), pin: { group } })
    case 'pin-machine':
      return adjustEgress(control, actor, { ...shared(), pin: { machine: machine().id } })
    case 'unpin':
      return adjustEgress(control, actor, { ...shared(), pin: null })
    case 'spread':
      return adjustEgress(control, actor, {
        ...address(),
        regions: ['iad', 'lhr'].slice(c.pick % 2),
      })
    case 'promote':
      return promoteEgress(control, actor, address())
    case 'move-app':
      return moveEgress(control, actor, { ...address(), to: app })
    case 'move-machine':
      return moveEgress(control, actor, { ...address(), machine: machine().id })
    case 'blocks':
      return resizeMachineEgress(control, actor, { app, machine: machine().id, count })
    case 'regroup': {
      const target = { app, machine: machine().id, key: 'fly_process_group', value: group }
      return setMetadata(control, actor, target)
    }
    case 'drained':
      return drainAll(t)
  }
}

const destroying = ({ app, id }: Machine) => ({ app, machine: id, force: true })

test('egress: whoever races and whenever the control plane dies, the law holds', async (t) => {
  t.diagnostic(`replay with FAIRWAY_SEED=${seed}`)
  const done = new Map<string, number>()
  const property = fc.asyncProperty(
    fc.array(round, { minLength: 10, maxLength: 25 }),
    async (rounds) => {
      const t = await testEgress()
      for (const app of [APP, OTHER]) for (let i = 0; i < 3; i++) await makeMachine(t, { app })
      try {
        for (const { commands, crashAfter } of rounds) {
          const at = crashAfter === undefined ? t : crashing(t, crashAfter)
          const results = await Promise.allSettled(commands.map((c) => run(at, c)))
          results.forEach((settled, i) => {
            const { do: kind } = commands[i]!
            if (settled.status === 'fulfilled') done.set(kind, (done.get(kind) ?? 0) + 1)
            else {
              const isExpected =
                settled.reason instanceof FairwayError || settled.reason instanceof Crash
              assert.ok(isExpected, `${kind}: ${settled.reason?.stack}`)
            }
          })
          await checkRecords(t)
          await resumeEgressChanges(t.control)
          await checkAtRest(t)
        }
        await releaseAll(t)
      } finally {
        await t.close()
      }
    },
  )
  const numRuns = Number(process.env.FAIRWAY_TEST_RUNS ?? 12)
  await fc.assert(property, { seed, numRuns, examples: [[example]] })
  for (const kind of KINDS) assert.ok(done.has(kind), `never done: ${kind}`)
})

/** When machines, then apps are gone, every address is free again and no key is left. */
async function releaseAll(t: TestMachines): Promise<void> {
  const { store } = t.control
  for (const { value } of await readAll<Machine>(store, 'machine/', 1_000))
    await endMachine(t, value)
  await checkAtRest(t)
  for (const app of [APP, OTHER]) {
    await store.txn({
      then: [{ delete: keys.app(app) }, put(keys.appDeleting(app), { name: app })],
    })
    while (await releaseSomeOfDeleted(t.control, app));
  }
  await reapQuarantine(t.control)
  const left = ['egress/', 'app-egress/', 'egress-pending/', 'egress-held/', 'egress-address/']
  for (const prefix of left) assert.deepEqual((await store.range(prefix)).kvs, [], prefix)
  assert.deepEqual((await store.range('quarantine/egress-')).kvs, [])
}
