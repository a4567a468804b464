import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import fc from 'fast-check'
import type { FairwayError } from '../../base/errors.ts'
import { keys } from '../../model/keys.ts'
import type { Endpoint, Machine, MachineStatus } from '../../model/resources.ts'
import {
  cordonMachine,
  destroyMachine,
  restartMachine,
  startMachine,
  stopMachine,
} from './actions.ts'
import { createMachine } from './create.ts'
import { startFleetState } from './fleet-state.ts'
import { projectEndpoint } from './records.ts'
import { isSettled, shownState } from './state.ts'
import { CONFIG, type TestMachines, testMachines } from './testing.ts'
import { updateMachine } from './update.ts'

let t: TestMachines
before(async () => {
  t = await testMachines()
})
after(() => t.close())

const seed = process.env.FAIRWAY_SEED ? { seed: Number(process.env.FAIRWAY_SEED) } : {}
const STEPS = ['start', 'stop', 'restart', 'update', 'cordon', 'done', 'exited', 'stale'] as const

async function step(name: (typeof STEPS)[number], machine: Machine): Promise<void> {
  const target = { app: 'hello', machine: machine.id }
  const { control, actor } = t
  if (name === 'start') await startMachine(control, actor, target)
  if (name === 'stop') await stopMachine(control, actor, target)
  if (name === 'restart') await restartMachine(control, actor, target)
  if (name === 'update') await updateMachine(control, actor, { ...target, config: CONFIG })
  if (name === 'cordon') await cordonMachine(control, actor, { ...target, cordoned: true })
  if (name === 'done') await t.report(machine)
  if (name === 'exited') await t.report(machine, { state: 'stopped' })
  if (name === 'stale') await t.report(machine, { generation: 0, state: 'started' })
}

test('whatever happens in whatever order, what edges see is what is so', async () => {
  const steps = fc.array(fc.constantFrom(...STEPS), { minLength: 1, maxLength: 8 })
  await fc.assert(
    fc.asyncProperty(steps, async (names) => {
      const input = { app: 'hello', config: CONFIG, region: 'nrt' }
      const { machine } = await createMachine(t.control, t.actor, input)
      for (const name of names) {
        await step(name, machine).catch((error: FairwayError) => assert.equal(error.status, 412))
        const now = (await t.read<Machine>(keys.machine(machine.host, machine.id)))!
        const status = (await t.read<MachineStatus>(keys.status(machine.id)))!
        const endpoint = (await t.read<Endpoint>(keys.endpoint('hello', machine.id)))!
        assert.deepEqual(endpoint, projectEndpoint(now, status, endpoint.services, 0))
        assert.ok(status.generation <= now.generation)
        if (name !== 'done') continue
        assert.equal(shownState(now, status), now.desired)
        assert.ok(isSettled(status.state))
      }
      const target = { app: 'hello', machine: machine.id, force: true }
      await destroyMachine(t.control, t.actor, target)
      await t.report(machine)
      assert.equal(await t.read(keys.endpoint('hello', machine.id)), undefined)
    }),
    { numRuns: 25, ...seed },
  )
})

test('two control planes with one store never give a slot or an address twice', async () => {
  const other = await startFleetState(t.control)
  const controls = [t.control, { ...t.control, ...other }]
  const made = await Promise.all(
    Array.from({ length: 80 }, (_, i) =>
      createMachine(controls[i % 2]!, t.actor, { app: 'hello', config: CONFIG, region: 'lhr' }),
    ),
  )
  await other.stop()
  for (const field of ['v4', 'v6', 'id', 'name'] as const)
    assert.equal(new Set(made.map(({ machine }) => machine[field])).size, 80, field)
})

test('a full host is an error that says so, and the last slots are found', async () => {
  const { fleet } = t.control
  const claims = []
  for (;;) {
    try {
      claims.push(fleet.claim('nrt', 'hello'))
    } catch (error) {
      assert.match((error as FairwayError).message, /every host of "nrt" already has 2046/)
      break
    }
  }
  const slots = new Set(claims.map((claim) => claim.slot))
  assert.equal(slots.size, claims.length)
  assert.ok(Math.min(...slots) >= 1 && Math.max(...slots) <= 2_046)
  for (const claim of claims) claim.settle('free')
  assert.ok(fleet.machinesOn('nrt1') < 2_046)
})
