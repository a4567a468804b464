import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { FairwayError } from '../../base/errors.ts'
import { keys } from '../../model/keys.ts'
import type { App, Endpoint, Machine, MachineLease } from '../../model/resources.ts'
import {
  cordonMachine,
  destroyMachine,
  restartMachine,
  signalMachine,
  startMachine,
  stopMachine,
} from './actions.ts'
import { createMachine } from './create.ts'
import { acquireLease, getLease, releaseLease } from './leases.ts'
import { getMachine, listMachines } from './query.ts'
import { CONFIG, IMAGE, type TestMachines, testMachines } from './testing.ts'
import { setMetadata, updateMachine } from './update.ts'
import { machineObject } from './view.ts'

let t: TestMachines
before(async () => {
  t = await testMachines()
})
after(() => t.close())

const create = (input: Partial<Parameters<typeof createMachine>[2]> = {}) =>
  createMachine(t.control, t.actor, { app: 'hello', config: CONFIG, region: 'lhr', ...input })
const target = (machine: Machine, nonce?: string) => ({ app: 'hello', machine: machine.id, nonce })
const fails = (promise: Promise<unknown>, status: number, text: RegExp) =>
  assert.rejects(promise, (error: FairwayError) => {
    assert.match(error.message, text)
    assert.equal(error.status, status)
    return true
  })
const stateOf = async (machine: Machine) =>
  machineObject(t.control.fleet, await getMachine(t.control, t.actor, target(machine))).state

test('a machine is made with addresses of its host and network', async () => {
  const { machine } = await create()
  assert.match(machine.v6, /^fdaa:0:5:a7b:3:[0-9a-f]+:[0-9a-f]+:2$/)
  assert.match(machine.v4, /^172\.16\.(3[2-9]|4[0-7])\./)
  assert.equal(await stateOf(machine), 'starting')
  await t.report(machine)
  assert.equal(await stateOf(machine), 'started')
})

test('racing creates share no address and spread over the hosts of a region', async () => {
  const made = await Promise.all(Array.from({ length: 60 }, () => create({ region: 'iad' })))
  assert.equal(new Set(made.map((m) => m.machine.v4)).size, 60)
  assert.equal(new Set(made.map((m) => m.machine.v6)).size, 60)
  const onFirst = made.filter((m) => m.machine.host === 'iad1').length
  assert.equal(onFirst, 30)
})

test('placement errors name the regions that would do', async () => {
  await fails(create({ region: 'xyz' }), 422, /"xyz" is not a region.*iad, lhr, nrt/)
  const few = await testMachines(['lhr1'])
  try {
    const input = { app: 'hello', config: CONFIG, region: 'nrt' }
    await fails(createMachine(few.control, few.actor, input), 422, /"nrt" has no live host.*: lhr/)
    const anywhere = { app: 'hello', config: CONFIG }
    const { machine } = await createMachine(few.control, few.actor, anywhere)
    assert.equal(machine.region, 'lhr')
  } finally {
    await few.close()
  }
})

/** What a deploy asks for to check a machine (S38). */
const checking = (address: string, group = 'fly_app_test_machine_command') => ({
  ...CONFIG,
  env: { FLY_TEST_COMMAND: '1', FLY_TEST_MACHINE_IP: address, FLY_PROCESS_GROUP: group },
})

test('a machine check is placed beside the machine that it names, of the same app', async () => {
  const made = await Promise.all(Array.from({ length: 6 }, () => create({ region: 'iad' })))
  for (const { machine: tested } of made) {
    const upper = tested.v6.toUpperCase()
    const { machine } = await create({ config: checking(upper), region: undefined })
    assert.equal(machine.host, tested.host)
    assert.equal(machine.testTarget, tested.v6)
  }
  const [{ machine: tested }] = made as [(typeof made)[0]]
  assert.equal(tested.testTarget, null)
  await fails(
    create({ config: checking(tested.v6), region: 'lhr' }),
    422,
    /is in "iad", not in "lhr"/,
  )
  await fails(create({ config: checking('fdaa::1') }), 422, /"fdaa::1" is not the private address/)
  await fails(create({ config: checking('x') }), 422, /"x" is not the private address of a machine/)
  await fails(create({ config: checking(tested.v6, 'app') }), 422, /the platform's own; rename it/)
  const { machine } = await create({ config: checking(tested.v6), region: 'iad' })
  const other = updateMachine(t.control, t.actor, {
    ...{ ...target(machine), config: checking('fdaa::1') },
  })
  await fails(other, 422, /cannot come to test "fdaa::1"/)
})

test('a machine check has no way into another app, nor onto a host that is away', async () => {
  const few = await testMachines(['iad1'])
  const put = (app: string, machine: string, host: string, v6: string) =>
    few.control.store.txn({
      then: [
        {
          put: keys.endpoint(app, machine),
          value: JSON.stringify({
            machine,
            app,
            host,
            region: 'iad',
            v6,
          } satisfies Partial<Endpoint>),
        },
      ],
    })
  try {
    await put('foreign', 'a1', 'iad1', 'fdaa:0:6::1')
    await put('hello', 'a2', 'iad2', 'fdaa:0:5::1')
    const of = (address: string) =>
      createMachine(few.control, few.actor, { app: 'hello', config: checking(address) })
    await fails(of('fdaa:0:6::1'), 422, /not the private address of a machine of app "hello"/)
    await fails(of('fdaa:0:5::1'), 422, /host iad2, where it has to be, does not report/)
  } finally {
    await few.close()
  }
})

test('images that are no artifact of the app are refused by name', async () => {
  const withImage = (image: string) => create({ config: { image } })
  await fails(withImage('nginx:latest'), 422, /config\.image: "nginx:latest".*fairway deploy/)
  await fails(withImage(IMAGE.replace('hello', 'other')), 422, /belongs to app "other"/)
  await fails(withImage(`sha256:${'b'.repeat(64)}`), 422, /no artifact sha256:bbb/)
  await create({ config: { image: `${IMAGE}@${IMAGE.split('@')[1]}` } })
})

test('apps of other orgs do not exist', async () => {
  await fails(create({ app: 'foreign' }), 404, /Could not find App/)
  await fails(listMachines(t.control, t.actor, { app: 'foreign' }), 404, /Could not find App/)
})

test('names are unique within the app', async () => {
  const { machine } = await create({ name: 'only-one' })
  await fails(create({ name: 'only-one' }), 409, new RegExp(`machine ID ${machine.id} already`))
})

test('start, stop, restart and signal count generations and show what is under way', async () => {
  const { machine } = await create({ skip_launch: true })
  assert.equal(await stateOf(machine), 'created')
  await fails(stopMachine(t.control, t.actor, target(machine)), 412, /never started/)
  assert.equal((await startMachine(t.control, t.actor, target(machine))).previousState, 'created')
  assert.equal(await stateOf(machine), 'starting')
  await t.report(machine)
  const again = await startMachine(t.control, t.actor, target(machine))
  assert.equal(again.record.machine.generation, 1)
  await signalMachine(t.control, t.actor, { ...target(machine), signal: 9 })
  assert.equal(await stateOf(machine), 'started')
  await restartMachine(t.control, t.actor, { ...target(machine), force: true })
  assert.equal(await stateOf(machine), 'restarting')
  await t.report(machine)
  const stopping = { ...target(machine), signal: 'SIGINT', timeout: '10s' }
  const { machine: asked } = await stopMachine(t.control, t.actor, stopping)
  assert.deepEqual(asked.action, { signal: 'SIGINT', timeoutMs: 10_000 })
  assert.equal(await stateOf(machine), 'stopping')
  const endpoint = await t.read<Endpoint>(keys.endpoint('hello', machine.id))
  assert.equal(endpoint?.state, 'stopping')
  await t.report(machine)
  assert.equal(await stateOf(machine), 'stopped')
  await fails(
    signalMachine(t.control, t.actor, { ...target(machine), signal: 'SIGNONE' }),
    422,
    /signal: "SIGNONE" is no signal/,
  )
})

test('an update is a new version on the same host', async () => {
  const { machine } = await create()
  await t.report(machine)
  const config = { ...CONFIG, env: { A: '1' } }
  const updated = await updateMachine(t.control, t.actor, { ...target(machine), config })
  assert.notEqual(updated.machine.instanceId, machine.instanceId)
  assert.equal(updated.machine.v6, machine.v6)
  assert.equal(await stateOf(machine), 'replacing')
  // What the host still says about the old version does not make the new one started.
  await t.report(machine, { instanceId: machine.instanceId, generation: 1, state: 'stopping' })
  assert.equal(await stateOf(machine), 'replacing')
  await t.report(machine)
  assert.equal(await stateOf(machine), 'started')
  const moved = updateMachine(t.control, t.actor, { ...target(machine), config, region: 'nrt' })
  await fails(moved, 422, /cannot move/)
})

test('a start is not lost on a machine that is being replaced without a launch', async () => {
  const { machine } = await create()
  await t.report(machine)
  const update = { ...target(machine), config: { ...CONFIG, env: { A: '1' } }, skip_launch: true }
  await updateMachine(t.control, t.actor, update)
  assert.equal(await stateOf(machine), 'replacing')
  const { previousState } = await startMachine(t.control, t.actor, target(machine))
  assert.equal(previousState, 'replacing')
  await t.report(machine)
  assert.equal(await stateOf(machine), 'started')
})

test('metadata changes neither version nor generation', async () => {
  const { machine } = await create()
  await setMetadata(t.control, t.actor, { ...target(machine), key: 'role', value: 'primary' })
  const { machine: after } = await getMachine(t.control, t.actor, target(machine))
  assert.deepEqual(after.config.metadata, { role: 'primary' })
  assert.equal(after.generation, machine.generation)
  await setMetadata(t.control, t.actor, { ...target(machine), key: 'role', value: null })
  const { machine: last } = await getMachine(t.control, t.actor, target(machine))
  assert.deepEqual(last.config.metadata, {})
})

test('cordon reaches the routing projection and asks nothing of the host', async () => {
  const { machine } = await create({ skip_service_registration: true })
  const endpoint = () => t.read<Endpoint>(keys.endpoint('hello', machine.id))
  assert.equal((await endpoint())?.cordoned, true)
  await cordonMachine(t.control, t.actor, { ...target(machine), cordoned: false })
  assert.equal((await endpoint())?.cordoned, false)
})

test('a started machine is destroyed by force only, and its end can be read', async () => {
  const { machine } = await create({ name: 'short-lived' })
  await t.report(machine)
  const destroy = (force: boolean) =>
    destroyMachine(t.control, t.actor, { ...target(machine), force })
  await fails(destroy(false), 412, /not currently stopped/)
  await destroy(true)
  assert.equal(await stateOf(machine), 'destroying')
  await t.report(machine)
  assert.equal(await stateOf(machine), 'destroyed')
  for (const key of [
    keys.machine(machine.host, machine.id),
    keys.endpoint('hello', machine.id),
    keys.machineName('hello', 'short-lived'),
  ])
    assert.equal(await t.read(key), undefined)
  const ids = async (includeDeleted: boolean) =>
    (await listMachines(t.control, t.actor, { app: 'hello', includeDeleted })).map(
      (m) => m.machine.id,
    )
  assert.ok(!(await ids(false)).includes(machine.id))
  assert.ok((await ids(true)).includes(machine.id))
  await fails(startMachine(t.control, t.actor, target(machine)), 404, /machine not found/)
})

test('a lease keeps others out, and its nonce lets its holder in', async () => {
  const { machine, lease } = await create({ lease_ttl: 30 })
  assert.ok(lease)
  const other = target(machine, 'f'.repeat(32))
  await fails(stopMachine(t.control, t.actor, other), 409, /lease currently held by ada@/)
  await fails(acquireLease(t.control, t.actor, target(machine)), 409, /lease currently held by/)
  const mine = target(machine, lease.nonce)
  const renewed = await acquireLease(t.control, t.actor, { ...mine, ttlS: 60 })
  assert.equal(renewed.lease.nonce, lease.nonce)
  assert.equal(renewed.instanceId, machine.instanceId)
  await stopMachine(t.control, t.actor, mine).catch((error: FairwayError) =>
    assert.equal(error.status, 412),
  )
  await fails(releaseLease(t.control, t.actor, other), 409, /lease currently held by/)
  await releaseLease(t.control, t.actor, mine)
  await fails(getLease(t.control, t.actor, mine), 404, /lease not found/)
  await fails(releaseLease(t.control, t.actor, mine), 404, /lease not found/)
})

test('a nonce whose lease is over prolongs nothing, and takes none under another nonce', async () => {
  const { machine, lease } = await create({ lease_ttl: 30 })
  const mine = target(machine, lease?.nonce)
  await releaseLease(t.control, t.actor, mine)
  await fails(acquireLease(t.control, t.actor, mine), 404, /lease not found.*without a nonce/)
  await fails(getLease(t.control, t.actor, mine), 404, /lease not found/)
  assert.ok(await acquireLease(t.control, t.actor, target(machine)))
})

test('of an app whose name was taken anew leases cannot be touched', async () => {
  const { machine } = await create()
  const app = (await t.read<App>(keys.app('hello')))!
  const rename = (value: App) =>
    t.control.store.txn({ then: [{ put: keys.app('hello'), value: JSON.stringify(value) }] })
  await acquireLease(t.control, t.actor, target(machine))
  const key = keys.lease(machine.id)
  const { nonce } = (await t.read<MachineLease>(key))!
  await rename({ ...app, id: 'anew', createdAt: '2999-01-01T00:00:00.000Z' })
  try {
    const mine = target(machine, nonce)
    await fails(acquireLease(t.control, t.actor, mine), 404, /lease not found/)
    await fails(getLease(t.control, t.actor, mine), 404, /lease not found/)
    await fails(releaseLease(t.control, t.actor, mine), 404, /lease not found/)
    assert.equal((await t.read<MachineLease>(key))?.nonce, nonce)
  } finally {
    await rename(app)
  }
})

test('the id of a machine of another org is not told by its name', async () => {
  const { machine } = await create({ name: 'left-behind' })
  const app = (await t.read<App>(keys.app('hello')))!
  const rename = (value: App) =>
    t.control.store.txn({ then: [{ put: keys.app('hello'), value: JSON.stringify(value) }] })
  await rename({ ...app, id: 'anew', createdAt: '2999-01-01T00:00:00.000Z' })
  try {
    await assert.rejects(create({ name: 'left-behind' }), ({ message, status }: FairwayError) => {
      assert.match(message, /unique machine name violation.*"left-behind"/)
      assert.doesNotMatch(message, new RegExp(machine.id))
      return status === 409
    })
  } finally {
    await rename(app)
  }
})

test('a launch that is refused keeps no slot', async () => {
  await t.settled()
  const before = t.control.fleet.machinesOn('lhr1')
  await fails(create({ lease_ttl: 100_000 }), 422, /ttl: 100000 is not a number of seconds from 1/)
  assert.equal(t.control.fleet.machinesOn('lhr1'), before)
})

test('of racing lease takers one wins', async () => {
  const { machine } = await create()
  const takers = await Promise.allSettled(
    Array.from({ length: 20 }, () => acquireLease(t.control, t.actor, target(machine))),
  )
  assert.equal(takers.filter((taker) => taker.status === 'fulfilled').length, 1)
})
