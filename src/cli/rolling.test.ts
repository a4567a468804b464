import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { MachineConfig } from '../model/machine-config.ts'
import type { FakeApi } from './testing.ts'
import { deploy, former } from './testing-deploys.ts'
import { exitedWith } from './testing-jobs.ts'
import type { FakeState } from './testing-world.ts'

/** Rolling deploys: how many machines are down at one time, also on the way back. */

const NINE = Array.from({ length: 9 }, (_, i) => former(`m${i + 1}`))
const isNew = (config: MachineConfig) => config.metadata?.fly_release_id === 'rel-1'

/** Machines are down from their update until their start has been waited for. */
function counting(api: FakeApi, state: FakeState, onWait: (id: string) => void = () => {}) {
  const down = new Set<string>()
  const most = { forward: 0, back: 0 }
  const restored: string[] = []
  api.on('GET /api/v1/apps/[^/]+/logs', () => '\n')
  api.on('POST /v1/apps/hello/machines/(m.)', ({ body }, id) => {
    const { config } = body as { config: MachineConfig }
    down.add(id!)
    if (!isNew(config)) restored.push(id!)
    const way = isNew(config) ? 'forward' : 'back'
    most[way] = Math.max(most[way], down.size)
    state.machines = state.machines.map((m) => (m.id === id ? { ...m, config } : m))
    return state.machines.find((m) => m.id === id)
  })
  api.on('GET /v1/apps/hello/machines/(m.)/wait', async (_, id) => {
    onWait(id!)
    // What goes on beside this one has the time to be seen.
    await new Promise((done) => setTimeout(done, 20))
    down.delete(id!)
    return {}
  })
  return { most, restored }
}

/** Of the new release the machine crashes. */
function crashing(api: FakeApi, state: FakeState, id: string) {
  api.on(`GET /v1/apps/hello/machines/${id}`, () => {
    const machine = state.machines.find((m) => m.id === id)!
    return isNew(machine.config)
      ? { ...machine, state: 'stopped', events: [exitedWith(1)] }
      : machine
  })
}

test('rolling: on the way back no more machines are down than on the way there', async () => {
  let seen: ReturnType<typeof counting> | undefined
  const { code, stderr, state } = await deploy({
    machines: NINE,
    api: (a, s) => {
      seen = counting(a, s)
      crashing(a, s, 'm9')
    },
  })
  assert.equal(code, 1)
  assert.match(stderr, /Going back to the former release \(9\)/)
  assert.deepEqual(seen?.most, { forward: 3, back: 3 })
  assert.equal(seen?.restored[0], 'm9', 'what failed serves nobody: it comes first')
  assert.deepEqual(
    state.machines.map((m) => m.config),
    NINE.map((m) => m.config),
  )
})

test('rolling: after an interrupt as well machines go back a few at a time', async () => {
  const interrupt = new AbortController()
  let seen: ReturnType<typeof counting> | undefined
  const { code, api, state } = await deploy({
    ...{ machines: NINE, signal: interrupt.signal },
    api: (a, s) => {
      seen = counting(a, s, (id) => id === 'm9' && interrupt.abort())
    },
  })
  assert.equal(code, 127)
  assert.equal(seen?.most.back, 3)
  const waits = api.log.filter((line) => /m[1-6]\/wait$/.test(line))
  assert.equal(waits.length, 12, 'each once on the way there and once on the way back')
  assert.ok(!state.machines.some((m) => isNew(m.config)))
})
