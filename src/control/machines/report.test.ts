import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { keys } from '../../model/keys.ts'
import {
  type Endpoint,
  EVENTS_MAX,
  type Machine,
  type MachineEvent,
  type MachineStatus,
} from '../../model/resources.ts'
import { createMachine } from './create.ts'
import { applyMachineReports, TombLeases } from './report.ts'
import { CONFIG, done, type TestMachines, testMachines } from './testing.ts'

let t: TestMachines
before(async () => {
  t = await testMachines()
})
after(() => t.close())

const service = {
  protocol: 'tcp',
  internal_port: 8080,
  ports: [{ port: 80, handlers: ['http'] }],
  checks: [{ type: 'tcp' }],
}
const create = async (config: object = {}): Promise<Machine> => {
  const input = { app: 'hello', region: 'lhr', config: { ...CONFIG, ...config } }
  return (await createMachine(t.control, t.actor, input)).machine
}
const event = (id: string, type = 'start', changes: Partial<MachineEvent> = {}): MachineEvent => ({
  id,
  type,
  status: type === 'exit' ? 'stopped' : 'started',
  source: 'flyd',
  timestamp: 1,
  ...changes,
})
const status = (machine: Machine) => t.read<MachineStatus>(keys.status(machine.id))
const endpoint = (machine: Machine) => t.read<Endpoint>(keys.endpoint('hello', machine.id))
const revision = async () => (await t.control.store.range('x', { limit: 1 })).revision

test('the same report twice writes nothing the second time', async () => {
  const machine = await create()
  const report = { events: [event('one')] }
  await t.report(machine, report)
  const before = await revision()
  await t.report(machine, report)
  assert.equal(await revision(), before)
  const { events } = (await status(machine))!
  assert.deepEqual(
    events.map((one) => one.type),
    ['start', 'launch'],
  )
})

test('checks and load reach the routing projection', async () => {
  const machine = await create({ services: [service] })
  assert.equal((await endpoint(machine))?.services[0]?.healthy, false)
  await t.report(machine, { services: [{ healthy: true, load: 1 }] })
  const routed = (await endpoint(machine))!
  assert.deepEqual(
    [routed.state, routed.services[0]?.healthy, routed.services[0]?.load],
    ['started', true, 1],
  )
  const before = (await status(machine))?.updatedAt
  await t.report(machine, { services: [{ healthy: true, load: 2 }] })
  assert.equal((await endpoint(machine))?.services[0]?.load, 2)
  assert.equal((await status(machine))?.updatedAt, before)
})

test('a machine shows the release that made it', async () => {
  const release = async (metadata: object) => (await endpoint(await create({ metadata })))?.release
  assert.equal(await release({ fly_release_version: '12' }), 12)
  for (const odd of ['', '0', '-1', '1.5', 'twelve', '9999999999'])
    assert.equal(await release({ fly_release_version: odd }), null)
  assert.equal(await release({}), null)
})

test('since when a service serves: from its first passing check on, until one fails', async () => {
  const machine = await create({ services: [service] })
  const since = async () => (await endpoint(machine))?.services[0]?.upSinceMs
  await t.report(machine, { services: [{ healthy: false, load: 0 }] })
  assert.equal(await since(), null)
  const beforeMs = Date.now()
  await t.report(machine, { services: [{ healthy: true, load: 0 }] })
  const first = (await since())!
  assert.ok(first >= beforeMs && first <= Date.now(), `${first}`)
  await t.report(machine, { services: [{ healthy: true, load: 1 }] })
  assert.equal(await since(), first)
  await t.report(machine, { services: [{ healthy: false, load: 1 }] })
  assert.equal(await since(), null)
  await t.report(machine, { services: [{ healthy: true, load: 1 }] })
  assert.ok((await since())! >= first)
  await t.report(machine, { state: 'stopped', services: [{ healthy: true, load: 0 }] })
  assert.equal(await since(), null)
})

test('a report of an older generation changes no state', async () => {
  const machine = await create()
  await t.report(machine)
  await t.report(machine, { generation: 0, state: 'stopped', events: [event('late')] })
  const seen = (await status(machine))!
  assert.equal(seen.state, 'started')
  assert.equal(seen.events[0]?.id, 'late')
})

test('machines of other hosts and unknown ones are left alone', async () => {
  const machine = await create()
  const tombs = new TombLeases()
  await applyMachineReports(t.control, tombs, 'nrt1', [{ ...done(machine), state: 'failed' }])
  assert.equal((await status(machine))?.state, 'created')
  const unknown = { ...done(machine), machine: 'nothing' }
  await applyMachineReports(t.control, tombs, 'lhr1', [unknown])
})

test('only the newest events are kept', async () => {
  const machine = await create()
  for (let i = 0; i < 3; i++) {
    const events = Array.from({ length: EVENTS_MAX }, (_, n) => event(`${i}-${n}`))
    await t.report(machine, { events })
  }
  const { events } = (await status(machine))!
  assert.equal(events.length, EVENTS_MAX)
  assert.equal(events[0]?.id, `2-${EVENTS_MAX - 1}`)
})

test('gone counts only for a machine that is to be destroyed', async () => {
  const machine = await create()
  await t.report(machine, { gone: true })
  assert.ok(await endpoint(machine))
})

test('auto_destroy takes a machine away when its process has ended for good', async () => {
  const machine = await create({ auto_destroy: true })
  await t.report(machine, { events: [event('a')] })
  const exit = (restarting: boolean) => ({
    request: {
      exit_event: {
        exit_code: 0,
        guest_exit_code: 0,
        guest_signal: 0,
        oom_killed: false,
        requested_stop: false,
        restarting,
        signal: 0,
        exited_at: '2026-01-01T00:00:00Z',
      },
    },
  })
  await t.report(machine, { state: 'stopped', events: [event('b', 'exit', exit(true))] })
  const desired = async () =>
    (await t.read<Machine>(keys.machine(machine.host, machine.id)))?.desired
  assert.equal(await desired(), 'started')
  await t.report(machine, { state: 'stopped', events: [event('c', 'exit', exit(false))] })
  assert.equal(await desired(), 'destroyed')
  await t.report(machine)
  assert.equal(await endpoint(machine), undefined)
  assert.equal((await status(machine))?.state, 'destroyed')
})

test('a host that has ended an auto_destroy machine by itself is believed', async () => {
  const machine = await create({ auto_destroy: true })
  await t.report(machine)
  await t.report(machine, { state: 'destroyed', gone: true })
  assert.equal(await endpoint(machine), undefined)
})

test('what users asked for is not told twice', async () => {
  const machine = await create()
  const launch = event('again', 'launch', { source: 'user' })
  await t.report(machine, { generation: -1, state: 'starting', events: [launch] })
  assert.equal((await status(machine))?.events.length, 1)
})

test('slots of destroyed machines are free again', async () => {
  const machine = await create()
  const used = t.control.fleet.machinesOn('lhr1')
  await t.control.store.txn({
    then: [
      {
        put: keys.machine(machine.host, machine.id),
        value: JSON.stringify({ ...machine, desired: 'destroyed', generation: 2 }),
      },
    ],
  })
  await t.report(machine)
  await t.settled()
  assert.equal(t.control.fleet.machinesOn('lhr1'), used - 1)
})
