import assert from 'node:assert/strict'
import { keys } from '../../model/keys.ts'
import { EGRESS_SLOTS, type EgressPair, type Machine } from '../../model/resources.ts'
import type { Store, Txn } from '../../store/store.ts'
import { destroyMachine } from '../machines/actions.ts'
import { createMachine, type LaunchInput } from '../machines/create.ts'
import { CONFIG, type TestMachines, testArtifact, testMachines } from '../machines/testing.ts'
import { put, readAll, readOne } from '../transact.ts'
import { freeDrained } from './drained.ts'
import { eligibility, holdingsOf } from './law.ts'
import { type AppEgress, isAtRest, readSeats, targetOf } from './records.ts'

/** A control plane with two apps and small pools, and the laws that must hold in it. */

export const APP = 'hello'
export const OTHER = 'second'

export async function testEgress(): Promise<TestMachines> {
  const t = await testMachines(undefined, { quarantineMs: 0 })
  const { control } = t
  const first = (await t.read<object>(keys.app(APP)))!
  await control.store.txn({
    then: [
      put(keys.app(OTHER), { ...first, id: 'id-second', name: OTHER }),
      put(keys.artifact(OTHER, testArtifact.digest), testArtifact),
    ],
  })
  return t
}

export async function makeMachine(
  t: TestMachines,
  { app = APP, group, ...input }: Partial<LaunchInput> & { app?: string; group?: string } = {},
): Promise<Machine> {
  const image = CONFIG.image.replace('/hello@', `/${app}@`)
  const metadata = group === undefined ? {} : { fly_process_group: group }
  const config = { ...CONFIG, image, metadata }
  const made = await createMachine(t.control, t.actor, { region: 'iad', config, ...input, app })
  return made.machine
}

export async function endMachine(t: TestMachines, machine: Machine): Promise<void> {
  const target = { app: machine.app, machine: machine.id, force: true }
  await destroyMachine(t.control, t.actor, target)
  await t.report(machine)
}

/** The machine's record as it is by now. */
export const current = (t: TestMachines, { host, id }: Machine): Promise<Machine | undefined> =>
  t.read<Machine>(keys.machine(host, id))

export const allPairs = async (t: TestMachines): Promise<EgressPair[]> =>
  (await readAll<EgressPair>(t.control.store, 'egress/', 10_000)).map(({ value }) => value)

/** What hosts report once no flow uses a draining block any more. */
export async function drainAll(t: TestMachines): Promise<void> {
  for (const pair of await allPairs(t)) {
    for (const { host, slot, state } of pair.blocks)
      if (state === 'drain') await freeDrained(t.control, host, [{ pair: pair.id, slot }])
  }
}

/** The store, until it fails: `crashAfter` transactions are written, then none is. */
export function crashing(t: TestMachines, crashAfter: number): TestMachines {
  let left = crashAfter
  const { store } = t.control
  const failing = {
    get: (key: string) => store.get(key),
    range: store.range.bind(store),
    watch: store.watch.bind(store),
    leases: store.leases,
    txn: (txn: Txn) => {
      left -= 1
      return left < 0 ? Promise.reject(new Crash()) : store.txn(txn)
    },
  } satisfies Store
  return { ...t, control: { ...t.control, store: failing as typeof store } }
}
export class Crash extends Error {}

/** Blocks of a pair lie side by side, draining ones included; whatever happens, at any moment. */
export function checkBlocks(pairs: readonly EgressPair[]): void {
  for (const { id, blocks } of pairs) {
    const taken = new Set<number>()
    for (const { slot, count } of blocks) {
      for (let i = slot; i < slot + count; i++) {
        assert.ok(i < EGRESS_SLOTS, `${id}: slot ${i}`)
        assert.ok(!taken.has(i), `${id}: slot ${i} is in two blocks`)
        taken.add(i)
      }
    }
  }
}

/** At any moment: who sends from a block has it in its pair, in use. */
export async function checkRecords(t: TestMachines): Promise<void> {
  const pairs = new Map((await allPairs(t)).map((pair) => [pair.id, pair]))
  checkBlocks([...pairs.values()])
  for (const { value: machine } of await readAll<Machine>(t.control.store, 'machine/', 10_000)) {
    const { egress } = machine
    if (!egress) continue
    const pair = pairs.get(egress.pair)
    assert.ok(pair, `${machine.id} sends from ${egress.pair}, which is gone`)
    const covers = pair.blocks.some(
      (block) =>
        block.machine === machine.id &&
        block.state === 'use' &&
        block.host === machine.host &&
        block.slot <= egress.slot &&
        egress.slot + egress.count <= block.slot + block.count,
    )
    assert.ok(covers, `${machine.id} sends from a block that ${pair.id} does not have for it`)
  }
}

/** When all changes are done: law, records and indexes agree. */
export async function checkAtRest(t: TestMachines, apps = [APP, OTHER]): Promise<void> {
  await checkRecords(t)
  const { store } = t.control
  const pairs = await allPairs(t)
  const addresses = pairs.flatMap(({ v4, v6 }) => [v4, v6]).filter((one) => one !== null)
  assert.equal(new Set(addresses).size, addresses.length, 'an address is in two pairs')
  assert.deepEqual((await store.range('egress-pending/')).kvs, [])
  const held = await store.range('egress-held/')
  assert.deepEqual(held.kvs.map(({ key }) => key.split('/')[2]).sort(), [...addresses].sort())
  for (const { id, blocks } of pairs)
    for (const { machine, host, state } of blocks) {
      const record = await t.read<Machine>(keys.machine(host, machine!))
      assert.ok(state === 'drain' || record?.egress?.pair === id, `${machine} is not on ${id}`)
    }
  for (const app of apps) {
    const set = await readOne<AppEgress>(store, keys.appEgress(app))
    const own = pairs.filter((pair) => pair.app === app)
    assert.deepEqual([...(set?.pairs ?? [])].sort(), own.map(({ id }) => id).sort())
    if (set) assert.ok(isAtRest(set))
    const holdings = holdingsOf(own)
    const eligible = eligibility(own)
    for (const seat of await readSeats(t.control, app)) {
      const machine = (await t.read<Machine>(keys.machine(seat.host, seat.id)))!
      assert.deepEqual(holdings.get(seat.id) ?? null, targetOf(machine), `${seat.id} of ${app}`)
      const lists = eligible(seat)
      const lawful = machine.egress
        ? lists.some((list) => list.includes(machine.egress!.pair))
        : lists.length === 0
      assert.ok(lawful, `${seat.id} has ${machine.egress?.pair ?? 'no pair'}, not one of ${lists}`)
      if (!machine.egress) continue
      const { v4, v6 } = own.find(({ id }) => id === machine.egress!.pair)!
      assert.deepEqual([machine.egress.v4, machine.egress.v6], [v4, v6])
    }
  }
}
