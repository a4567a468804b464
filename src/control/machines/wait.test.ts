import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { FairwayError } from '../../base/errors.ts'
import { destroyMachine, stopMachine } from './actions.ts'
import { createMachine } from './create.ts'
import { CONFIG, type TestMachines, testMachines } from './testing.ts'
import { updateMachine } from './update.ts'
import { waitMachine } from './wait.ts'

let t: TestMachines
before(async () => {
  t = await testMachines()
})
after(() => t.close())

const create = async () =>
  (await createMachine(t.control, t.actor, { app: 'hello', config: CONFIG, region: 'lhr' })).machine
const wait = (
  machine: string,
  states: string[],
  more: { version?: string; timeoutMs?: number } = {},
) =>
  waitMachine(t.control, t.actor, {
    app: 'hello',
    machine,
    states,
    timeoutMs: 5_000,
    signal: new AbortController().signal,
    ...more,
  })

test('waiters wake when the state comes, all of them', async () => {
  const machine = await create()
  const waiters = [
    wait(machine.id, ['started']),
    wait(machine.id, ['settled']),
    wait(machine.id, []),
  ]
  await t.report(machine)
  for (const seen of await Promise.all(waiters)) assert.equal(seen.status.state, 'started')
  assert.equal(t.control.hub.size, 0)
})

test('a state that lasts a moment only is not missed', async () => {
  const machine = await create()
  const waiter = wait(machine.id, ['started'])
  // One after the other without a pause: the waiter may not even have read the machine yet.
  await t.report(machine)
  await t.report(machine, { state: 'stopped' })
  await wait(machine.id, ['stopped'])
  await waiter.then(
    (seen) => assert.equal(seen.status.state, 'started'),
    () => assert.fail('missed'),
  )
})

test('a version counts only when the machine is at it', async () => {
  const machine = await create()
  await t.report(machine)
  const target = { app: 'hello', machine: machine.id }
  const updated = await updateMachine(t.control, t.actor, { ...target, config: CONFIG })
  const version = updated.machine.instanceId
  const waiter = wait(machine.id, ['started'], { version })
  await t.report(machine)
  assert.equal((await waiter).machine.instanceId, version)
  await assert.rejects(
    wait(machine.id, ['started'], { version: machine.instanceId, timeoutMs: 20 }),
    (error: FairwayError) => error.status === 408,
  )
})

test('destroyed is waited for to the end, and known afterwards', async () => {
  const machine = await create()
  await t.report(machine)
  const target = { app: 'hello', machine: machine.id }
  const waiter = wait(machine.id, ['destroyed'])
  await destroyMachine(t.control, t.actor, { ...target, force: true })
  await t.report(machine)
  assert.equal((await waiter).status.state, 'destroyed')
  assert.equal((await wait(machine.id, ['destroyed'])).status.state, 'destroyed')
})

test('the time-out says where the machine is', async () => {
  const machine = await create()
  await t.report(machine)
  await stopMachine(t.control, t.actor, { app: 'hello', machine: machine.id })
  await assert.rejects(wait(machine.id, ['stopped', 'failed'], { timeoutMs: 20 }), (error) => {
    const { status, message } = error as FairwayError
    assert.equal(status, 408)
    assert.match(message, /desired state, stopped or failed, currently stopping/)
    return true
  })
  assert.equal(t.control.hub.size, 0)
})

test('what is no state, and no machine, is refused at once', async () => {
  await assert.rejects(wait('x', ['done']), (error: FairwayError) => error.status === 400)
  await assert.rejects(wait('x', ['started']), (error: FairwayError) => error.status === 404)
})
