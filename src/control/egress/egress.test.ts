import assert from 'node:assert/strict'
import { afterEach, beforeEach, test } from 'node:test'
import { keys } from '../../model/keys.ts'
import type { EgressPair, Machine } from '../../model/resources.ts'
import { reapQuarantine } from '../address-pools.ts'
import { HostAckTable } from '../host-acks.ts'
import { destroyMachine } from '../machines/actions.ts'
import { createMachine } from '../machines/create.ts'
import { CONFIG, TEST_HOSTS, type TestMachines } from '../machines/testing.ts'
import { setMetadata, updateMachine } from '../machines/update.ts'
import { testActor } from '../testing.ts'
import { inLane } from '../transact.ts'
import { adjustEgress, promoteEgress, resizeMachineEgress } from './adjust.ts'
import { allocateEgress, allocateMachineEgress } from './allocate.ts'
import { freeDrained } from './drained.ts'
import { waitForLaunch } from './launch.ts'
import { egressRows, listEgress } from './list.ts'
import { moveEgress } from './move.ts'
import { changeLane } from './records.ts'
import { releaseEgress, releaseMachineEgress } from './release.ts'
import { resumeEgressChanges } from './settle.ts'
import {
  APP,
  allPairs,
  Crash,
  checkAtRest,
  checkRecords,
  crashing,
  current,
  drainAll,
  endMachine,
  makeMachine,
  OTHER,
  testEgress,
} from './testing.ts'

let t: TestMachines
beforeEach(async () => {
  t = await testEgress()
})
afterEach(() => t.close())

const allocate = async (input: Partial<Parameters<typeof allocateEgress>[2]> = {}) => {
  const made = await allocateEgress(t.control, t.actor, { app: APP, region: 'iad', ...input })
  return made.result[0]!
}
const pairNow = async ({ id }: { id: string }) => (await t.read<EgressPair>(keys.egress(id)))!
const egressOf = async (machine: Machine) => (await current(t, machine))!.egress
const states = (pair: EgressPair) => pair.blocks.map(({ machine, state }) => [machine, state])

test('a pair has one address of each family of its region, a price, and is held until released', async () => {
  const pair = await allocate()
  assert.match(pair.v4!, /^198\.51\.100\.([1-9]|1[0-5])$/)
  assert.match(pair.v6!, /^2001:db8:e001:/)
  assert.deepEqual(pair.regions, ['iad'])
  const rows = egressRows(t.control, pair)
  assert.deepEqual(
    rows.map((row) => [row.version, row.price_per_month, row.blocks_used, row.blocks_total]),
    [
      [4, '3.60', 0, 64],
      [6, '0.00', 0, 64],
    ],
  )
  const machine = await makeMachine(t)
  await endMachine(t, machine)
  const [left] = await listEgress(t.control, t.actor, APP)
  assert.deepEqual([left?.v4, left?.blocks], [pair.v4, []])
  await checkAtRest(t)
})

test('regions, counts, pins and addresses that are wrong are refused by name, and change nothing', async () => {
  const { control, actor } = t
  const pair = await allocate()
  const before = await allPairs(t)
  const no = (input: object, message: RegExp) =>
    assert.rejects(allocateEgress(control, actor, { app: APP, region: 'iad', ...input }), {
      message,
    })
  await no(
    { region: '' },
    /^a region must be provided when allocating an app-scoped egress IP address$/,
  )
  await no({ region: 'mars' }, /region "mars" is not known; choose one of iad, lhr, nrt/)
  await no({ region: 'global' }, /region "global" is not known/)
  await no({ count: 9 }, /count: 9 is not a number of pairs from 1 to 8/)
  await no({ pin: { group: 'a b' } }, /pin\.group: "a b"/)
  await no({ pin: { machine: 'deadbeef' } }, /machine not found: "deadbeef"/)
  await no(
    { region: 'nrt' },
    /the egress IPv4 pool of nrt \(no prefixes\) is full: .* add a prefix to egressPools\.nrt\.v4/,
  )
  const ip = { app: APP, address: pair.v4! }
  await assert.rejects(releaseEgress(control, actor, { ...ip, address: '198.51.100.9' }), {
    status: 404,
    message: /app "hello" has no egress address 198\.51\.100\.9/,
  })
  await assert.rejects(
    releaseEgress(control, actor, { ...ip, address: 'x' }),
    /Invalid IP address: 'x'/,
  )
  await assert.rejects(
    releaseMachineEgress(control, actor, { app: APP, machine: 'm' }),
    /no machine-scoped egress IPs found for machine m/,
  )
  await assert.rejects(
    adjustEgress(control, actor, { ...ip, regions: ['lhr'] }),
    /regions: iad is missing/,
  )
  await assert.rejects(moveEgress(control, actor, ip), /name where the address goes to/)
  const stranger = testActor('others')
  for (const act of [
    () => releaseEgress(control, stranger, ip),
    () => allocateEgress(control, stranger, { app: APP, region: 'iad' }),
    () => listEgress(control, stranger, APP),
    () => moveEgress(control, stranger, { ...ip, to: 'foreign' }),
  ])
    await assert.rejects(act, { message: 'Could not find App' })
  for (const to of ['foreign', 'nosuch'])
    await assert.rejects(moveEgress(control, actor, { ...ip, to }), {
      message: `app: there is no app "${to}"; see fairway apps list`,
      status: 404,
    })
  const both = testActor('personal', 'others')
  await assert.rejects(
    moveEgress(control, both, { ...ip, to: 'foreign' }),
    /cannot have an address of "personal"/,
  )
  assert.deepEqual(await allPairs(t), before)
  await resumeEgressChanges(control)
  await checkAtRest(t)
})

test('a full pool says how it stands; released addresses rest and are used again', async () => {
  const { control, actor } = t
  const lhr = () => allocate({ region: 'lhr' })
  // 198.51.100.64/30: four addresses, none of them .0 or .255.
  const pairs = [await lhr(), await lhr(), await lhr(), await lhr()]
  await assert.rejects(lhr(), {
    code: 'pool_full',
    message:
      /the egress IPv4 pool of lhr \(198\.51\.100\.64\/30\) is full: 4 addresses, none in quarantine; release one/,
  })
  const config = { ...control.config, quarantineMs: 60_000 }
  const slow = { ...control, config }
  await releaseEgress(slow, actor, { app: APP, address: pairs[1]!.v4! })
  await assert.rejects(lhr(), /1 in quarantine, the next free at 20/)
  await releaseEgress(control, actor, { app: APP, address: pairs[2]!.v4! })
  assert.equal((await lhr()).v4, pairs[2]!.v4)
})

test('a released address rests until every host that sent from it has let go of it', async () => {
  const acks = new HostAckTable(() => t.control.fleet.liveRecords(), t.control.clock)
  const config = { ...t.control.config, hosts: [...TEST_HOSTS], attachWaitMs: 0 }
  const control = { ...t.control, egressAcks: acks, config }
  const pair = await allocate({ region: 'lhr' })
  const machine = await makeMachine(t, { region: 'lhr' })
  assert.equal((await egressOf(machine))!.pair, pair.id)
  for (let i = 0; i < 3; i++) await allocate({ region: 'lhr', app: OTHER })
  for (const address of [pair.v4!, pair.v6!])
    await releaseEgress(control, t.actor, { app: APP, address })
  const next = () => allocateEgress(control, t.actor, { app: OTHER, region: 'lhr' })
  const full = {
    message: /1 in quarantine, some not before their hosts have let go of them: lhr1 \(start their/,
  }
  // Not live: it may be cut off, and go on with what its kernel has.
  await control.store.txn({ then: [{ delete: keys.hostLive('lhr1') }] })
  await t.settled()
  await assert.rejects(next(), full)
  const [resting] = (await control.store.range('quarantine/egress-v4-lhr/')).kvs
  acks.report('lhr1', resting!.modRevision - 1)
  for (const host of ['iad1', 'iad2', 'nrt1']) acks.report(host, resting!.modRevision)
  await assert.rejects(next(), full)
  acks.report('lhr1', resting!.modRevision)
  assert.equal((await next()).result[0]!.v4, pair.v4)
})

test('an address that rests longer for its host does not hold up others, nor one that left the fleet', async () => {
  const acks = new HostAckTable(() => t.control.fleet.liveRecords(), t.control.clock)
  const config = { ...t.control.config, hosts: [...TEST_HOSTS], attachWaitMs: 0 }
  const control = { ...t.control, egressAcks: acks, config }
  const pair = await allocate({ region: 'lhr' })
  await makeMachine(t, { region: 'lhr' })
  await releaseEgress(control, t.actor, { app: APP, address: pair.v4! })
  for (let i = 0; i < 40; i++) {
    const free = await allocate({ region: 'lhr', app: OTHER })
    await releaseEgress(control, t.actor, { app: OTHER, address: free.v4! })
    await releaseEgress(control, t.actor, { app: OTHER, address: free.v6! })
    await reapQuarantine(control)
  }
  const resting = () => control.store.range('quarantine/egress-v4-lhr/')
  assert.deepEqual(
    (await resting()).kvs.map(({ value }) => JSON.parse(value)),
    [{ address: pair.v4, hosts: ['lhr1'] }],
  )
  const left = { ...config, hosts: TEST_HOSTS.filter(({ id }) => id !== 'lhr1') }
  assert.equal(await reapQuarantine({ ...control, config: left }), 1)
  assert.deepEqual((await resting()).kvs, [])
})

test('a machine that is being destroyed leaves a pair that is released, or goes to another app', async () => {
  const { control, actor } = t
  const [first, second] = [await allocate(), await allocate()]
  const [one, two] = [await makeMachine(t), await makeMachine(t)]
  const [a, b] = [(await egressOf(one))!.pair, (await egressOf(two))!.pair]
  assert.deepEqual(new Set([a, b]), new Set([first.id, second.id]))
  for (const machine of [one, two])
    await destroyMachine(control, actor, { app: APP, machine: machine.id, force: true })
  const [freed, moved] = [await pairNow({ id: a }), await pairNow({ id: b })]
  for (const address of [freed.v4!, freed.v6!])
    await releaseEgress(control, actor, { app: APP, address })
  assert.equal(await egressOf(one), null, 'its record names no pair that is gone')
  await moveEgress(control, actor, { app: APP, address: moved.v4!, to: OTHER })
  assert.deepEqual([await egressOf(two), states(await pairNow(moved))], [null, [[two.id, 'drain']]])
  for (const machine of [one, two]) await t.report(machine)
  await checkAtRest(t)
  await drainAll(t)
  assert.deepEqual((await pairNow(moved)).blocks, [])
})

test('a machine that ends while its pair moves to another app leaves no block there', async () => {
  const { control, actor } = t
  const pair = await allocate()
  const machine = await makeMachine(t)
  const before = await egressOf(machine)
  // The move is written; the control plane dies before the machine's record is.
  const move = { app: APP, address: pair.v4!, to: OTHER }
  while ((await pairNow(pair)).app === APP)
    await moveEgress(crashing(t, 1).control, actor, move).catch(() => {})
  assert.deepEqual(await egressOf(machine), before)
  await endMachine(t, machine)
  await resumeEgressChanges(control)
  assert.deepEqual((await pairNow(pair)).blocks, [])
  await checkAtRest(t)
})

test('who may not act in an app does not wait for its changes, nor ends them', async () => {
  const { control, actor } = t
  const pair = await allocate()
  const machine = await makeMachine(t)
  const release = { app: APP, address: pair.v4! }
  // The second phase of it is still to be done.
  await assert.rejects(releaseEgress(crashing(t, 1).control, actor, release), Crash)
  const before = await current(t, machine)
  const held = Promise.withResolvers<void>()
  const busy = inLane(control.store, changeLane(APP), () => held.promise)
  const stranger = testActor('others')
  for (const act of [
    () => adjustEgress(control, stranger, { app: APP, address: pair.v4!, draining: true }),
    () => releaseMachineEgress(control, stranger, { app: APP, machine: machine.id }),
  ])
    await assert.rejects(act, { message: 'Could not find App' })
  held.resolve()
  await busy
  await assert.rejects(releaseMachineEgress(control, stranger, { app: APP, machine: machine.id }), {
    message: 'Could not find App',
  })
  assert.deepEqual(await current(t, machine), before, 'it is left to those who may')
})

test('64 machines made at once all have a block; the 65th is refused with the way out', async () => {
  const pair = await allocate()
  const made = await Promise.all(Array.from({ length: 64 }, () => makeMachine(t)))
  const slots = made.map((machine) => machine.egress!.slot)
  assert.deepEqual(
    slots.toSorted((a, b) => a - b),
    Array.from({ length: 64 }, (_, i) => i),
  )
  assert.equal(made.at(-1)!.egress!.v4, pair.v4)
  const count = (await t.control.store.range('machine/')).kvs.length
  await assert.rejects(makeMachine(t), {
    status: 412,
    code: 'egress_full',
    message:
      /machine [0-9a-f]{14} of app "hello" in iad would be left without an egress address; in use there: .*\(64 of 64 blocks\); allocate another pair: fairway ips allocate-egress -a hello -r iad/,
  })
  assert.equal((await t.control.store.range('machine/')).kvs.length, count)
  await makeMachine(t, { region: 'lhr' })
  await allocate()
  const one = await makeMachine(t)
  assert.notEqual(one.egress!.pair, pair.id)
  await checkAtRest(t)
})

test('the first pair takes up the machines that are there, or is refused when they are too many', async () => {
  const machines = await Promise.all(Array.from({ length: 66 }, () => makeMachine(t)))
  await assert.rejects(allocate(), {
    status: 412,
    message: /2 machines of app "hello" in iad would be left without an egress address/,
  })
  assert.equal(await t.read(keys.appEgress(APP)), undefined)
  const { moved } = await allocateEgress(t.control, t.actor, { app: APP, region: 'iad', count: 2 })
  assert.equal(moved.length, 66)
  assert.ok((await Promise.all(machines.map(egressOf))).every((egress) => egress !== null))
  await checkAtRest(t)
  // Neither pair can go: the other one has no room for all.
  const [pair] = await allPairs(t)
  for (const address of [pair!.v4!, pair!.v6!]) {
    const released = releaseEgress(t.control, t.actor, { app: APP, address })
    if (address === pair!.v4) await released
    else await assert.rejects(released, { status: 412, message: /would be left without/ })
  }
  await checkAtRest(t)
})

test('releasing the last pair returns its machines to the default egress', async () => {
  const pair = await allocate()
  const machine = await makeMachine(t)
  const half = await releaseEgress(t.control, t.actor, { app: APP, address: pair.v4! })
  assert.deepEqual(half.result, { v4: pair.v4, v6: null })
  const closed = (await egressOf(machine))!
  assert.deepEqual([closed.v4, closed.v6], [null, pair.v6])
  const gone = await releaseEgress(t.control, t.actor, { app: APP, address: pair.v6! })
  assert.deepEqual(gone.toDefault, [machine.id])
  assert.equal(await egressOf(machine), null)
  assert.deepEqual(await allPairs(t), [])
  await checkAtRest(t)
})

test('a running machine moves in two phases, which survive the end of the control plane', async () => {
  const first = await allocate()
  const machine = await makeMachine(t)
  const second = await allocate()
  const drain = { app: APP, address: first.v4!, draining: true }
  const before = await egressOf(machine)
  // The first transaction is written, then the control plane dies.
  await assert.rejects(adjustEgress(crashing(t, 1).control, t.actor, drain))
  assert.deepEqual(await egressOf(machine), before)
  assert.deepEqual(states(await pairNow(first)), [[machine.id, 'use']])
  assert.deepEqual(states(await pairNow(second)), [[machine.id, 'use']])
  await checkRecords(t)
  assert.equal(await resumeEgressChanges(t.control), 1)
  assert.equal((await egressOf(machine))!.pair, second.id)
  assert.deepEqual(states(await pairNow(first)), [[machine.id, 'drain']])
  await checkAtRest(t)
  await freeDrained(t.control, 'lhr1', [{ pair: first.id, slot: before!.slot }])
  assert.equal((await pairNow(first)).blocks.length, 1, 'another host cannot free it')
  await drainAll(t)
  assert.deepEqual((await pairNow(first)).blocks, [])
})

test('the record changes when live hosts of the regions steer the new block, or after the wait', async () => {
  const acks = new HostAckTable(() => t.control.fleet.liveRecords(), t.control.clock)
  const control = {
    ...t.control,
    egressAcks: acks,
    config: { ...t.control.config, attachWaitMs: 60_000 },
  }
  const machine = await makeMachine(t)
  const allocating = allocateEgress(control, t.actor, { app: APP, region: 'iad' })
  let pair: EgressPair | undefined
  while (!pair) [pair] = await allPairs(t)
  const { modRevision } = (await t.control.store.get(keys.egress(pair.id)))!
  acks.report('iad1', modRevision)
  acks.report('lhr1', modRevision)
  acks.report('iad2', modRevision - 1)
  await new Promise((resolve) => setTimeout(resolve, 20))
  assert.equal(await egressOf(machine), null)
  acks.report('iad2', modRevision)
  while ((await egressOf(machine)) === null);
  for (const host of ['iad1', 'iad2']) acks.report(host, modRevision + 100)
  const { waiting } = await allocating
  assert.deepEqual(waiting, [])
  const impatient = { ...control, config: { ...control.config, attachWaitMs: 1 } }
  acks.report('iad2', null)
  const late = await allocateEgress(impatient, t.actor, { app: APP, region: 'iad' })
  assert.deepEqual(late.waiting, ['iad2'])
})

test('a start is held until live hosts of the pair’s regions steer the block', async () => {
  const acks = new HostAckTable(() => t.control.fleet.liveRecords(), t.control.clock)
  const control = { ...t.control, egressAcks: acks }
  assert.deepEqual(await waitForLaunch(control, await makeMachine(t)), { waiting: [] })
  await allocate()
  const machine = await makeMachine(t)
  acks.report('iad1', 1_000)
  let launched = false
  const launch = waitForLaunch(control, machine).then((result) => {
    launched = true
    return result
  })
  await new Promise((resolve) => setTimeout(resolve, 20))
  assert.equal(launched, false)
  await control.store.txn({ then: [{ delete: keys.hostLive('iad2') }] })
  await t.settled()
  acks.report('iad1', 1_001)
  assert.deepEqual(await launch, { waiting: [] })
})

test('pins keep a pair for a process group or a machine; the release command may use each', async () => {
  const free = await allocate()
  const web = await makeMachine(t, { group: 'web' })
  const worker = await makeMachine(t, { group: 'worker' })
  const kept = await allocate({ pin: { group: 'worker' } })
  assert.equal((await egressOf(worker))!.pair, kept.id)
  assert.equal((await egressOf(web))!.pair, free.id)
  const release = await makeMachine(t, { group: 'fly_app_release_command' })
  assert.equal(release.egress!.pair, free.id)
  // It moves with its group, however that is changed.
  const target = { app: APP, machine: web.id, key: 'fly_process_group' }
  await setMetadata(t.control, t.actor, { ...target, value: 'worker' })
  assert.equal((await egressOf(web))!.pair, kept.id)
  const config = { ...CONFIG, metadata: { fly_process_group: 'web' } }
  const updated = await updateMachine(t.control, t.actor, { app: APP, machine: web.id, config })
  assert.equal(updated.machine.egress!.pair, free.id)
  const pin = { machine: web.id }
  const { moved } = await adjustEgress(t.control, t.actor, { app: APP, address: kept.v6!, pin })
  assert.deepEqual(moved.toSorted(), [web.id, worker.id].sort())
  assert.equal((await egressOf(web))!.pair, kept.id)
  await checkAtRest(t)
})

test('a pair drains to the others; the last one does not, for its machines would go out elsewhere', async () => {
  const pair = await allocate()
  await makeMachine(t)
  const drain = (draining: boolean) =>
    adjustEgress(t.control, t.actor, { app: APP, address: pair.v4!, draining })
  await assert.rejects(drain(true), {
    status: 412,
    message: /: 1 machine has no other egress address/,
  })
  const other = await allocate()
  const { result } = await drain(true)
  assert.equal(result.state, 'draining')
  assert.equal((await makeMachine(t)).egress!.pair, other.id)
  await drain(false)
  await drainAll(t)
  assert.equal((await makeMachine(t)).egress!.pair, pair.id)
  await checkAtRest(t)
})

test('one pair serves several regions when told so', async () => {
  const pair = await allocate({ regions: ['lhr'] })
  const far = await makeMachine(t, { region: 'lhr' })
  assert.equal(far.egress!.pair, pair.id)
  const alone = { app: APP, address: pair.v4!, regions: ['iad'] }
  assert.deepEqual((await adjustEgress(t.control, t.actor, alone)).toDefault, [far.id])
  await adjustEgress(t.control, t.actor, { ...alone, regions: ['lhr', 'iad'] })
  assert.deepEqual((await pairNow(pair)).regions, ['iad', 'lhr'])
  assert.equal((await egressOf(far))!.pair, pair.id)
  await checkAtRest(t)
})

test('a machine-scoped pair comes before all others, goes with its machine, or is promoted', async () => {
  const shared = await allocate()
  const machine = await makeMachine(t)
  const scope = { app: APP, machine: machine.id }
  const [own] = (await allocateMachineEgress(t.control, t.actor, scope)).result
  assert.equal((await egressOf(machine))!.pair, own!.id)
  await assert.rejects(
    allocateMachineEgress(t.control, t.actor, scope),
    /already has .*; release that first/,
  )
  assert.equal((await makeMachine(t)).egress!.pair, shared.id)
  const released = await releaseMachineEgress(t.control, t.actor, scope)
  assert.deepEqual(released.result, { v4: own!.v4, v6: own!.v6 })
  assert.equal((await egressOf(machine))!.pair, shared.id)
  const [again] = (await allocateMachineEgress(t.control, t.actor, scope)).result
  const { slot } = (await egressOf(machine))!
  for (const address of [again!.v4!, again!.v6!])
    await promoteEgress(t.control, t.actor, { app: APP, address })
  assert.deepEqual(
    [(await egressOf(machine))!.pair, (await egressOf(machine))!.slot],
    [again!.id, slot],
  )
  assert.equal((await pairNow(again!)).machine, null)
  const last = await makeMachine(t)
  const mine = await allocateMachineEgress(t.control, t.actor, { app: APP, machine: last.id })
  await endMachine(t, last)
  assert.equal(await t.read(keys.egress(mine.result[0]!.id)), undefined)
  await checkAtRest(t)
})

test('a pair moves to another app, and to a machine; what was open drains', async () => {
  const pair = await allocate()
  const mine = await makeMachine(t)
  const theirs = await makeMachine(t, { app: OTHER })
  const moved = await moveEgress(t.control, t.actor, { app: APP, address: pair.v4!, to: OTHER })
  assert.deepEqual(moved.toDefault, [mine.id])
  assert.equal(await egressOf(mine), null)
  assert.equal((await egressOf(theirs))!.pair, pair.id)
  assert.deepEqual(
    states(await pairNow(pair)).sort(),
    [
      [mine.id, 'drain'],
      [theirs.id, 'use'],
    ].sort(),
  )
  await checkAtRest(t)
  const back = { app: OTHER, address: pair.v6!, machine: mine.id }
  assert.equal((await moveEgress(t.control, t.actor, back)).result.machine, mine.id)
  assert.deepEqual([(await egressOf(mine))!.pair, await egressOf(theirs)], [pair.id, null])
  assert.deepEqual(await listEgress(t.control, t.actor, OTHER), [])
  await checkAtRest(t)
})

test('a machine has more blocks while its pair has room side by side', async () => {
  const resize = (machine: Machine, count: number) =>
    resizeMachineEgress(t.control, t.actor, { app: APP, machine: machine.id, count })
  const machine = await makeMachine(t)
  await assert.rejects(resize(machine, 2), /has no static egress address; allocate one/)
  await allocate()
  await assert.rejects(resize(machine, 65), /count: 65 is not a number of blocks from 1 to 64/)
  await resize(machine, 5)
  assert.equal((await egressOf(machine))!.count, 5)
  await checkAtRest(t)
  await resize(machine, 2)
  const { slot } = (await egressOf(machine))!
  const [pair] = await allPairs(t)
  assert.deepEqual(
    pair!.blocks.map((block) => [block.slot, block.count, block.state]),
    [
      [slot, 2, 'use'],
      [slot + 2, 3, 'drain'],
    ],
  )
  await drainAll(t)
  await resize(machine, 64)
  await assert.rejects(makeMachine(t), { status: 412 })
  await resize(machine, 1)
  await drainAll(t)
  const other = await makeMachine(t)
  await assert.rejects(resize(other, 64), {
    message: /cannot have 64 adjacent blocks of .*: 62 of 64 are free, at most \d+ side by side/,
  })
  await checkAtRest(t)
})

test('a machine that is not made takes no block', async () => {
  const pair = await allocate()
  const input = { app: APP, config: CONFIG, region: 'iad', name: 'same' }
  const made = await Promise.allSettled(
    [1, 2, 3].map(() => createMachine(t.control, t.actor, input)),
  )
  assert.equal(made.filter(({ status }) => status === 'fulfilled').length, 1)
  assert.equal((await pairNow(pair)).blocks.length, 1)
  await checkAtRest(t)
})
